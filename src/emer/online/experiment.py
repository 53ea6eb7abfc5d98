"""An A/B test in the simulated world: every arm serves the same users, the twins, and every difference is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller

import numpy as np

from emer.errors import EmerError
from emer.online.bucketing import bucket
from emer.online.multiplicity import holm
from emer.online.paired_bootstrap import paired_bootstrap
from emer.online.statistics import LEAST_TWINS, Difference, cuped, mean_difference, paired_difference
from emer.online.totals import Totals
from emer.world.hashing import Floats

METRICS = {
    "AppStayTime": ("stay_time", None),
    "WatchTime": ("watch_time", None),
    "VideoView": ("video_views", None),
    "Like": ("like", "expected_like"),
    "Follow": ("follow", "expected_follow"),
    "Comment": ("comment", "expected_comment"),
    "Forward": ("forward", "expected_forward"),
    "Dislike": ("dislike", None),
}
"""Name in the papers' tables -> total per user as observed, and without the luck of single interactions."""

LT_DAYS = 7

LEAST_CHANGED = 20
"""Users whom an arm must have changed in a metric for an interval: a difference that rests on a handful has no spread
to be estimated from."""


@dataclass(frozen=True)
class Effect:
    """One metric of one arm against the base.

    Attributes:
        arm, metric: names.
        kind: ``observed``, or ``expected`` for interactions as their probabilities given what was watched, and for LT7
            as the return probabilities along the path.
        design: ``twin``, ``bucket``, or ``bucket, CUPED``.
        segment: which users, ``all`` for everybody.
        difference: per user, over all days.
        adjusted_p: Holm's, over the observed metrics of all arms (``all`` users, same design); NaN elsewhere.
    """

    arm: str
    metric: str
    kind: str
    design: str
    segment: str
    difference: Difference
    adjusted_p: float = np.nan


def effects(
    totals: Mapping[str, Totals],
    base: str,
    *,
    before: Totals | None = None,
    segments: Mapping[str, np.ndarray] | None = None,
    name: str = "ab_test",
    lifetimes: bool = True,
) -> list[Effect]:
    """All arms against the base, by every design.

    Args:
        totals: arm -> totals of the same users on the same days, the base among them.
        base: its name.
        before: what all users did before the test, for CUPED.
        segments: name -> (U,) bool, users that are also looked at by themselves (twins).
        name: of the experiment, which decides the buckets.
        lifetimes: False leaves out LT7, for totals that do not tell who came.

    Raises:
        EmerError: there is no second arm, or the arms have other users or days.
    """
    if base not in totals or len(totals) < 2:
        raise EmerError(f"arms are {', '.join(totals) or 'none'}; a test needs {base} and at least one more")
    for arm, other in totals.items():
        if not np.array_equal(other.users, totals[base].users) or other.days != totals[base].days:
            raise EmerError(f"arm {arm} was simulated for other users or days than {base}")
    found: list[Effect] = []
    told = measures(totals[base].days if lifetimes else 1)
    users = totals[base].users
    everybody = np.ones(users.size, dtype=bool)
    arms = [arm for arm in totals if arm != base]
    in_bucket = buckets(totals, name)
    for segment, rows in {"all": everybody, **(segments or {})}.items():
        for arm in arms:
            found += [
                Effect(arm, metric, kind, "twin", segment, twins(value(totals[arm])[rows], value(totals[base])[rows]))
                for metric, kind, value in told
                if rows.sum() > 1 and value(totals[base])[rows].any()
            ]
    for arm in arms:
        mine, theirs = in_bucket[arm], in_bucket[base]
        for metric, kind, value in told:
            sides = value(totals[arm])[mine], value(totals[base])[theirs]
            if min(mine.sum(), theirs.sum()) < 2 or not sides[1].any():
                continue
            found.append(Effect(arm, metric, kind, "bucket", "all", mean_difference(*sides)))
            if before is not None and before.days == totals[base].days and value(before).any():
                past = value(before)
                found.append(Effect(arm, metric, kind, "bucket, CUPED", "all", cuped(*sides, past[mine], past[theirs])))
    return _adjusted(found)


def measures(days: int) -> list[tuple[str, str, Callable[[Totals], Floats]]]:
    """(metric, kind, per-user value) of all online metrics that ``days`` days can tell."""
    found: list[tuple[str, str, Callable[[Totals], Floats]]] = []
    for metric, (observed, expected) in METRICS.items():
        found.append((metric, "observed", methodcaller("per_user", observed)))
        if expected is not None:
            found.append((metric, "expected", methodcaller("per_user", expected)))
    if days >= LT_DAYS:
        found.append(("LT7", "observed", lifetime))
        found.append(("LT7", "expected", partial(lifetime, column="return_chance")))
    return found


def lifetime(totals: Totals, column: str = "active") -> Floats:
    """(U,) LT7: days with a visit among the first seven, for users who came on the first of them; 0 for the others.

    Who comes on the first day is decided before any arm serves, so that both arms of a twin have it or lack it.

    Args:
        totals: of at least seven days.
        column: ``active``, or ``return_chance`` for the probability of each of the six days after the first.
    """
    came = totals.values["active"][:, 0]
    return came * (1 + totals.values[column][:, 1:LT_DAYS].sum(axis=1))


def daily(
    totals: Mapping[str, Totals], base: str, metric: str, *, cumulative: bool = False
) -> dict[str, list[Difference | None]]:
    """Arm -> its difference from the base on each day, or over all days up to each; None where the base has none.

    Args:
        totals: arm -> totals of the same users on the same days.
        base: the arm to compare with.
        metric: a name of :data:`emer.online.totals.TOTALS`.
        cumulative: False looks at every day by itself.
    """
    of = {arm: t.values[metric].cumsum(axis=1) if cumulative else t.values[metric] for arm, t in totals.items()}
    return {
        arm: [
            twins(of[arm][:, day], of[base][:, day]) if of[base][:, day].any() else None
            for day in range(totals[base].days)
        ]
        for arm in totals
        if arm != base
    }


def buckets(totals: Mapping[str, Totals], name: str) -> dict[str, np.ndarray]:
    """Arm -> (U,) bool: who is in its bucket in the experiment called ``name``, an equal share of the users."""
    users = next(iter(totals.values())).users
    place = bucket(users, name, [1 / len(totals)] * len(totals))
    return {arm: place == index for index, arm in enumerate(totals)}


def twins(treatment: Floats, control: Floats) -> Difference:
    """(U,) totals of the same users under two arms: the paired difference, bootstrapped for few users, without an
    interval where hardly any of them changed."""
    if (treatment != control).sum() < LEAST_CHANGED:
        return paired_difference(treatment, control, least=treatment.size + 1)
    if treatment.size >= LEAST_TWINS:
        return paired_difference(treatment, control)
    return paired_bootstrap(treatment, control)


def _adjusted(found: list[Effect]) -> list[Effect]:
    """With Holm's p-values in each family."""
    families: dict[str, list[int]] = {}
    for index, effect in enumerate(found):
        if effect.segment == "all" and effect.kind == "observed":
            families.setdefault(effect.design, []).append(index)
    for members in families.values():
        for index, p in zip(members, holm([found[i].difference.p for i in members]), strict=True):
            found[index] = replace(found[index], adjusted_p=float(p))
    return found
