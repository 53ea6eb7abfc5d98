"""A served request: what a ranker may see of it, what a platform logs, and what only the world knows."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from emer.world.exposure import Seen, explored_slots
from emer.world.hashing import Floats, Hash, Ints
from emer.world.population import World
from emer.world.responses import FEEDBACK, Potential, interaction_probability


@dataclass(frozen=True, kw_only=True)
class Asked:
    """B requests that wait for an order: all that a ranker may see.

    Attributes:
        request_id: (B,) a hash, not negative; the same however the users are walked.
        user: (B,).
        time_ms: (B,) from the start of day 0.
        place: (B,) number of the request in its session, from 0.
        video: (B, C).
        pxtr: (B, C, 8) float32 in the order of OBJECTIVES.
    """

    request_id: Ints
    user: Ints
    time_ms: Ints
    place: Ints
    video: Ints
    pxtr: np.ndarray

    def __len__(self) -> int:
        return self.user.size

    def take(self, rows: Ints) -> Asked:
        """The requests at ``rows``."""
        return Asked(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Served:
    """R served requests of C candidates each: what a platform would log.

    Attributes:
        user: (R,).
        time_ms: (R,) from the start of day 0.
        place: (R,) number of the request in its session, from 0.
        video: (R, C).
        pxtr: (R, C, 8) float32 in the order of OBJECTIVES.
        score: (R, C) float32 serving score.
        exposed: (R, C) bool.
        explored: (R, C) bool, exposed by chance instead of by score.
        watch_time: (R, C) float32 seconds.
        label: (R, C, 7) bool in the order of FEEDBACK.
        dislike: (R, C) bool.
    """

    user: Ints
    time_ms: Ints
    place: Ints
    video: Ints
    pxtr: np.ndarray
    score: np.ndarray
    exposed: np.ndarray
    explored: np.ndarray
    watch_time: np.ndarray
    label: np.ndarray
    dislike: np.ndarray

    def __len__(self) -> int:
        return self.user.size

    def take(self, rows: Ints | slice) -> Served:
        """The requests at ``rows``."""
        return Served(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def in_time_order(cls, parts: list[Served]) -> Served:
        """All requests of ``parts``, sorted by time and user."""
        whole = cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})
        return whole.take(np.lexsort((whole.user, whole.time_ms)))


@dataclass(frozen=True, kw_only=True)
class Visit:
    """B requests with their outcome, E slots each.

    Attributes:
        asked: the requests.
        day: (B,) the day of the user's calendar that the request belongs to.
        key: (B,) hash that identifies the request.
        score: (B, C) float32.
        shown: (B, E) positions of the shown candidates among the C, in order of display.
        potential: what the users would do.
        seen: what they did.
    """

    world: World
    asked: Asked
    day: Ints
    key: Hash
    score: np.ndarray
    shown: Ints
    potential: Potential
    seen: Seen

    def expected_interactions(self) -> Floats:
        """(B, E, 4) P(interaction | watch time) of what was seen, 0 elsewhere: the observed interactions without their
        luck (Rao-Blackwell), for metrics alone."""
        probability = interaction_probability(self.world, self.potential.log_rate, self.seen.watch_time)
        return np.where(self.seen.exposed[..., None], probability, 0.0)

    def log(self) -> Served:
        """What the platform logs of it."""
        asked, rows = self.asked, np.arange(len(self.asked))[:, None]
        explored = explored_slots(self.shown.shape[1], self.world.parameters.explore, self.key) & self.seen.exposed
        full = {
            "exposed": (self.seen.exposed, bool, ()),
            "explored": (explored, bool, ()),
            "watch_time": (self.seen.watch_time, np.float32, ()),
            "label": (self.seen.label, bool, (len(FEEDBACK),)),
            "dislike": (self.seen.dislike, bool, ()),
        }
        columns = {}
        for name, (value, dtype, tail) in full.items():
            columns[name] = np.zeros((*asked.video.shape, *tail), dtype=dtype)
            columns[name][rows, self.shown] = value
        return Served(
            user=asked.user,
            time_ms=asked.time_ms,
            place=asked.place,
            video=asked.video,
            pxtr=asked.pxtr,
            score=self.score,
            **columns,
        )
