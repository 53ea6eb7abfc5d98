"""Pseudo-requests from exposures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from emer.data.assemble import RequestSettings, candidates, check_split, too_few
from emer.data.log import InteractionLog, day_number
from emer.errors import DataError

FIRST = day_number("2022-05-01")
DAY_MS = 86_400_000


def settings(**changes: Any) -> RequestSettings:
    days = {
        "train": ["2022-05-01", "2022-05-02"],
        "validation": ["2022-05-03", "2022-05-03"],
        "test": ["2022-05-04", "2022-05-04"],
    }
    return RequestSettings(**(days | {"min_exposed_evaluation": 2, "unexposed": 3} | changes))


def log_of(rows: list[tuple[int, int, int, int]]) -> InteractionLog:
    """A log of (user, item, day from 1 May, milliseconds into that day)."""
    user, item, day, ms = (list(column) for column in zip(*rows, strict=True))
    frame = pl.DataFrame({"user_id": user, "item_id": item, "day": day, "time_ms": ms}).with_columns(
        pl.col("time_ms") + pl.col("day") * DAY_MS,
        (pl.col("day") + FIRST).cast(pl.Int32).alias("day"),
        click=(pl.int_range(pl.len()) % 2 == 0),
        watch_seconds=pl.int_range(pl.len()).cast(pl.Float32),
        hour=pl.int_range(pl.len()).cast(pl.Int32),
    )
    return InteractionLog(
        name="toy",
        exposures=frame.sort("day", "time_ms"),
        users=pl.DataFrame({"user_id": sorted(set(user))}),
        items=pl.DataFrame({"item_id": sorted(set(item))}),
        labels=("click",),
        context_categories=("hour",),
    )


def random_log(seed: int = 0) -> InteractionLog:
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.integers(0, top, 1500) for top in (40, 80, 4, DAY_MS)], axis=1)
    return log_of([tuple(int(v) for v in row) for row in rows])


def pool_of(log: InteractionLog) -> Callable[[int], pl.DataFrame]:
    shown = log.exposures.group_by("day", "item_id").agg(pl.len().cast(pl.Int64).alias("weight")).sort("item_id")
    return lambda day: shown.filter(pl.col("day") == day).drop("day")


def split_of(log: InteractionLog, how: RequestSettings, split: str = "train", first_id: int = 0) -> pl.DataFrame:
    """The candidates of a split of a whole log."""
    first, last = how.days[split]
    rows = log.exposures.filter(pl.col("day").is_between(first, last))
    times = log.exposures.group_by("day").agg(pl.col("time_ms").max())

    def starts(day: int) -> int:
        return (times.filter(pl.col("day") < day)["time_ms"].max() or -1) + 1

    return candidates(
        rows, how, split, log.context_categories, pool=pool_of(log), starts=starts, first_id=first_id
    )  # fmt: skip


def requests_of(split: pl.DataFrame) -> pl.DataFrame:
    return split.group_by("request_id", maintain_order=True).agg(pl.col("time_ms").unique(), "item_id", "exposed")


def groups(log: InteractionLog, **changes: Any) -> list[list[int]]:
    split = split_of(log, settings(unexposed=0, **changes))
    return [sorted(items) for items in requests_of(split)["item_id"]] if split.height else []


ROWS = [
    # user, item, day, ms
    (1, 10, 0, 50),
    (1, 11, 0, 60),
    (2, 20, 0, 40),
    (2, 21, 0, 40),
    (1, 12, 0, 70),
    (1, 10, 1, 10),
    (1, 13, 1, 20),
    (3, 30, 1, 30),
]


def test_user_day_groups_a_users_day() -> None:
    assert groups(log_of(ROWS)) == [[20, 21], [10, 11, 12], [10, 13]]
    assert groups(log_of(ROWS), min_exposed_train=3) == [[10, 11, 12]]
    assert groups(log_of(ROWS), min_exposed_train=1) == [[20, 21], [10, 11, 12], [10, 13], [30]]


def test_windows_group_consecutive_exposures_across_days() -> None:
    assert groups(log_of(ROWS), grouping="windows", window=4) == [
        [20, 21],
        [10, 11, 12],
    ]  # 10 twice counts once
    assert groups(log_of(ROWS), grouping="windows", window=2) == [[20, 21], [10, 11], [10, 12]]


def test_day_windows_end_with_the_day() -> None:
    rows = [*ROWS, (1, 14, 0, 80), (1, 15, 1, 30)]
    assert groups(log_of(rows), grouping="day_windows", window=3) == [[20, 21], [10, 11, 12], [10, 13, 15]]
    assert groups(log_of(rows), grouping="day_windows", window=2) == [[20, 21], [10, 11], [12, 14], [10, 13]]


def test_shared_time_groups_what_was_delivered_together() -> None:
    assert groups(log_of(ROWS), grouping="shared_time") == [[20, 21]]


def test_a_repeated_item_counts_once_at_its_first_exposure() -> None:
    log = log_of([(1, 10, 0, 1), (1, 11, 0, 2), (1, 10, 0, 3)])
    split = split_of(log, settings(unexposed=0))
    assert split.select("item_id", "watch_seconds").rows() == [(10, 0.0), (11, 1.0)]
    assert groups(log, min_exposed_train=2) == [[10, 11]]


def test_exposed_candidates_carry_the_feedback_of_their_own_exposure() -> None:
    log = random_log()
    shown = split_of(log, settings()).filter("exposed")
    columns = ["user_id", "item_id", "click", "watch_seconds", "hour"]
    first = log.exposures.unique(["user_id", "day", "item_id"], keep="first", maintain_order=True)
    assert shown.join(first, on=columns, how="semi").height == shown.height > 0


def test_sampled_items_were_not_shown_to_the_user_that_day() -> None:
    log = random_log()
    split = split_of(log, settings(unexposed=8), "test")
    sampled = split.filter(~pl.col("exposed"))
    assert sampled.group_by("request_id").len()["len"].unique().to_list() == [8]
    own = sampled.join(log.exposures, on=["user_id", "item_id", "day"], how="inner")
    assert own.is_empty()
    pool = log.exposures.filter(pl.col("day") == FIRST + 3)["item_id"].unique()
    assert sampled["item_id"].is_in(pool.implode()).all()
    assert not split.select("request_id", "item_id").is_duplicated().any()


def test_sampled_candidates_take_context_from_an_exposure_of_their_request() -> None:
    split = split_of(random_log(), settings())
    contexts = split.filter("exposed").group_by("request_id").agg("hour", "time_ms")
    joined = split.filter(~pl.col("exposed")).join(contexts, on="request_id", suffix="_own")
    assert joined["hour_own"].list.contains(joined["hour"]).all()
    assert joined["time_ms_own"].list.contains(joined["time_ms"]).all()


def test_a_request_has_the_time_and_context_of_its_first_exposure() -> None:
    split = split_of(log_of(ROWS), settings(unexposed=2))
    heads = split.group_by("request_id", maintain_order=True).agg(pl.col("time_ms", "head_hour").unique())
    # Users 2, 1 and 1 again; an exposure's hour is its place in ROWS.
    assert heads["head_hour"].to_list() == [[2], [0], [5]]
    assert heads["time_ms"].to_list() == [[40], [50], [DAY_MS + 10]]


def test_the_place_of_a_candidate_does_not_tell_whether_it_was_exposed() -> None:
    split = split_of(random_log(), settings())
    assert split.equals(split.sort("request_id", "item_id"))


def test_equal_seeds_give_equal_candidates() -> None:
    log = random_log()
    one, two = (split_of(log, settings(seed=s)) for s in (1, 1))
    assert one.equals(two)
    assert not split_of(log, settings(seed=2)).equals(one)


def test_splits_follow_each_other_in_time() -> None:
    log = random_log()
    made = [requests_of(split_of(log, settings(), split, first_id=100)) for split in ("train", "validation", "test")]
    times = [frame["time_ms"].explode().to_numpy() for frame in made]
    for earlier, later in pairwise(times):
        assert earlier.max() < later.min()
    for frame, time in zip(made, times, strict=True):
        assert (np.diff(time) >= 0).all()
        assert frame["request_id"].to_list() == list(range(100, 100 + frame.height))


def test_a_video_delivered_before_midnight_does_not_move_its_request_into_the_day_before() -> None:
    rows = [
        (1, 10, 1, 500),
        (1, 11, 1, DAY_MS - 5),
        (2, 10, 2, -1000),
        (2, 11, 2, 50),
        (3, 1, 2, 7),
        (3, 2, 2, 8),
    ]
    log = log_of(rows)
    train, validation = (requests_of(split_of(log, settings(unexposed=0), s)) for s in ("train", "validation"))
    assert train["time_ms"].to_list() == [[DAY_MS + 500]]
    assert validation["time_ms"].to_list() == [[2 * DAY_MS - 4], [2 * DAY_MS + 7]]


def logged() -> InteractionLog:
    """Two requests of one user: 7 with three candidates, two of them shown, and 8 with one shown of two."""
    log = log_of([(1, item, 0, ms) for item, ms in ((10, 5), (11, 5), (12, 5), (10, 9), (13, 9))])
    exposures = log.exposures.with_columns(
        request=pl.Series([7, 7, 7, 8, 8]), exposed=pl.Series([False, True, True, True, False])
    )
    parts: dict[str, Any] = {name: getattr(log, name) for name in log.__dataclass_fields__}
    return InteractionLog(**(parts | {"exposures": exposures}))


def test_logged_requests_keep_the_candidates_that_were_not_shown() -> None:
    split = split_of(logged(), settings(grouping="logged", unexposed=0, min_exposed_train=1))
    assert requests_of(split).rows() == [
        (0, [5], [10, 11, 12], [False, True, True]),
        (1, [9], [10, 13], [True, False]),
    ]
    # The first exposure, not the first candidate, is the request's head.
    assert split["head_hour"].to_list() == [1, 1, 1, 3, 3]
    assert groups(logged(), grouping="logged") == [[10, 11, 12]]  # two shown items are needed
    with pytest.raises(DataError, match="grouping=logged needs a log that says which request"):
        split_of(log_of(ROWS), settings(grouping="logged"))


def test_a_sampled_candidate_was_never_ranked_by_the_platform() -> None:
    log = random_log()
    parts: dict[str, Any] = {name: getattr(log, name) for name in log.__dataclass_fields__}
    parts["exposures"] = log.exposures.with_columns(previous_score=pl.lit(0.5, pl.Float32))
    split = split_of(InteractionLog(**parts), settings())
    scores = split.group_by("exposed").agg(pl.col("previous_score").unique()).sort("exposed")
    assert scores.rows() == [(False, [0.0]), (True, [0.5])] and split["previous_score"].dtype == pl.Float32


def test_a_test_on_random_exposures_has_nothing_else_and_the_other_splits_have_none() -> None:
    log = random_log()
    parts: dict[str, Any] = {name: getattr(log, name) for name in log.__dataclass_fields__}
    parts["exposures"] = log.exposures.with_columns(explored=pl.col("item_id") % 3 == 0)
    marked = InteractionLog(**parts)
    how = settings(test_on="random", unexposed=0)
    for split in ("train", "validation", "test"):
        made = split_of(marked, how, split)
        assert made.height and made["explored"].unique().to_list() == [split == "test"]
    with pytest.raises(DataError, match="test_on=random needs a log that says what was shown by chance"):
        split_of(log, how)


def test_parts_of_the_users_sample_on_their_own() -> None:
    log = random_log()
    how = settings()
    rows = log.exposures.filter(pl.col("day") <= FIRST + 1)
    one, two = (
        candidates(rows, how, "train", (), pool=pool_of(log), starts=lambda day: 0, part=part) for part in (0, 1)
    )
    assert one.filter("exposed").equals(two.filter("exposed"))
    assert not one.equals(two)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"grouping": "session"}, "known are user_day, windows, day_windows, shared_time, logged"),
        ({"test_on": "chance"}, "known are all, random"),
        (
            {"train": ["2022-05-01", "2022-05-03"]},
            "validation begins on 2022-05-03, but must begin after 2022-05-03",
        ),
        ({"test": ["2022-05-04", "2022-05-01"]}, "test ends on 2022-05-01, before it begins"),
        ({"test": ["2022-05-04"]}, "first and last day"),
        ({"test": "2022-05-04"}, "first and last day"),
        ({"test": ["4 May", "5 May"]}, "'4 May' is not a date"),
        ({"unexposed": -1}, "unexposed is -1"),
        ({"unexposed": 2.5}, "unexposed is 2.5; it must be a whole number, and at least 0"),
        ({"unexposed": 32_768}, "unexposed is 32768; a request has at most 32,768 candidates"),
        ({"seed": -1}, "seed is -1"),
        ({"window": "six"}, "window is 'six'"),
        ({"train": None}, "train is None; give its first and last day"),
        ({"min_exposed_train": 0}, "min_exposed_train is 0"),
        ({"grouping": "windows", "window": 3, "min_exposed_evaluation": 4}, "windows of 3"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        settings(**changes)


def test_days_without_exposures_or_requests() -> None:
    log = log_of(ROWS)
    with pytest.raises(DataError, match=r"no exposure in the test days 2022-05-04 .* spans 2022-05-01 to 2022-05-02"):
        check_split(log.days, settings(), "test", "toy")
    check_split(log.days, settings(), "train", "toy")
    assert split_of(log, settings(min_exposed_train=9)).is_empty()
    assert "no user_day request of the train split has 9 exposed items; lower min_exposed_train" in str(
        too_few(settings(min_exposed_train=9), "train")
    )
