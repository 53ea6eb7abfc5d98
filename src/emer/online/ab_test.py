"""A whole A/B test: simulate the arms, tell their differences, and check what the figures rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from emer.errors import EmerError
from emer.online.checks import whole
from emer.online.consistency import Consistency, consistency, offline_gauc
from emer.online.experiment import Effect, buckets, effects
from emer.online.sample_ratio import SampleRatio, sample_ratio
from emer.online.setting import Setting
from emer.online.simulate import LoadArm, Simulated, simulate
from emer.online.statistics import Difference, mean_difference
from emer.online.totals import Totals
from emer.world.population import ACTIVITY_LEVELS, World

SEGMENTS = ("activity", "category")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Args:
        users: the first of the world's.
        days: under every arm.
        before: days that all spend under the base first.
        name: of the test, which decides the buckets.
        segments: of :data:`SEGMENTS`; ``category`` is the one that a user likes best.
        offline_requests: of the base, on which every arm's GAUC is measured; 0 for none.
        processes, threads: as in :func:`emer.online.simulate.simulate`.

    Raises:
        EmerError: a number is out of range, or a segment is unknown.
    """

    users: int
    days: int
    before: int = 0
    name: str = "ab_test"
    segments: tuple[str, ...] = ("activity",)
    offline_requests: int = 0
    processes: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        least = {"users": 2, "days": 1, "before": 0, "offline_requests": 0, "processes": 1, "threads": 1}
        for name, value in least.items():
            whole("num_threads" if name == "threads" else name, getattr(self, name), value)
        unknown = sorted(set(self.segments) - set(SEGMENTS))
        if unknown:
            raise EmerError(f"segments has {', '.join(unknown)}; there are {', '.join(SEGMENTS)}, or [] for none")


@dataclass(frozen=True)
class Health:
    """What must be in order before a figure is believed.

    Attributes:
        ratio: whether the hash divided the users as meant; nobody can be lost here, as on a platform.
        same_arm: arm -> AppStayTime of its bucket against the base's, when *both* are served by the base (A/A).
        balance: the same on the days before the test; None without such days.
        long_sessions: arm -> share of sessions that ended at the world's limit of requests, not by the user's budget.
    """

    ratio: SampleRatio
    same_arm: dict[str, Difference]
    balance: dict[str, Difference] | None
    long_sessions: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    base: name of the first arm.
    effects: all differences from it.
    simulated: what every user did.
    health: what the figures rest on.
    consistency: offline GAUC beside them; None if not asked for.
    """

    base: str
    effects: list[Effect]
    simulated: Simulated
    health: Health
    consistency: Consistency | None = field(default=None)


def run_test(
    setting: Setting, arms: Mapping[str, LoadArm], plan: Plan, progress: Callable[[int], None] = lambda users: None
) -> Outcome:
    """Every arm against the first.

    Args:
        setting: the platform.
        arms: name -> how to load it.
        plan: of the test.
        progress: called with a number of users whenever so many have spent one more day under one arm.

    Raises:
        EmerError: the world has fewer users, or there is no second arm.
    """
    setting.check_users(plan.users)
    simulated = simulate(
        setting, arms, plan.users, plan.days,
        before=plan.before, processes=plan.processes, threads=plan.threads, progress=progress,
    )  # fmt: skip
    base = next(iter(arms))
    found = effects(
        simulated.totals,
        base,
        before=simulated.before,
        name=plan.name,
        segments=segments_of(setting.world, plan.users, plan.segments),
    )
    told = None
    if plan.offline_requests:
        rankers = {name: load(setting.world) for name, load in arms.items()}
        # A user makes a request or more on most days: so many are enough, and the rest need not walk.
        some = np.arange(min(plan.users, 2 * plan.offline_requests))
        gauc = offline_gauc(setting, rankers, some, plan.offline_requests)
        told = consistency(gauc, found, base)
    return Outcome(base, found, simulated, health_of(simulated, base, plan.name), told)


def health_of(simulated: Simulated, base: str, name: str) -> Health:
    """The checks of a test called ``name``."""
    totals, before = simulated.totals, simulated.before
    users = totals[base].users
    rows = {arm: np.flatnonzero(mine) for arm, mine in buckets(totals, name).items()}

    def apart(told: Totals) -> dict[str, Difference]:
        stay = told.per_user("stay_time")
        if not stay[rows[base]].any():
            return {}
        return {
            arm: mean_difference(stay[at], stay[rows[base]])
            for arm, at in rows.items()
            if arm != base and min(at.size, rows[base].size) > 1
        }

    sessions = {arm: told.values["sessions"].sum() for arm, told in totals.items()}
    return Health(
        ratio=sample_ratio({arm: users[at] for arm, at in rows.items()}),
        same_arm=apart(totals[base]),
        balance=None if before is None else apart(before),
        long_sessions={
            arm: float(told.values["long_sessions"].sum() / max(sessions[arm], 1)) for arm, told in totals.items()
        },
    )


def segments_of(world: World, users: int, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Name -> (users,) bool, for every segment of these kinds that has two users or more."""
    found: dict[str, np.ndarray] = {}
    if "activity" in kinds:
        level = world.activity[:users]
        found |= {f"activity {name}": level == index for index, name in enumerate(ACTIVITY_LEVELS)}
    if "category" in kinds:
        liked = world.favourite_category[:users]
        found |= {f"category {c}": liked == c for c in range(world.parameters.categories)}
    return {name: rows for name, rows in found.items() if rows.sum() > 1}
