"""KuaiSAR: requests by shared time, derived labels, paddings that stand for unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.data.in_memory import load_log

from emer.data.kuaisar import LABELS, KuaiSAR
from emer.data.log import InteractionLog, day_number
from emer.errors import DataError

from .official_files import KUAISAR, KUAISAR_ITEMS, KUAISAR_USERS, kuaisar_item, kuaisar_row
from .toy_views import Row, beijing_ms, write_csv


def read(root: Path, rows: list[Row], items: list[Row] | None = None) -> tuple[InteractionLog, dict[str, int]]:
    write_csv(root / "rec_inter.csv", KUAISAR, rows)
    write_csv(root / "user_features.csv", KUAISAR_USERS, [dict.fromkeys(KUAISAR_USERS, 1) | {"user_id": 0}])
    write_csv(root / "item_features.csv", KUAISAR_ITEMS, items or [kuaisar_item(0)])
    return load_log(KuaiSAR(root))


def test_feedback_of_kuaisar(tmp_path: Path) -> None:
    flags = ("click", "like", "follow", "forward", "search")
    rows = [kuaisar_row(item_id=i, **{flag: 1}) for i, flag in enumerate(flags)]
    log, _ = read(tmp_path, rows)
    for i, flag in enumerate(flags):
        assert [name for name in LABELS if log.exposures[name][i]] == [flag]


@pytest.mark.parametrize(
    ("play", "duration", "long", "complete"),
    [
        (60_792.0, 45_400.0, True, True),
        (18_000.0, 45_400.0, True, False),
        (17_999.0, 45_400.0, False, False),
        (10_000.0, 10_000.0, True, True),
        (5_000.0, 0.0, False, False),
        (20_000.0, None, False, False),
        (None, 10_000.0, False, False),
    ],
)
def test_views_are_derived_from_the_time_played(
    tmp_path: Path, play: float | None, duration: float | None, long: bool, complete: bool
) -> None:
    log, counts = read(tmp_path, [kuaisar_row(playing_time=play, duration_ms=duration)])
    assert log.exposures.select("long_view", "complete").row(0) == (long, complete)
    assert log.exposures["watch_seconds"][0] == pytest.approx((play or 0) / 1000)
    assert counts["rows_without_playing_time"] == (play is None)
    assert counts["rows_without_duration"] == (not duration)


def test_items_sent_together_are_a_request(tmp_path: Path) -> None:
    first, second = beijing_ms("2023-05-22", "23:59:59"), beijing_ms("2023-05-23", "00:00:00")
    rows = [
        kuaisar_row(second, item_id=3),
        kuaisar_row(first, item_id=1),
        kuaisar_row(first, item_id=2),
        kuaisar_row(first, item_id=2, like=1),  # logged twice
        kuaisar_row(first, item_id=2, user_id=1),
    ]
    log, counts = read(tmp_path, rows)
    assert log.exposures.select("user_id", "item_id", "request", "like").rows() == [
        (0, 1, first, False),
        (0, 2, first, False),
        (1, 2, first, False),
        (0, 3, second, False),
    ]
    assert log.exposures["time_ms"].to_list() == log.exposures["request"].to_list()
    assert log.exposures["day"].to_list() == [day_number("2023-05-22")] * 3 + [day_number("2023-05-23")]
    assert log.exposures["hour"].to_list() == [23, 23, 23, 0]
    assert counts["repeated_rows_dropped"] == 1


def test_a_timestamp_in_scientific_notation(tmp_path: Path) -> None:
    log, _ = read(tmp_path, [kuaisar_row() | {"timestamp": "1.684742e+12"}])
    assert log.exposures["time_ms"].to_list() == [1_684_742_000_000]


def test_paddings_stand_for_unknown(tmp_path: Path) -> None:
    items = [
        kuaisar_item(0),
        kuaisar_item(1, author_id=0, upload_time="1970-01-01", upload_type=None),
        kuaisar_item(2, upload_time="1970-1-1", second_level_category_id=136),
        kuaisar_item(3, upload_time="2023-04-23 10:00:00", item_type="AD"),
    ]
    log, _ = read(tmp_path, [kuaisar_row()], items)
    assert log.items["author_id"].to_list() == [10, None, 10, 10]
    uploaded = [day_number("2023-04-22"), None, None, day_number("2023-04-23")]
    assert log.items["upload_day"].to_list() == uploaded
    assert log.items["first_level_category_id"].to_list() == [9] * 4
    assert log.items["second_level_category_id"].to_list() == [None, None, 136, None]
    assert log.items["upload_type"].is_null().to_list() == [False, True, False, False]
    assert log.items["item_type"].n_unique() == 2


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("timestamp", 1_684_742_000.0, "is not possible"),  # seconds
        ("timestamp", None, "empty"),
        ("click", 2, "2 is not possible"),
        ("playing_time", -1.0, "-1.0 is not possible"),
        ("playing_time", "nan", "nan is not possible"),
        ("timestamp", 1e18, "is not possible"),
        ("item_id", "video", "'video'"),
    ],
)
def test_a_bad_value_of_kuaisar_is_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [kuaisar_row(), kuaisar_row(item_id=1), kuaisar_row(item_id=2) | {column: value}])
    message = str(caught.value)
    assert "rec_inter.csv, line 4" in message and f"column {column}" in message and shown in message
