"""Pseudo-requests from exposures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from emer.data.assemble import RequestSettings, build_table, candidates, request_rows
from emer.data.log import InteractionLog, day_number
from emer.errors import DataError
from emer.requests import Feedback, Objective, Schema

FIRST = day_number("2022-05-01")
DAY_MS = 86_400_000
SCHEMA = Schema((Objective("pctr", feedback="click"),), (Feedback("click"),))


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


def table(log: InteractionLog, split: pl.DataFrame, **changes: Any) -> Any:
    T, R = split.height, request_rows(split).size
    empty = {
        "user_categories": np.zeros((R, 0)),
        "context_categories": np.zeros((R, 0)),
        "item_categories": np.zeros((T, 0)),
        "item_numbers": np.zeros((T, 0)),
    }
    return build_table(log, split, SCHEMA, pxtr=np.full((T, 1), 0.5), first_id=100, **(empty | changes))


def groups(log: InteractionLog, **changes: Any) -> list[list[int]]:
    split = candidates(log, settings(unexposed=0, **changes), "train")
    return [sorted(items) for items in split.group_by("request", maintain_order=True).agg("item_id")["item_id"]]


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


def test_shared_time_groups_what_was_delivered_together() -> None:
    assert groups(log_of(ROWS), grouping="shared_time") == [[20, 21]]


def test_a_repeated_item_counts_once_at_its_first_exposure() -> None:
    log = log_of([(1, 10, 0, 1), (1, 11, 0, 2), (1, 10, 0, 3)])
    split = candidates(log, settings(unexposed=0), "train")
    assert split.select("item_id", "row").rows() == [(10, 0), (11, 1)]
    assert groups(log, min_exposed_train=2) == [[10, 11]]


def test_feedback_stands_on_exposed_candidates_only() -> None:
    log = random_log()
    split = candidates(log, settings(), "train")
    made = table(log, split)
    assert made.exposed.any() and not made.exposed.all()
    assert not made.label[~made.exposed].any()
    assert not made.watch_time[~made.exposed].any()
    # Exposed candidates carry the feedback of their own exposure.
    rows = split["row"].to_numpy()[made.exposed]
    assert (made.label[made.exposed, 0] == log.exposures["click"].to_numpy()[rows]).all()
    assert (made.watch_time[made.exposed] == log.exposures["watch_seconds"].to_numpy()[rows]).all()
    assert (made.item_id[made.exposed] == log.exposures["item_id"].to_numpy()[rows]).all()
    users = np.repeat(made.user_id, made.lengths)
    assert (users == log.exposures["user_id"].to_numpy()[split["row"].to_numpy()]).all()


def test_sampled_items_were_not_shown_to_the_user_that_day() -> None:
    log = random_log()
    split = candidates(log, settings(unexposed=8), "test")
    sampled = split.filter(~pl.col("exposed"))
    assert sampled.group_by("request").len()["len"].unique().to_list() == [8]
    own = sampled.join(log.exposures, on=["user_id", "item_id", "day"], how="inner")
    assert own.is_empty()
    pool = log.exposures.filter(pl.col("day") == FIRST + 3)["item_id"].unique()
    assert sampled["item_id"].is_in(pool.implode()).all()
    assert not split.select("request", "item_id").is_duplicated().any()


def test_sampled_candidates_take_time_and_context_from_an_exposure_of_their_request() -> None:
    log = random_log()
    split = candidates(log, settings(), "train")
    contexts = split.filter("exposed").group_by("request").agg("hour", "row")
    joined = split.filter(~pl.col("exposed")).join(contexts, on="request", suffix="_own")
    assert joined["hour_own"].list.contains(joined["hour"]).all()
    assert joined["row_own"].list.contains(joined["row"]).all()


def test_the_place_of_a_candidate_does_not_tell_whether_it_was_exposed() -> None:
    split = candidates(random_log(), settings(), "train")
    assert split.equals(split.sort("request", "item_id"))


def test_equal_seeds_give_equal_candidates() -> None:
    log = random_log()
    one, two = (candidates(log, settings(seed=s), "train") for s in (1, 1))
    assert one.equals(two)
    assert not candidates(log, settings(seed=2), "train").equals(one)


def test_splits_follow_each_other_in_time() -> None:
    log = random_log()
    tables = [table(log, candidates(log, settings(), split)) for split in ("train", "validation", "test")]
    for earlier, later in pairwise(tables):
        assert earlier.time_ms.max() < later.time_ms.min()
    for made in tables:
        assert (np.diff(made.time_ms) >= 0).all()
        assert made.request_id.tolist() == list(range(100, 100 + len(made)))


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
    train, validation = (table(log, candidates(log, settings(unexposed=0), split)) for split in ("train", "validation"))
    assert train.time_ms.tolist() == [DAY_MS + 500]
    assert validation.time_ms.tolist() == [2 * DAY_MS - 4, 2 * DAY_MS + 7]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"grouping": "session"}, "known are user_day, windows, shared_time"),
        (
            {"train": ["2022-05-01", "2022-05-03"]},
            "validation begins on 2022-05-03, but must begin after 2022-05-03",
        ),
        ({"test": ["2022-05-04", "2022-05-01"]}, "test ends on 2022-05-01, before it begins"),
        ({"test": ["2022-05-04"]}, "first and last day"),
        ({"test": "2022-05-04"}, "first and last day"),
        ({"test": ["4 May", "5 May"]}, "'4 May' is not a date"),
        ({"unexposed": -1}, "unexposed is -1"),
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
        candidates(log, settings(), "test")
    with pytest.raises(DataError, match=r"no user_day request of the train split has 9 .* min_exposed_train"):
        candidates(log, settings(min_exposed_train=9), "train")
