"""Sampling of candidates that were not shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from emer.data.unexposed import draw, sample_unexposed


def test_draw_takes_n_distinct_places_that_are_not_barred() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 100, 50)
    barred = np.unique(np.stack([rng.integers(0, 200, 900), rng.integers(0, 50, 900)], axis=1), axis=0)
    request, place = draw(weights, 200, barred, 7, rng)
    assert np.bincount(request, minlength=200).tolist() == [7] * 200
    pairs = set(zip(request.tolist(), place.tolist(), strict=True))
    assert len(pairs) == request.size
    assert not pairs & {tuple(pair) for pair in barred.tolist()}


def test_draw_gives_all_that_is_left_where_the_pool_is_small() -> None:
    barred = np.array([[0, 1], [0, 2], [2, 0], [2, 1], [2, 2], [2, 3]])
    weights = np.array([1, 1, 1, 1_000_000])  # the heavy one exhausts the quick rounds
    request, place = draw(weights, 3, barred, 4, np.random.default_rng(1))
    assert request.tolist() == [0, 0, 1, 1, 1, 1]
    assert place.tolist() == [0, 3, 0, 1, 2, 3]


def test_draw_is_successive_sampling() -> None:
    # P({a, b}) of two draws without replacement = w_a w_b (1 / (1 - w_a) + 1 / (1 - w_b)), weights summing to 1.
    weights = np.array([5, 3, 2])
    n = 40_000
    _, place = draw(weights, n, np.zeros((0, 2), dtype=np.int64), 2, np.random.default_rng(2))
    missing = 3 - place.reshape(n, 2).sum(axis=1)
    share = np.bincount(missing, minlength=3) / n
    w = weights / 10
    for left in range(3):
        a, b = (i for i in range(3) if i != left)
        expected = w[a] * w[b] * (1 / (1 - w[a]) + 1 / (1 - w[b]))
        assert abs(share[left] - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_the_slow_end_of_the_draw_has_the_same_distribution() -> None:
    # One draw where the quick rounds nearly always fail: the heavy item is barred.
    n = 20_000
    weights = np.array([10_000_000, 3, 1])
    barred = np.stack([np.arange(n), np.zeros(n, dtype=np.int64)], axis=1)
    _, place = draw(weights, n, barred, 1, np.random.default_rng(3))
    assert abs((place == 1).mean() - 3 / 4) < 4 * np.sqrt(3 / 16 / n)


def exposures() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    frame = pl.DataFrame(
        {
            "user_id": rng.integers(0, 30, 900),
            "item_id": rng.integers(0, 60, 900),
            "day": np.sort(rng.integers(0, 4, 900)).astype(np.int32),
        }
    )
    return frame.with_row_index("row")


def pool_of(log: pl.DataFrame) -> Callable[[int], pl.DataFrame]:
    return lambda day: (
        log.filter(pl.col("day") == day)
        .group_by("item_id")
        .agg(pl.len().cast(pl.Int64).alias("weight"))
        .sort("item_id")
    )


def test_sampled_items_come_from_the_day_and_never_from_the_user() -> None:
    log = exposures()
    keys = ["user_id", "day"]
    members = log.with_columns((pl.col("row").min().over(keys).rank("dense") - 1).alias("request"))
    members = members.sort("request", "row")
    sampled = sample_unexposed(log.drop("row"), members, 5, 1, pool_of(log))
    by_request = members.group_by("request").agg(pl.col("user_id", "day").first(), pl.col("row"))
    joined = sampled.join(by_request, on="request", suffix="_own")
    assert sampled.group_by("request").len()["len"].unique().to_list() == [5]
    for row in joined.iter_rows(named=True):
        day = log.filter(pl.col("day") == row["day"])
        assert row["item_id"] in day["item_id"].to_list()
        assert row["item_id"] not in day.filter(pl.col("user_id") == row["user_id"])["item_id"].to_list()
        assert row["row"] in row["row_own"]
    again = sample_unexposed(log.drop("row"), members, 5, 1, pool_of(log))
    assert again.equals(sampled)
    assert not sample_unexposed(log.drop("row"), members, 5, 2, pool_of(log)).equals(sampled)


def test_requests_over_several_days_bar_all_that_their_user_saw_meanwhile() -> None:
    log = pl.DataFrame(
        {
            "user_id": [0, 1, 1, 1, 0, 0, 0],
            "item_id": [10, 11, 12, 13, 11, 14, 12],
            "day": [0, 0, 0, 0, 1, 2, 3],
        },
        schema_overrides={"day": pl.Int32},
    ).with_row_index("row")
    members = log.filter(pl.col("row").is_in([0, 5])).with_columns(request=pl.lit(0, dtype=pl.Int64))
    sampled = sample_unexposed(log.drop("row"), members, 9, 0, pool_of(log))
    # The pool is day 0: 10 (a member), 11 (seen on day 1), 12 (seen after the request), 13.
    assert sampled["item_id"].to_list() == [12, 13]
