"""A column in another type is the same values, or says which are not."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from emer.data.casts import cast

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (pl.Series([1.0, -3.0, None]), pl.Int64, [1, -3, None]),
        (pl.Series([2.0**53 - 1]), pl.Int64, [2**53 - 1]),
        (pl.Series([2.0**24 - 1], dtype=pl.Float32), pl.Int64, [2**24 - 1]),
        (pl.Series([Decimal("7.00")]), pl.Int64, [7]),
        (pl.Series(["12", "-1"]), pl.Int64, [12, -1]),
        (pl.Series([True, False]), pl.Float32, [1, 0]),
        (pl.Series([None, None]), pl.Float32, [None, None]),
        (pl.Series([NAN, float("inf")]).is_nan(), pl.Int64, [1, 0]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), pl.String, ["b", "a"]),
        (pl.Series(["20", "10"], dtype=pl.Categorical), pl.Int64, [20, 10]),
        (pl.Series([1.0, 2.5, NAN, None]), pl.String, ["1.0", "2.5", None, None]),
        (pl.Series([7, None]), pl.String, ["7", None]),
        (pl.Series([date(2024, 5, 1)]), pl.String, ["2024-05-01"]),
        (pl.Series([[], None], dtype=pl.List(pl.Int64)).head(0), pl.Int64, []),
    ],
)
def test_the_same_values_in_another_type(values: pl.Series, kind: Any, wanted: list[Any]) -> None:
    found, wrong = cast(values, kind)
    assert found.to_list() == wanted and found.dtype == kind
    assert wrong.to_list() == [False] * len(values)


@pytest.mark.parametrize(
    ("values", "kind", "lost"),
    [
        (pl.Series([1.5, 2.0, NAN, float("inf"), None]), pl.Int64, [True, False, True, True, False]),
        (pl.Series([2.0**53, -(2.0**53), 2.0**60]), pl.Int64, [True] * 3),
        (pl.Series([2.0**53, 1e300, 5.0]), pl.String, [True, True, False]),
        (pl.Series([2.0**24, 1.0], dtype=pl.Float32), pl.Int64, [True, False]),
        (pl.Series([Decimal("7.50"), Decimal("7.00")]), pl.Int64, [True, False]),
        (pl.Series(["x", "1.0", "", "3"]), pl.Int64, [True, True, True, False]),
        (pl.Series([2**63, 1], dtype=pl.UInt64), pl.Int64, [True, False]),
        (pl.Series(["a", "1"], dtype=pl.Categorical), pl.Int64, [True, False]),
        (pl.Series([[1], None]), pl.Int64, [True, False]),
        (pl.Series([{"a": 1}]), pl.Int64, [True]),
        (pl.Series([{"a": 1}]), pl.String, [True]),
        (pl.Series([b"a"]), pl.String, [True]),
        (pl.Series([datetime(2024, 5, 1), None]), pl.Int64, [True, False]),
        (pl.Series([date(2024, 5, 1)]), pl.Float32, [True]),
        (pl.Series([time(8)]), pl.String, [True]),
        (pl.Series([timedelta(seconds=1)]), pl.Int64, [True]),
    ],
)
def test_what_would_change_is_marked(values: pl.Series, kind: Any, lost: list[bool]) -> None:
    found, wrong = cast(values, kind)
    assert wrong.to_list() == lost and found.dtype == kind and len(found) == len(values)
