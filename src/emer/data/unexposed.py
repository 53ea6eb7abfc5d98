"""Candidates that were never shown: drawn by popularity, for logs that hold exposures only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

_ROUNDS = 8


def sample_unexposed(
    exposures: pl.DataFrame,
    members: pl.DataFrame,
    n: int,
    seed: int,
    pool: Callable[[int], pl.DataFrame],
    part: int = 0,
) -> pl.DataFrame:
    """Draw ``n`` items for every request, without repetition.

    The pool of a request is what anyone was exposed to on the request's first day, less what its user was
    exposed to on any day of the request; the weights are that day's exposure counts. The draw is successive
    sampling: one item after the other, each time in proportion to the weights of those left. A request gets
    fewer where its pool is smaller.

    Args:
        exposures: ``user_id``, ``item_id``, ``day`` of all that the requests' users were shown on their days.
        members: exposed members of the requests, grouped by ``request`` in ascending order: ``request``,
            ``user_id``, ``day``, ``row`` (position in the log).
        n: items per request.
        seed: with the day and ``part``, decides the draw; other days and splits do not.
        pool: day -> ``item_id`` and ``weight`` (int64 > 0), sorted by item: how often anyone was shown it that day.
        part: number of this part of the users.

    Returns:
        ``request``, ``item_id``, and ``row``: a member of the request, drawn uniformly, in whose place the
        item is imagined.
    """
    requests = members.group_by("request", maintain_order=True).agg(
        pl.col("user_id").first(),
        pl.col("day").min().alias("day"),
        pl.col("day").max().alias("last_day"),
        pl.col("row"),
    )
    own = (
        requests.select("request", "user_id", pl.col("day").alias("first_day"), "last_day")
        .join(exposures.select("user_id", "item_id", "day"), on="user_id")
        .filter(pl.col("day").is_between("first_day", "last_day"))
        .select("request", "item_id")
        .unique(maintain_order=True)
    )
    parts = [
        _sample_day(pool(day), requests.filter(pl.col("day") == day), own, n, np.random.default_rng([seed, day, part]))
        for day in requests["day"].unique().sort().to_list()
    ]
    return pl.concat(parts)


def _sample_day(
    pool: pl.DataFrame, requests: pl.DataFrame, own: pl.DataFrame, n: int, rng: np.random.Generator
) -> pl.DataFrame:
    barred = (
        own.join(requests.select("request").with_row_index("local"), on="request")
        .join(pool.select("item_id").with_row_index("place"), on="item_id")
        .select("local", "place")
        .to_numpy()
        .astype(np.int64)
    )
    local, place = draw(pool["weight"].to_numpy(), requests.height, barred, n, rng)
    rows = requests["row"].to_list()
    sizes = np.array([len(r) for r in rows], dtype=np.int64)
    starts = np.concatenate([[0], sizes.cumsum()])
    chosen = starts[local] + rng.integers(0, sizes[local])
    return pl.DataFrame(
        {
            "request": requests["request"].gather(local),
            "item_id": pool["item_id"].gather(place),
            "row": requests["row"].explode().gather(chosen),
        }
    )


def draw(
    weights: np.ndarray, requests: int, barred: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Successive sampling for many requests from one pool.

    Args:
        weights: (V,) positive numbers.
        requests: how many requests, R.
        barred: (P, 2) int64 pairs of request and place in the pool that must not be drawn, without
            repetition.
        n: draws per request.
        rng: source of randomness.

    Returns:
        Two (D,) int64 arrays, request and place, sorted by request and then place.
    """
    V = weights.size
    cumulative = np.cumsum(weights, dtype=np.float64)
    taken = np.unique(barred[:, 0] * V + barred[:, 1])
    wanted = np.minimum(n, V - np.bincount(barred[:, 0], minlength=requests))
    need = wanted.copy()
    drawn: list[np.ndarray] = []
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(need > 0)
        if open_.size == 0:
            break
        # Drawing with replacement and ignoring repeats is successive sampling.
        tries = 2 * int(need.max()) + 4
        place = np.searchsorted(cumulative, rng.random((open_.size, tries)) * cumulative[-1], side="right")
        keys = (open_[:, None] * V + np.minimum(place, V - 1)).ravel()
        first = np.zeros(keys.size, dtype=bool)
        first[np.unique(keys, return_index=True)[1]] = True
        new = (first & ~np.isin(keys, taken)).reshape(place.shape)
        new &= new.cumsum(axis=1) <= need[open_, None]
        drawn.append(keys.reshape(place.shape)[new])
        taken = np.union1d(taken, drawn[-1])
        need[open_] -= new.sum(axis=1)
    for request in np.flatnonzero(need > 0):
        # Little is left to draw from: the largest weight / exponential variates are the same distribution.
        lo, hi = np.searchsorted(taken, [request * V, (request + 1) * V])
        left = np.setdiff1d(np.arange(V), taken[lo:hi] - request * V)
        race = rng.exponential(size=left.size) / weights[left]
        drawn.append(request * V + left[np.argsort(race)[: need[request]]])
    keys = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64)
    return keys // V, keys % V
