"""Tenrec: a log with an order and no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.data.in_memory import load_log

from emer.data.log import InteractionLog
from emer.data.tenrec import LABELS, Tenrec
from emer.errors import DataError

from .official_files import TENREC, TENREC_CTR, tenrec_row
from .toy_views import Row, write_csv

DAY = 86_400_000


def read(root: Path, rows: list[Row], **options: Any) -> tuple[InteractionLog, dict[str, int]]:
    write_csv(root / "ctr_data_1M.csv", TENREC_CTR, rows)
    return load_log(Tenrec(root, **options))


def test_feedback_of_tenrec(tmp_path: Path) -> None:
    official = {"click": "click", "like": "like", "follow": "follow", "share": "forward"}
    rows = [tenrec_row(item_id=i, **{column: 1}) for i, column in enumerate(official)]
    rows += [tenrec_row(item_id=10 + n, watching_times=n) for n in range(3)]
    rows += [tenrec_row(item_id=13, watching_times=r"\N")]
    log, _ = read(tmp_path, rows)
    exposures = log.exposures.sort("item_id")
    for i, label in enumerate(official.values()):
        assert [name for name in LABELS if exposures[name][i]] == [label]
    assert exposures["rewatch"].to_list()[4:] == [False, False, True, False]  # watched 0, 1, 2 and unknown times


def test_periods_are_shares_of_each_users_own_sequence(tmp_path: Path) -> None:
    lengths = {1: 10, 2: 3, 3: 7}
    rows = [tenrec_row(user_id=user, item_id=i) for user, n in lengths.items() for i in range(n)]
    log, _ = read(tmp_path, rows, periods=4)
    for user, n in lengths.items():
        own = log.exposures.filter(user_id=user).sort("time_ms")
        assert own["item_id"].to_list() == list(range(n))
        assert own["day"].to_list() == [4 * i // n for i in range(n)]
        assert own["time_ms"].to_list() == [4 * i // n * DAY + i for i in range(n)]


def test_users_need_not_stand_in_blocks(tmp_path: Path) -> None:
    mixed = [tenrec_row(user_id=i % 3, item_id=i) for i in range(30)]
    blocks = sorted(mixed, key=lambda row: row["user_id"])
    assert read(tmp_path, mixed)[0].exposures.equals(read(tmp_path, blocks)[0].exposures)


def test_repeated_and_conflicting_rows_are_dropped_before_the_sequence_is_cut(tmp_path: Path) -> None:
    rows = [
        tenrec_row(item_id=1),
        tenrec_row(item_id=1),  # repeated whole
        tenrec_row(item_id=1, click=1),  # the same exposure with another click
        tenrec_row(item_id=1, user_id=2, click=1),
        tenrec_row(item_id=2, click=1, hist_3=7),
        tenrec_row(item_id=2, click=1),  # hist_* is not read
        tenrec_row(item_id=3),
    ]
    log, counts = read(tmp_path, rows, periods=3)
    own = log.exposures.filter(user_id=1).sort("time_ms")
    assert own["item_id"].to_list() == [1, 2, 3] and own["click"].to_list() == [False, True, False]
    assert own["day"].to_list() == [0, 1, 2]
    assert counts == {"rows": 7, "repeated_rows_dropped": 2, "conflicting_rows_dropped": 1}


def test_unknown_categories_of_tenrec_are_null(tmp_path: Path) -> None:
    rows = [
        tenrec_row(video_category=r"\N", age=r"\N"),
        tenrec_row(user_id=2, item_id=5, video_category=0, gender=2, age=3),
        tenrec_row(user_id=2, item_id=4),
    ]
    log, _ = read(tmp_path, rows)
    assert log.users.rows() == [(1, 1, None), (2, 2, 3)]
    assert log.items.rows() == [(4, None), (5, 0)]


def test_the_raw_video_files_have_no_history_columns(tmp_path: Path) -> None:
    for file in ("QK-video", "QB-video"):
        write_csv(tmp_path / f"{file}.csv", TENREC, [tenrec_row(click=1)])
        log, _ = load_log(Tenrec(tmp_path, file=file))
        assert log.name == f"Tenrec {file}" and log.exposures["click"].to_list() == [True]


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("click", 2, "2 is not possible"),
        ("like", r"\N", "empty"),
        ("item_id", "4.5", "'4.5'"),
        ("watching_times", -1, "-1 is not possible"),
        ("age", "old", "'old'"),
    ],
)
def test_a_bad_value_of_tenrec_is_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [tenrec_row(), tenrec_row(item_id=5), tenrec_row(item_id=6) | {column: value}])
    message = str(caught.value)
    assert "ctr_data_1M.csv, line 4" in message and f"column {column}" in message and shown in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"file": "QK-article"}, "known are ctr_data_1M, QK-video, QB-video"),
        ({"periods": 2}, "need 3"),
        ({"periods": 4000}, "too many"),
    ],
)
def test_bad_options_of_tenrec(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Tenrec(tmp_path, **options)
