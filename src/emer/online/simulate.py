"""All arms of an experiment, in one process or several; the result is the same, user by user, but for
the rounding of networks, whose batches differ."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import torch

from emer.online.setting import Setting
from emer.online.totals import Totals, walk_totals
from emer.world.hashing import Ints
from emer.world.population import World
from emer.world.walk import Score

LoadArm = Callable[[World], Score]
"""Makes a ranker ready to serve in a world. Pickled when there are several processes."""

_SHARE = 500
"""Users of a share at most: fewer, and several processes finish together and progress is seen; more, and the last
users of a day are served in larger blocks."""

_of_process: tuple[Setting, Mapping[str, LoadArm], int] | None = None
"""What the shares of a process have in common, sent and built once. Set in processes of a pool only."""


@dataclass(frozen=True)
class Simulated:
    """Attributes:
    totals: arm -> what its users did.
    before: what they did before, under the base; None without such days.
    """

    totals: dict[str, Totals]
    before: Totals | None


def simulate(
    setting: Setting,
    arms: Mapping[str, LoadArm],
    users: int,
    days: int,
    *,
    before: int = 0,
    processes: int = 1,
    threads: int = 1,
    progress: Callable[[int], None] = lambda users: None,
) -> Simulated:
    """Send the first ``users`` users of a world through ``days`` days under every arm.

    Args:
        setting: the platform.
        arms: name -> how to load it; the first is the base.
        users: at most the world's.
        days: at least 1.
        before: days that all spend under the base first. Arms go on from where these end.
        processes: over which the users are spread.
        threads: of torch in each process.
        progress: called with a number of users whenever so many have spent one more day under one arm.

    Raises:
        EmerError: ``days`` is less than 1.
    """
    size = max(1, min(_SHARE, -(-users // processes)))
    shares = [np.arange(first, min(first + size, users)) for first in range(0, users, size)]
    if processes == 1:
        return _join([_share(setting, arms, share, days, before, threads, progress) for share in shares])
    _ = setting.multi_task  # what it takes to make it is done once, before the processes ask for it
    # Not forked: torch's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start, initargs=(setting, arms, threads)
    ) as pool:
        jobs: list[Future[Simulated]] = [pool.submit(_share_of_process, share, days, before) for share in shares]
        left: set[Future[Simulated]] = set(jobs)
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for job in done:
                progress(job.result().totals[next(iter(arms))].users.size * (before + days * len(arms)))
        return _join([job.result() for job in jobs])


def _start(setting: Setting, arms: Mapping[str, LoadArm], threads: int) -> None:
    global _of_process
    _of_process = setting, arms, threads


def _share_of_process(users: Ints, days: int, before: int) -> Simulated:
    assert _of_process is not None
    setting, arms, threads = _of_process
    return _share(setting, arms, users, days, before, threads)


def _share(
    setting: Setting,
    arms: Mapping[str, LoadArm],
    users: Ints,
    days: int,
    before: int,
    threads: int,
    progress: Callable[[int], None] = lambda users: None,
) -> Simulated:
    torch.set_num_threads(threads)
    walk = setting.walk(users)
    rankers = {name: load(setting.world) for name, load in arms.items()}
    past = walk_totals(walk, next(iter(rankers.values())), before, progress) if before else None
    start, totals = walk.state(), {}
    for name, ranker in rankers.items():
        walk.restore(start)
        totals[name] = walk_totals(walk, ranker, days, progress)
    return Simulated(totals, past)


def _join(parts: list[Simulated]) -> Simulated:
    return Simulated(
        {name: Totals.concat(part.totals[name] for part in parts) for name in parts[0].totals},
        None if parts[0].before is None else Totals.concat(p.before for p in parts if p.before is not None),
    )
