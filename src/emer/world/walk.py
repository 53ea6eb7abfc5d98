"""Users walk through days, sessions and requests; every request is served by a scoring rule and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit

from emer.world.candidates import draw_candidates
from emer.world.exposure import choose_slate, watch_slate
from emer.world.hashing import Floats, Ints, Stream, hash_keys, normals, uniform
from emer.world.population import World
from emer.world.pxtr import PxtrStage
from emer.world.responses import FEEDBACK, affinity, expected_rates, potential_responses

DAY_MS = 86_400_000
_SESSIONS = 6  # upper limit per day
_PAUSE_MS = 60_000  # at least this between two sessions

_HOUR_WEIGHT = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 4, 4, 5, 6, 6, 5, 4, 4, 5, 6, 7, 8, 8, 7, 5], dtype=np.float64)
"""Relative traffic per hour of the day: a noon and an evening peak."""


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


def walk_days(
    world: World,
    stage: PxtrStage,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    candidates: int,
    slate: int,
    block: int = 256,
) -> Iterator[list[Served]]:
    """Yield the requests of day 0, day 1, ... without end. Users carry their fatigue from day to day.

    Args:
        world: the users and videos.
        stage: predicts the pxtrs.
        score: (B, C, 8) pxtrs -> (B, C) serving scores.
        candidates: C per request.
        slate: E per request.
        block: users simulated together; changes memory and speed, never the result.
    """
    p = world.parameters
    fatigue = np.zeros((world.users, p.categories))
    clock = np.zeros(world.users, dtype=np.int64)
    day = 0
    while True:
        served = []
        for first in range(0, world.users, block):
            users = np.arange(first, min(first + block, world.users))
            served += _walk_day(world, stage, score, users, day, candidates, slate, fatigue, clock)
        fatigue *= p.fatigue_overnight
        yield served
        day += 1


def _walk_day(
    world: World,
    stage: PxtrStage,
    score: Callable[[np.ndarray], np.ndarray],
    users: Ints,
    day: int,
    candidates: int,
    slate: int,
    fatigue: Floats,
    clock: Ints,
) -> list[Served]:
    """One day of some users, one request of each at a time. Advances ``fatigue`` and ``clock`` in place."""
    p = world.parameters
    level = world.activity[users]
    active = uniform(hash_keys(world.seed, Stream.RETURN, users, day)) < expit(np.array(p.return_logit)[level])
    users, level = users[active], level[active]
    starts = _session_starts(world, users, day)
    session = np.zeros(users.size, dtype=np.int64)
    place = np.zeros(users.size, dtype=np.int64)
    budget = _budget(world, users, day, session)
    clock[users] = np.maximum(clock[users] + _PAUSE_MS, starts[:, 0])

    served = []
    while users.size:
        request = hash_keys(world.seed, Stream.CANDIDATES, users, day, session, place)
        videos = draw_candidates(world, users, candidates, request)
        z = affinity(world, users, videos, fatigue[users])
        pxtr = stage.predict(users, videos, expected_rates(world, users, videos, z), request)
        scores = score(pxtr)
        shown = choose_slate(scores, slate, p.explore, request)
        shown_videos = np.take_along_axis(videos, shown, axis=1)
        shown_z = np.take_along_axis(z, shown, axis=1)
        potential = potential_responses(world, users, shown_videos, shown_z, day)
        seen = watch_slate(world, users, potential, budget)

        rows = np.arange(users.size)[:, None]
        full = {
            "exposed": (seen.exposed, bool, ()),
            "watch_time": (seen.watch_time, np.float32, ()),
            "label": (seen.label, bool, (len(FEEDBACK),)),
            "dislike": (seen.dislike, bool, ()),
        }
        columns = {}
        for name, (value, dtype, tail) in full.items():
            columns[name] = np.zeros((*videos.shape, *tail), dtype=dtype)
            columns[name][rows, shown] = value
        served.append(
            Served(
                user=users,
                time_ms=clock[users],
                place=place,
                video=videos,
                pxtr=pxtr,
                score=scores,
                **columns,
            )
        )

        tired = p.fatigue_decay * fatigue[users]
        np.add.at(tired, (rows, world.category[shown_videos]), seen.exposed)
        fatigue[users] = tired
        clock[users] += np.ceil(1e3 * seen.seconds).astype(np.int64)

        over = (seen.budget <= 0) | (place + 1 >= p.session_requests)
        session = session + over
        place = np.where(over, 0, place + 1)
        keep = session < _SESSIONS
        keep[keep] = np.isfinite(starts[keep, session[keep]])
        over = over[keep]
        users, starts, session, place = users[keep], starts[keep], session[keep], place[keep]
        budget = seen.budget[keep]
        budget[over] = _budget(world, users[over], day, session[over])
        late = starts[over, session[over]].astype(np.int64)
        clock[users[over]] = np.maximum(clock[users[over]] + _PAUSE_MS, late)
    return served


def _session_starts(world: World, users: Ints, day: int) -> Floats:
    """(B, 6) milliseconds at which the day's sessions begin, ascending; infinity where there is none.

    Their number is max(1, floor(exponential)), at most 6.
    """
    mean = np.array(world.parameters.sessions_mean)[world.activity[users]]
    length = -mean * np.log(uniform(hash_keys(world.seed, Stream.SESSIONS, users, day, 0)))
    count = np.clip(np.floor(length), 1, _SESSIONS)
    slot = np.arange(_SESSIONS)
    luck = uniform(hash_keys(world.seed, Stream.SESSIONS, users[:, None], day, 1 + slot))
    share = np.concatenate([[0.0], np.cumsum(_HOUR_WEIGHT) / _HOUR_WEIGHT.sum()])
    start = DAY_MS * (day + np.interp(luck, share, np.arange(25) / 24))
    return np.sort(np.where(slot < count[:, None], np.floor(start), np.inf), axis=1)


def _budget(world: World, users: Ints, day: int, session: Ints) -> Floats:
    """(B,) seconds: lognormal, shifted by activity."""
    p = world.parameters
    deviation = normals(hash_keys(world.seed, Stream.BUDGET, users, day, session), 1)[0]
    return p.budget_median * np.exp(np.array(p.budget_shift)[world.activity[users]] + p.budget_sd * deviation)
