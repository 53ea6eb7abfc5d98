"""What a platform's multi-task model may know of the simulated world: features, and the log of the exposures.

Only this file of the room reads what is in a world, and it hands on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from emer.data.log import InteractionLog
from emer.world.exposure import fusion_score
from emer.world.population import World
from emer.world.pxtr import PxtrStage
from emer.world.responses import FEEDBACK
from emer.world.visit import Visit
from emer.world.walk import DAY_MS, Walk

FIRST_DAY = 100_000
"""Luck is keyed by day. Days that no experiment comes to share none with it, so that no pxtr is for a response that its
model was trained on. Nothing else in the world depends on the number of a day."""


def collect(
    world: World,
    candidates: int,
    slate: int,
    *,
    users: int,
    exposures: int,
    explore: float,
    progress: Callable[[int], None] = lambda exposures: None,
) -> InteractionLog:
    """Whole days from :data:`FIRST_DAY` on: one that gives users and videos a past, more until there are enough
    exposures, and one more to test on.

    The fusion formula serves, on the pxtrs of the parametric stage.

    Args:
        world: the users and videos.
        candidates: per request.
        slate: shown per request.
        users: how many walk, the first of the world; all, where there are fewer.
        exposures: between the first and the last day, at least.
        explore: chance that a slot shows a uniformly drawn candidate, so that a model also learns of what the formula
            does not choose.
        progress: called with the number of further exposures.
    """
    curious = replace(world, parameters=replace(world.parameters, explore=explore))
    stage = PxtrStage.calibrated(world, candidates, slate)
    who = np.arange(min(users, world.users))
    walk = Walk(curious, stage, candidates=candidates, slate=slate, users=who, block=256)
    start = {"day": np.full(who.size, FIRST_DAY - 1), "clock": np.full(who.size, FIRST_DAY * DAY_MS)}
    walk.restore({**walk.state(), **start})
    parts: list[pl.DataFrame] = []
    day, left, last = FIRST_DAY, exposures, False
    while not last:
        before = len(parts)
        enough = left <= 0
        for visit in walk.through_day(day, lambda asked: fusion_score(asked.pxtr)):
            parts.append(_shown(visit, day))
            if parts[0]["day"][0] < day:
                left -= parts[-1].height
                progress(parts[-1].height)
        last = enough and len(parts) > before  # of a few users, none may come on a day
        day += 1
    return InteractionLog(
        name=f"simulated platform, seed {world.seed}",
        exposures=pl.concat(parts),
        users=pl.DataFrame({"user_id": np.arange(world.users), "activity": world.activity}),
        items=pl.DataFrame(
            {
                "item_id": np.arange(world.videos),
                "category": world.category,
                "cold": world.cold.astype(np.int64),
                "log_duration": world.log_duration.astype(np.float32),
            }
        ),
        labels=FEEDBACK,
        user_categories=("activity",),
        item_categories=("category", "cold"),
        item_numbers=("log_duration",),
        history_keys=("user_id", "item_id", "category"),
    )


def _shown(visit: Visit, day: int) -> pl.DataFrame:
    """Exposures of a visit, as a log has them."""
    served = visit.log()
    row, place = np.nonzero(served.exposed)
    label = served.label[row, place]
    return pl.DataFrame(
        {
            "user_id": served.user[row],
            "item_id": served.video[row, place],
            "time_ms": served.time_ms[row],
            "day": np.full(row.size, day, dtype=np.int32),
            **{name: label[:, column] for column, name in enumerate(FEEDBACK)},
            "watch_seconds": served.watch_time[row, place],
        }
    )
