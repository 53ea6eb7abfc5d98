"""The contract of exposure logs, and day numbers."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from emer.data.log import InteractionLog, day_number, day_text
from emer.errors import DataError


def log(exposures: dict[str, Any] | None = None, **changes: Any) -> InteractionLog:
    columns = {"user_id": [1, 1], "item_id": [5, 6], "time_ms": [1, 2], "day": [0, 1], "like": [True, False]}
    parts: dict[str, Any] = {
        "name": "toy",
        "exposures": pl.DataFrame(columns | (exposures or {}), strict=False),
        "users": pl.DataFrame({"user_id": [1], "age": [3]}),
        "items": pl.DataFrame({"item_id": [5], "topic": [7]}),
        "labels": ("like",),
        "user_categories": ("age",),
        "item_categories": ("topic",),
    }
    return InteractionLog(**(parts | changes))


def test_day_numbers() -> None:
    assert day_number("1970-01-02") == 1
    assert day_text(day_number("2022-05-01")) == "2022-05-01"
    with pytest.raises(DataError, match="2022-13-01"):
        day_number("2022-13-01")


def test_a_period_is_its_own_day_number() -> None:
    assert day_number(3) == 3
    assert [day_text(n) for n in (0, 3, 3649)] == ["period 0", "period 3", "period 3649"]
    assert day_text(3650) == "1979-12-30"
    for wrong in (-1, 3650, 20220430, "3"):
        with pytest.raises(DataError, match="write it as 2022-04-30, or a period as 3"):
            day_number(wrong)


def test_describe_keeps_order_and_leaves_unknown_items_null() -> None:
    described = log().describe(pl.DataFrame({"user_id": [2, 1], "item_id": [5, 9]}))
    assert described.select("age", "topic").rows() == [(None, 7), (3, None)]


@pytest.mark.parametrize(
    ("exposures", "changes", "reason"),
    [
        ({"day": [1, 0]}, {}, "not sorted by day"),
        ({"like": [1, 0]}, {}, "label like is Int64"),
        ({"like": [True, None]}, {}, r"exposures\.like has missing"),
        ({}, {"labels": ("like", "share")}, "exposures lacks share"),
        ({}, {"user_numbers": ("income",)}, "users lacks income"),
        (
            {},
            {"items": pl.DataFrame({"item_id": [5, 5], "topic": [7, 8]})},
            "item_id 5 is described more than once",
        ),
        ({"user_id": [], "item_id": [], "time_ms": [], "day": [], "like": []}, {}, "no exposure"),
    ],
)
def test_breaches(exposures: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        log(exposures, **changes)
