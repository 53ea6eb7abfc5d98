"""What every user did on every day under one ranker: the raw material of online metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from emer.errors import EmerError
from emer.world.hashing import Floats, Ints
from emer.world.responses import FEEDBACK, INTERACTIONS
from emer.world.visit import Visit
from emer.world.walk import Score, Walk

EXPECTED = tuple(f"expected_{name}" for name in INTERACTIONS)
"""Interactions without their luck: the sum of P(interaction | watch time) over what was seen."""

TOTALS = (
    "stay_time",
    "watch_time",
    "video_views",
    *FEEDBACK,
    *EXPECTED,
    "dislike",
    "requests",
    "sessions",
    "long_sessions",
    "active",
    "return_chance",
)


@dataclass(frozen=True)
class Totals:
    """Totals of U users on D days.

    Attributes:
        users: (U,) ids, ascending.
        values: name of :data:`TOTALS` -> (U, D) float64. ``stay_time`` (the sum of watch time and the pauses between
            videos) and ``watch_time`` are in seconds, ``active`` is 0 or 1, ``return_chance`` the probability of it,
            and the others are counts; ``long_sessions`` of those that reached the world's limit of requests.
    """

    users: Ints
    values: dict[str, Floats]

    @property
    def days(self) -> int:
        return self.values["active"].shape[1]

    def per_user(self, name: str) -> Floats:
        """(U,) sum over the days."""
        return self.values[name].sum(axis=1)

    def select(self, rows: np.ndarray) -> Totals:
        """The users at ``rows``."""
        return Totals(self.users[rows], {name: value[rows] for name, value in self.values.items()})

    @classmethod
    def concat(cls, parts: Iterable[Totals]) -> Totals:
        """All users of ``parts``, by id.

        Raises:
            EmerError: a user is in two parts.
        """
        parts = list(parts)
        users = np.concatenate([part.users for part in parts])
        order = np.argsort(users, kind="stable")
        if (np.diff(users[order]) == 0).any():
            raise EmerError("totals: a user is in two parts; every user's days are simulated once")
        values = {name: np.concatenate([part.values[name] for part in parts])[order] for name in parts[0].values}
        return cls(users[order], values)


def walk_totals(walk: Walk, score: Score, days: int, progress: Callable[[int], None] = lambda users: None) -> Totals:
    """Send users through their next ``days`` days.

    Args:
        walk: the users, all of whom have come equally far.
        score: the ranker.
        days: D, at least 1.
        progress: called with a number of users after each of their days.

    Raises:
        EmerError: ``days`` is less than 1.
    """
    if days < 1:
        raise EmerError(f"days is {days}; it must be at least 1")
    order = np.argsort(walk.users, kind="stable")
    users = walk.users[order]
    values = {name: np.zeros((users.size, days)) for name in TOTALS}
    first = int(walk.day.max(initial=-1)) + 1
    for day in range(days):
        for visit in walk.through_day(first + day, score):
            add_visit(values, np.searchsorted(users, visit.asked.user), day, visit)
        values["active"][:, day], values["return_chance"][:, day] = walk.active[order], walk.chance[order]
        progress(users.size)
    return Totals(users, values)


def add_visit(values: dict[str, Floats], at: Ints, day: int | Ints, visit: Visit) -> None:
    """Add a visit to totals. It has every user at most once, so that ``+=`` at the positions ``at`` counts all of it.

    Args:
        values: as :attr:`Totals.values`, changed in place; ``active`` and ``return_chance`` stay as they are.
        at: (B,) rows of the visit's users.
        day: their columns, one or (B,).
        visit: B requests.
    """
    seen = visit.seen
    values["stay_time"][at, day] += seen.seconds
    # Sums along slots one after the other: a library's sum may round differently for another number of rows.
    values["watch_time"][at, day] += np.add.accumulate(seen.watch_time, axis=1)[:, -1]
    values["video_views"][at, day] += seen.exposed.sum(axis=1)
    labels = seen.label.sum(axis=1)
    for index, name in enumerate(FEEDBACK):
        values[name][at, day] += labels[:, index]
    expected = np.add.accumulate(visit.expected_interactions(), axis=1)[:, -1]
    for index, name in enumerate(EXPECTED):
        values[name][at, day] += expected[:, index]
    values["dislike"][at, day] += seen.dislike.sum(axis=1)
    values["requests"][at, day] += 1
    values["sessions"][at, day] += visit.asked.place == 0
    last = visit.asked.place + 1 >= visit.world.parameters.session_requests
    values["long_sessions"][at, day] += last & (seen.budget > 0)
