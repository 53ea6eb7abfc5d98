"""RecFlow: candidates of stages, their labels, order and times."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.feather
import pytest
from tests.data.in_memory import load_log

from emer.data.log import InteractionLog, day_number
from emer.data.recflow import LABELS, STAGES, RecFlow
from emer.errors import DataError

from .official_files import RECFLOW, recflow_row
from .toy_views import Row, beijing_ms, write_feather

SHOWN = {"realshow": 1, "rerank_pos": 1, "rank_pos": 1}


def read(root: Path, rows: list[Row], **options: Any) -> tuple[InteractionLog, dict[str, int]]:
    for folder in ("all_stage", "realshow"):
        write_feather(root / folder / "2024-01-13.feather", RECFLOW, rows)
    return load_log(RecFlow(root, **options))


def test_feedback_of_shown_items(tmp_path: Path) -> None:
    rows = [recflow_row(video_id=i, **SHOWN, **{label: 1}) for i, label in enumerate(LABELS)]
    log, _ = read(tmp_path, rows)
    for i, label in enumerate(LABELS):
        row = log.exposures.row(i, named=True)
        assert row["item_id"] == i and [name for name in LABELS if row[name]] == [label]


@pytest.mark.parametrize("missing", [None, -1, 1])
def test_feedback_on_items_that_were_not_shown_tells_nothing(tmp_path: Path, missing: int | None) -> None:
    blank = dict.fromkeys((*LABELS, "playing_time"), missing)
    log, counts = read(tmp_path, [recflow_row(**SHOWN), recflow_row(video_id=1, rank_neg=1, **blank)])
    assert log.exposures["exposed"].to_list() == [True, False]
    assert log.exposures.select(LABELS).row(1) == (False,) * len(LABELS)
    assert log.exposures["watch_seconds"].to_list() == [0.0, 0.0]
    assert counts["candidates_not_shown"] == 1


def test_times_are_of_beijing(tmp_path: Path) -> None:
    late, early = beijing_ms("2024-01-13", "23:59:59"), beijing_ms("2024-01-14", "00:00:01")
    upload = beijing_ms("2024-01-14", "01:00:00") // 1000
    rows = [
        recflow_row(request_id=1, request_timestamp=late, **SHOWN, playing_time=2500),
        recflow_row(request_id=2, request_timestamp=early, video_id=1, upload_timestamp=upload, **SHOWN),
        recflow_row(request_id=2, request_timestamp=early, video_id=2, upload_timestamp=0, duration=0, **SHOWN),
    ]
    log, _ = read(tmp_path, rows)
    assert log.exposures["day"].to_list() == [day_number(d) for d in ("2024-01-13", "2024-01-14", "2024-01-14")]
    assert log.exposures["hour"].to_list() == [23, 0, 0]
    assert log.exposures["time_ms"].to_list() == [late, early, early]
    assert log.exposures["watch_seconds"].to_list() == [2.5, 0.0, 0.0]
    assert log.exposures["request"].to_list() == [1, 2, 2]
    uploaded = [day_number("2024-01-10"), day_number("2024-01-14"), None]
    assert log.items.sort("item_id")["upload_day"].to_list() == uploaded
    assert log.items.sort("item_id")["log_duration"].to_list() == pytest.approx([math.log(11), math.log(11), None])


@pytest.mark.parametrize(
    ("stages", "videos"),
    [
        ((), [0]),
        (("rerank_pos", "rerank_neg"), [0, 1, 2]),
        (("rank_pos", "rank_neg"), [0, 3, 4]),
        (("coarse_neg",), [0, 5]),
        (("prerank_neg",), [0, 6]),
        (STAGES, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_stages_choose_the_candidates(tmp_path: Path, stages: tuple[str, ...], videos: list[int]) -> None:
    rows = [recflow_row(realshow=1)]
    rows += [recflow_row(video_id=i, author_id=7, **{stage: 1}) for i, stage in enumerate(STAGES, start=1)]
    log, counts = read(tmp_path, rows, stages=stages)
    assert log.exposures["item_id"].to_list() == videos
    assert log.items["item_id"].sort().to_list() == videos  # and no others are described
    assert counts["rows"] == len(videos)


def test_the_previous_score_follows_the_platform_and_its_unranked_come_last(tmp_path: Path) -> None:
    rows = [
        recflow_row(video_id=0, **SHOWN, rank_index=3, rerank_index=1),
        recflow_row(video_id=1, rank_neg=1, rank_index=0, rerank_index=0),  # left before the rerank stage
        recflow_row(video_id=2, rerank_neg=1, rank_index=None, rerank_index=7),
        recflow_row(video_id=3, rank_pos=1, rank_index=-1, rerank_index=-1),
        recflow_row(video_id=4, coarse_neg=1, rank_index=0, rerank_index=0),  # left before the rank stage
    ]
    log, counts = read(tmp_path, rows, stages=STAGES)
    assert log.exposures["previous_score"].to_list() == [1 / (1 + 3), 1 / (1 + 0), 0, 0, 0]
    assert counts["candidates_not_ranked"] == 3
    log, _ = read(tmp_path, rows, stages=STAGES, previous="rerank_index")
    assert log.exposures["previous_score"].to_list() == [1 / (1 + 1), 0, 1 / (1 + 7), 0, 0]


def test_of_repeated_candidates_the_shown_one_counts(tmp_path: Path) -> None:
    rows = [
        recflow_row(rank_pos=1, rank_index=5),
        recflow_row(**SHOWN, like=1, rank_index=4),
        recflow_row(video_id=1, rank_pos=1, rank_index=2),
        recflow_row(video_id=1, rank_pos=1, rank_index=9),
        recflow_row(request_id=1, rank_pos=1),  # another request
    ]
    log, counts = read(tmp_path, rows)
    assert log.exposures.select("request", "item_id", "exposed", "like").rows() == [
        (1, 0, True, True),
        (1, 1, False, False),
        (2, 0, False, False),
    ]
    assert log.exposures["previous_score"][1] == pytest.approx(1 / 3)
    assert counts["repeated_rows_dropped"] == 2


def test_request_ids_that_begin_anew_mix_no_days(tmp_path: Path) -> None:
    times = [beijing_ms(day, "12:00:00") for day in ("2024-01-13", "2024-01-14")]
    rows = [recflow_row(user_id=u, request_id=8, request_timestamp=t, **SHOWN) for t in times for u in (0, 1)]
    log, _ = read(tmp_path, rows)
    assert log.exposures.select("user_id", "request", "time_ms").rows() == [
        (u, n, t) for n, t in enumerate(times, start=1) for u in (0, 1)
    ]


def test_users_and_videos_are_described_by_their_first_row(tmp_path: Path) -> None:
    rows = [
        recflow_row(prerank_neg=1, age=9, author_id=9),  # no candidate
        recflow_row(age=3, gender=-1, author_id=5, **SHOWN),
        recflow_row(age=4, author_id=6, video_id=1, **SHOWN),
    ]
    log, _ = read(tmp_path, rows)
    assert log.users.row(0, named=True) == {"user_id": 0, "age": 3, "gender": None, "province": 0}
    assert log.items.select("item_id", "author_id").rows() == [(0, 5), (1, 6)]


def test_a_wrong_unit_of_playing_time_would_show(tmp_path: Path) -> None:
    rows = [recflow_row(video_id=i, **SHOWN, long_view=1, playing_time=t) for i, t in enumerate((10_000, 9_999, 11))]
    assert read(tmp_path, rows)[1]["long_views_played_shorter"] == 2


def test_other_types_of_the_same_numbers_are_read(tmp_path: Path) -> None:
    rows = [recflow_row(**SHOWN, rank_index=2), recflow_row(video_id=1, rank_neg=1, rank_index=None, like=None)]
    wanted, _ = read(tmp_path, rows)
    path = tmp_path / "all_stage" / "2024-01-13.feather"
    table = pyarrow.feather.read_table(path)
    small = pl.from_arrow(table).cast(
        {"realshow": pl.Int8, "like": pl.Float32, "age": pl.UInt8, "rank_index": pl.Float64}
    )
    pyarrow.feather.write_feather(small.to_arrow(), path, compression="zstd")
    assert load_log(RecFlow(tmp_path))[0].exposures.equals(wanted.exposures)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("realshow", 2, "2 is not possible"),
        ("like", None, "None is not possible"),
        ("playing_time", -5, "-5 is not possible"),
        ("request_timestamp", 2**63 - 1, "9223372036854775807 is not possible"),
        ("request_timestamp", 1_705_141_800, "1705141800 is not possible"),  # seconds
        ("user_id", None, "the cell is empty"),
        ("video_id", "v7", "'v7' is not a value of type Int64"),
    ],
)
def test_a_bad_value_of_recflow_is_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    rows = [recflow_row(video_id=i, **SHOWN) for i in range(5)]
    if isinstance(value, str):
        rows = [row | {column: str(row[column])} for row in rows]
    with pytest.raises(DataError) as caught:
        read(tmp_path, [*rows, recflow_row(**SHOWN) | {column: value}])
    assert f"2024-01-13.feather, row 5, column {column}: {shown}" in str(caught.value)


def test_days_limit_the_files_and_none_may_be_missing_between(tmp_path: Path) -> None:
    for day in ("2024-01-13", "2024-01-14", "2024-01-16"):
        row = recflow_row(request_timestamp=beijing_ms(day, "12:00:00"), **SHOWN)
        write_feather(tmp_path / "all_stage" / f"{day}.feather", RECFLOW, [row])
    (tmp_path / "all_stage" / "example.feather").touch()
    with pytest.raises(DataError, match=r"lacks 2024-01-15\.feather"):
        RecFlow(tmp_path).parts()
    adapter = RecFlow(tmp_path, days=("2024-01-13", "2024-01-14"))
    assert [path.name for path in adapter.files()] == ["2024-01-13.feather", "2024-01-14.feather"]
    assert load_log(adapter)[0].days == (day_number("2024-01-13"), day_number("2024-01-14"))
    with pytest.raises(DataError, match=r"lacks 2024-01-17\.feather"):
        RecFlow(tmp_path, days=("2024-01-16", "2024-01-18")).parts()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stages": ("rerank",)}, "stages are .* known are rerank_pos"),
        ({"stages": "rank_pos"}, "stages are 'rank_pos'"),
        ({"previous": "rank"}, "known are rank_index, rerank_index"),
        ({"days": ("2024-01-13",)}, "give the first and the last"),
        ({"days": ("13 January", "2024-01-13")}, "give the first and the last"),
        ({"days": ("2024-01-14", "2024-01-13")}, "before they begin"),
        ({"days": ("2024-01-13", "2024-13-01")}, "2024-13-01"),
    ],
)
def test_bad_options_of_recflow(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read(tmp_path, [recflow_row(**SHOWN)], **options)
