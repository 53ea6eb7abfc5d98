"""Numbers of A/B tests in simulated worlds: the worlds are the sample."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from emer.online.experiment import LT_DAYS
from emer.online.worlds import read_worlds
from emer.reports.papers.numbers import Number, with_means

Worlds = Mapping[str, Mapping[int, Path]]
"""Kind of platform -> seed of the world -> folder of its A/B test."""


def online_numbers(worlds: Worlds, base: str) -> list[Number]:
    """Difference from ``base`` in per cent, of every arm and metric, in every world and over them.

    Interactions are their probabilities given what was watched, and LT7 the return probabilities, where a test has
    them: the luck of single clicks is no part of a ranker.
    """
    rows: list[Number] = []
    for kind, folders in worlds.items():
        table = read_worlds(folders, base)
        rows += with_means(kind, table.of_world, base)
    return rows


def daily_numbers(worlds: Worlds, base: str) -> list[Number]:
    """LT up to each day, as ``LT@<day>``: days with a visit so far, of users who came on day 0; difference in per cent.

    Day 6 is LT7. Visits are counted by their probabilities, as in :func:`online_numbers`.
    """
    rows: list[Number] = []
    for kind, folders in worlds.items():
        found: dict[tuple[str, str], dict[int, float]] = {}
        for seed, folder in folders.items():
            lifetimes = _lifetimes(folder)
            for arm, of_arm in lifetimes.items():
                for day in range(1, LT_DAYS):
                    if arm != base:
                        found.setdefault((arm, f"LT@{day}"), {})[seed] = 100 * (of_arm[day] / lifetimes[base][day] - 1)
        rows += with_means(kind, found, base)
    return rows


def _lifetimes(folder: Path) -> dict[str, np.ndarray]:
    """Arm -> (7,) mean over users of their days with a visit up to each day."""
    table = pq.read_table(folder / "user_days.parquet", columns=["arm", "user_id", "day", "active", "return_chance"])
    arms = np.asarray(table["arm"].to_pylist())
    user, day, active, chance = (table[name].to_numpy() for name in ("user_id", "day", "active", "return_chance"))
    found = {}
    for arm in dict.fromkeys(arms.tolist()):
        mine = arms == arm
        users, days = np.unique(user[mine]).size, int(day[mine].max()) + 1
        order = np.lexsort((day[mine], user[mine]))
        came, later = (values[mine][order].reshape(users, days)[:, :LT_DAYS] for values in (active, chance))
        first = came[:, :1]
        visits = first * np.concatenate([np.ones_like(first), later[:, 1:]], axis=1)
        found[arm] = visits.cumsum(axis=1).mean(axis=0)
    return found


def tested_arms(folder: Path) -> set[str]:
    """Arms of a test beside its base."""
    effects = json.loads((folder / "effects.json").read_text(encoding="utf-8"))
    return {e["arm"] for e in effects if e["design"] == "twin" and e["segment"] == "all"}


def tested_users(folder: Path) -> tuple[int, int]:
    """Users and days of a test."""
    effects = json.loads((folder / "effects.json").read_text(encoding="utf-8"))
    twins = next(e for e in effects if e["design"] == "twin" and e["segment"] == "all")
    days = pq.read_table(folder / "user_days.parquet", columns=["day"])["day"].to_numpy()
    return int(twins["control_users"]), int(days.max()) + 1
