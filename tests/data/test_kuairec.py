"""KuaiRec: labels of the time watched, rows without a time, static features."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.data.in_memory import load_log

from emer.data.kuairec import KuaiRec
from emer.data.log import InteractionLog, day_number
from emer.errors import DataError

from .official_files import KUAIREC, KUAIREC_DAILY, KUAIREC_USERS, kuairec_daily, kuairec_row, kuairec_user
from .toy_views import Row, beijing_ms, write_csv

CATEGORIES = ["video_id", "feat"]


def read(
    root: Path,
    rows: list[Row],
    users: list[Row] | None = None,
    tags: list[Row] | None = None,
    daily: list[Row] | None = None,
    matrix: str = "big",
    **options: Any,
) -> tuple[InteractionLog, dict[str, int]]:
    data = root / "data"
    write_csv(data / f"{matrix}_matrix.csv", KUAIREC, rows)
    write_csv(data / "user_features.csv", KUAIREC_USERS, users or [kuairec_user(0)])
    write_csv(data / "item_categories.csv", CATEGORIES, tags or [{"video_id": 0, "feat": [8]}])
    write_csv(data / "item_daily_features.csv", KUAIREC_DAILY, daily or [kuairec_daily(0)])
    return load_log(KuaiRec(root, matrix=matrix, **options))


@pytest.mark.parametrize(
    ("play", "duration", "effective", "long", "complete"),
    [
        (6_999, 7_000, False, False, False),
        (7_000, 7_000, True, True, True),
        (7_000, 10_000, False, False, False),
        (7_001, 10_000, True, False, False),
        (17_999, 18_000, True, False, False),
        (18_000, 18_000, True, True, True),
        (17_999, 60_000, True, False, False),
        (18_000, 60_000, True, True, False),
        (60_000, 60_000, True, True, True),
    ],
)
def test_labels_are_thresholds_on_the_time_watched(
    tmp_path: Path, play: int, duration: int, effective: bool, long: bool, complete: bool
) -> None:
    log, _ = read(tmp_path, [kuairec_row(play, duration)])
    assert log.exposures.select("effective_view", "long_view", "complete").row(0) == (effective, long, complete)
    assert log.exposures["watch_seconds"][0] == pytest.approx(play / 1000)


def test_the_stand_in_for_likes_is_asked_for(tmp_path: Path) -> None:
    rows = [kuairec_row(20_000, 10_000), kuairec_row(20_001, 10_000, video_id=1)]
    assert "like" not in read(tmp_path, rows)[0].labels
    log, _ = read(tmp_path, rows, proxy_like=True)
    assert log.labels[-1] == "like" and log.exposures["like"].to_list() == [False, True]


def test_the_official_example_row(tmp_path: Path) -> None:
    row = kuairec_row(13_838, 10_867, ms=1_593_878_903_438, video_id=3650)
    assert (row["time"], row["date"], row["timestamp"]) == ("2020-07-05 00:08:23.438", "20200705", 1593878903.438)
    log, _ = read(tmp_path, [row])
    got = log.exposures.row(0, named=True)
    assert (got["time_ms"], got["day"], got["hour"]) == (1_593_878_903_438, day_number("2020-07-05"), 0)
    assert (got["item_id"], got["complete"]) == (3650, True)


def test_rows_without_a_time_are_dropped_and_counted(tmp_path: Path) -> None:
    timed = kuairec_row(ms=beijing_ms("2020-07-05", "05:27:48")) | {"date": "20200705.0"}
    rows = [timed, kuairec_row(ms=None), kuairec_row(video_id=1) | {"timestamp": -1}, timed, timed | {"video_id": 2}]
    log, counts = read(tmp_path, rows, matrix="small")
    assert log.exposures["item_id"].to_list() == [0, 2]
    assert counts == {"rows": 5, "rows_without_time_dropped": 2, "repeated_rows_dropped": 1}


def test_videos_have_what_was_fixed_at_their_upload(tmp_path: Path) -> None:
    daily = [
        kuairec_daily(0, author_id=5, upload_dt="2020-06-30", video_duration=10_000.0),
        kuairec_daily(0, date=20200706, author_id=6, upload_dt="2020-07-01"),
        kuairec_daily(2, video_type="AD", video_duration=None, upload_dt=None),
    ]
    tags = [{"video_id": 0, "feat": [27, 9]}, {"video_id": 1, "feat": [9]}]
    log, _ = read(tmp_path, [kuairec_row()], tags=tags, daily=daily)
    assert log.items["item_id"].to_list() == [0, 1, 2]
    assert log.items["tag"].to_list() == [27, 9, None]
    assert log.items["upload_day"].to_list() == [day_number("2020-06-30"), None, None]
    assert log.items["log_duration"].to_list() == pytest.approx([math.log(11), None, None])
    assert log.items["author_id"].is_null().to_list() == [False, True, False]
    measured = {"like_cnt", "show_cnt", "play_progress", "visible_status"}
    assert not measured & set(log.items.columns)


def test_unknown_values_of_users_are_null(tmp_path: Path) -> None:
    users = [kuairec_user(0, user_active_degree="UNKNOWN", onehot_feat4=None), kuairec_user(1, onehot_feat4="2.0")]
    log, _ = read(tmp_path, [kuairec_row()], users=users)
    assert log.users["user_active_degree"].is_null().to_list() == [True, False]
    assert log.users["onehot_feat4"].is_null().to_list() == [True, False]
    assert log.users["log_fans_user_num"].to_list() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("play_duration", "13s", "'13s'"),
        ("play_duration", -1, "-1.0 is not possible"),
        ("timestamp", 1_593_878_903_438, "is not possible"),  # milliseconds
        ("user_id", None, "empty"),
        ("watch_ratio", "high", "'high'"),
        ("watch_ratio", "nan", "nan is not possible"),  # NaN > 2, says polars
        ("play_duration", "nan", "nan is not possible"),
        ("video_duration", "inf", "inf is not possible"),
    ],
)
def test_a_bad_value_of_kuairec_is_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [kuairec_row(), kuairec_row(video_id=1), kuairec_row(video_id=2) | {column: value}])
    message = str(caught.value)
    assert "big_matrix.csv, line 4" in message and f"column {column}" in message and shown in message


def test_an_unknown_matrix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known are big, small"):
        KuaiRec(tmp_path, matrix="middle")
