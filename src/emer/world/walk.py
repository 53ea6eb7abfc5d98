"""Users walk through days, sessions and requests; every request is served by a scoring rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit

from emer.world.backend import CandidateStage, NumpyCandidates
from emer.world.exposure import choose_slate, watch_slate
from emer.world.hashing import Floats, Ints, Stream, hash_keys, normals, uniform
from emer.world.population import World
from emer.world.responses import affinity_in_list, potential_responses
from emer.world.stage import MultiTaskStage
from emer.world.visit import Asked, Served, Visit

DAY_MS = 86_400_000
_SESSIONS = 6  # upper limit per day
_PAUSE_MS = 60_000  # at least this between two sessions

_HOUR_WEIGHT = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 4, 4, 5, 6, 6, 5, 4, 4, 5, 6, 7, 8, 8, 7, 5], dtype=np.float64)
"""Relative traffic per hour of the day: a noon and an evening peak."""

Score = Callable[[Asked], np.ndarray]
"""(B, C) serving scores of B requests; larger is better."""


class Walk:
    """Some of a world's users, each at a point of its own calendar.

    A day of a user begins at midnight, or later when the last session of the day before ends later. It is active with
    probability expit(return logit of the activity level + return_sensitivity x mood). The mood is an exponential mean
    over active days of what an impression's satisfaction S exceeds ``satisfaction_reference`` by.

    All that happens is a function of the seed, the user and the calendar, and of the scores that were given: neither
    other users, nor blocks, nor how far a walk is advanced at a time play a part.

    Args:
        world: the users and videos.
        stage: predicts the pxtrs.
        candidates: C per request.
        slate: E per request.
        users: the ids of those who walk; all of the world's by default.
        block: users simulated together; changes memory and speed, never the result.
        propose: gives a request its candidates and pxtrs; by default NumPy does, from ``stage`` and ``candidates``.

    Attributes:
        day: (n,) the day that each user has begun last, -1 before the first.
        active: (n,) bool, whether the user came on that day.
        chance: (n,) the probability that it would.
    """

    def __init__(
        self,
        world: World,
        stage: MultiTaskStage,
        *,
        candidates: int,
        slate: int,
        users: Ints | None = None,
        block: int = 256,
        propose: CandidateStage | None = None,
    ) -> None:
        self.propose = propose or NumpyCandidates(world, stage, candidates)
        self.world, self.stage = world, stage
        self.candidates, self.slate, self.block = candidates, slate, block
        self.users = np.arange(world.users) if users is None else np.asarray(users, dtype=np.int64)
        n = self.users.size
        self.day = np.full(n, -1)
        self.active, self.busy = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self.chance, self.mood, self.budget = np.zeros(n), np.zeros(n), np.zeros(n)
        self.satisfaction, self.impressions = np.zeros(n), np.zeros(n)
        self.clock, self.session, self.place = (np.zeros(n, dtype=np.int64) for _ in range(3))
        self.starts = np.full((n, _SESSIONS), np.inf)
        self.fatigue = np.zeros((n, world.parameters.categories))

    def through_day(self, day: int, score: Score) -> Iterator[Visit]:
        """All requests of every user's days up to ``day``, wherever they fall in time."""
        while (begin := np.flatnonzero(~self.busy & (self.day < day))).size:
            self._begin_day(begin)
            while (ready := np.flatnonzero(self.busy & (self.day <= day))).size:
                yield from self._serve(ready, score)

    def until(self, time_ms: int, score: Score) -> Iterator[Visit]:
        """All requests before ``time_ms``, counted from the start of day 0."""
        while True:
            begin = np.flatnonzero(~self.busy & (DAY_MS * (self.day + 1) < time_ms))
            self._begin_day(begin)
            ready = np.flatnonzero(self.busy & (self.clock < time_ms))
            if not begin.size and not ready.size:
                return
            yield from self._serve(ready, score)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that changes, to go on from later."""
        return {name: value.copy() for name, value in vars(self).items() if name in _STATE}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a :meth:`state` of the same users in the same world."""
        for name in _STATE:
            setattr(self, name, state[name].copy())

    def _begin_day(self, at: Ints) -> None:
        """The next day of the users at the positions ``at``, who have finished the one before."""
        world, p = self.world, self.world.parameters
        seen = at[self.impressions[at] > 0]
        day_mood = self.satisfaction[seen] / self.impressions[seen] - p.satisfaction_reference
        self.mood[seen] = p.mood_decay * self.mood[seen] + (1 - p.mood_decay) * day_mood
        self.satisfaction[at] = self.impressions[at] = 0
        self.fatigue[at] *= np.where(self.day[at, None] >= 0, p.fatigue_overnight, 1.0)
        self.day[at] += 1

        users, day = self.users[at], self.day[at]
        logit = np.array(p.return_logit)[world.activity[users]] + p.return_sensitivity * self.mood[at]
        self.chance[at] = expit(logit)
        self.active[at] = uniform(hash_keys(world.seed, Stream.RETURN, users, day)) < self.chance[at]
        at = at[self.active[at]]
        users, day = self.users[at], self.day[at]
        self.busy[at] = True
        self.session[at] = self.place[at] = 0
        self.starts[at] = _session_starts(world, users, day)
        self.budget[at] = _budget(world, users, day, self.session[at])
        self.clock[at] = np.maximum(self.clock[at] + _PAUSE_MS, self.starts[at, 0].astype(np.int64))

    def _serve(self, ready: Ints, score: Score) -> Iterator[Visit]:
        for first in range(0, ready.size, self.block):
            yield self._serve_one(ready[first : first + self.block], score)

    def _serve_one(self, at: Ints, score: Score) -> Visit:
        """One request of each user at the positions ``at``."""
        world, p = self.world, self.world.parameters
        users, day, place = self.users[at], self.day[at], self.place[at]
        key = hash_keys(world.seed, Stream.CANDIDATES, users, day, self.session[at], place)
        videos, z, pxtr = self.propose(users, self.fatigue[at], key)
        request_id = (key >> np.uint64(1)).astype(np.int64)
        asked = Asked(request_id=request_id, user=users, time_ms=self.clock[at], place=place, video=videos, pxtr=pxtr)
        scores = score(asked)
        shown = choose_slate(scores, self.slate, p.explore, key)
        shown_videos = np.take_along_axis(videos, shown, axis=1)
        felt = affinity_in_list(world, shown_videos, np.take_along_axis(z, shown, axis=1))
        potential = potential_responses(world, users, shown_videos, felt, day)
        seen = watch_slate(world, users, potential, self.budget[at])

        tired = p.fatigue_decay * self.fatigue[at]
        np.add.at(tired, (np.arange(at.size)[:, None], world.category[shown_videos]), seen.exposed)
        self.fatigue[at] = tired
        self.satisfaction[at] += np.add.accumulate(seen.satisfaction, axis=1)[:, -1]
        self.impressions[at] += seen.exposed.sum(axis=1)
        self.clock[at] += np.ceil(1e3 * seen.seconds).astype(np.int64)
        self._next_request(at, seen.budget)
        return Visit(
            world=world, asked=asked, day=day, key=key, score=scores, shown=shown, potential=potential, seen=seen
        )

    def _next_request(self, at: Ints, budget: Floats) -> None:
        p = self.world.parameters
        over = (budget <= 0) | (self.place[at] + 1 >= p.session_requests)
        self.budget[at] = budget
        self.place[at] += 1
        ended = at[over]
        self.session[ended] += 1
        self.place[ended] = 0
        more = self.session[ended] < _SESSIONS
        more[more] = np.isfinite(self.starts[ended[more], self.session[ended[more]]])
        self.busy[ended[~more]] = False
        again = ended[more]
        users, day, session = self.users[again], self.day[again], self.session[again]
        self.budget[again] = _budget(self.world, users, day, session)
        late = self.starts[again, session].astype(np.int64)
        self.clock[again] = np.maximum(self.clock[again] + _PAUSE_MS, late)


