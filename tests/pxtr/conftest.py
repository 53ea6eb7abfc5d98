"""A small log with a signal that can be learnt: users and items have a liking and a quality."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from emer.data.log import InteractionLog, day_number

FIRST = day_number("2022-04-25")
DAY_MS = 86_400_000


def toy_log(seed: int = 0, users: int = 150, items: int = 60, per_day: int = 500, days: int = 7) -> InteractionLog:
    """Exposures of ``days`` days from 25 April; click, like and seconds depend on user, item and topic."""
    rng = np.random.default_rng(seed)
    n = per_day * days
    user, item = rng.integers(0, users, n), rng.integers(0, items, n)
    topic, age = np.arange(items) % 4, np.arange(users) % 4
    day = np.repeat(np.arange(days), per_day)
    time = np.sort(rng.integers(0, DAY_MS, (days, per_day)), axis=1).ravel()
    logit = 2.0 * (topic[item] == age[user]) - 1.5 + rng.normal(0, 1.0, users)[user] + rng.normal(0, 1.0, items)[item]
    chance = 1 / (1 + np.exp(-logit))
    exposures = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item + 1000,
            "time_ms": (FIRST + day) * DAY_MS + time,
            "day": (FIRST + day).astype(np.int32),
            "click": rng.random(n) < chance,
            "like": rng.random(n) < 0.2 * chance,
            "watch_seconds": (rng.exponential(20, n) * chance).astype(np.float32),
            "negative": np.zeros(n, dtype=np.float32),
            "hour": (time // 3_600_000).astype(np.int32),
        }
    )
    return InteractionLog(
        name="toy",
        exposures=exposures,
        users=pl.DataFrame({"user_id": np.arange(users), "age": age.astype(np.int32)}),
        items=pl.DataFrame(
            {
                "item_id": np.arange(items) + 1000,
                "topic": topic.astype(np.int32),
                "length": rng.normal(size=items).astype(np.float32),
                "upload_day": np.full(items, FIRST - 10, dtype=np.int32),
            }
        ),
        labels=("click", "like"),
        user_categories=("age",),
        item_categories=("topic",),
        item_numbers=("length",),
        context_categories=("hour",),
        history_keys=("user_id", "item_id", "topic"),
    )


@pytest.fixture
def log_of() -> Callable[..., InteractionLog]:
    """The function that makes the log."""
    return toy_log