_STATE = (
    "day",
    "active",
    "busy",
    "chance",
    "mood",
    "budget",
    "satisfaction",
    "impressions",
    "clock",
    "session",
    "place",
    "starts",
    "fatigue",
)


def walk_days(
    world: World,
    stage: MultiTaskStage,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    candidates: int,
    slate: int,
    block: int = 256,
) -> Iterator[list[Served]]:
    """The logs of day 0, day 1, ... without end.

    Args:
        world: the users and videos.
        stage: predicts the pxtrs.
        score: (B, C, 8) pxtrs -> (B, C) serving scores.
        candidates: C per request.
        slate: E per request.
        block: users simulated together; changes memory and speed, never the result.
    """
    walk, day = Walk(world, stage, candidates=candidates, slate=slate, block=block), 0
    while True:
        yield [visit.log() for visit in walk.through_day(day, lambda asked: score(asked.pxtr))]
        day += 1


def _session_starts(world: World, users: Ints, day: Ints) -> Floats:
    """(B, 6) milliseconds at which the day's sessions begin, ascending; infinity where there is none.

    Their number is max(1, floor(exponential)), at most 6.
    """
    mean = np.array(world.parameters.sessions_mean)[world.activity[users]]
    length = -mean * np.log(uniform(hash_keys(world.seed, Stream.SESSIONS, users, day, 0)))
    count = np.clip(np.floor(length), 1, _SESSIONS)
    slot = np.arange(_SESSIONS)
    luck = uniform(hash_keys(world.seed, Stream.SESSIONS, users[:, None], day[:, None], 1 + slot))
    share = np.concatenate([[0.0], np.cumsum(_HOUR_WEIGHT) / _HOUR_WEIGHT.sum()])
    start = DAY_MS * (day[:, None] + np.interp(luck, share, np.arange(25) / 24))
    return np.sort(np.where(slot < count[:, None], np.floor(start), np.inf), axis=1)


def _budget(world: World, users: Ints, day: Ints, session: Ints) -> Floats:
    """(B,) seconds: lognormal, shifted by activity."""
    p = world.parameters
    deviation = normals(hash_keys(world.seed, Stream.BUDGET, users, day, session), 1)[0]
    return p.budget_median * np.exp(np.array(p.budget_shift)[world.activity[users]] + p.budget_sd * deviation)
