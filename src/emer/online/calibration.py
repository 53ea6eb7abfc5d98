"""Brings a world to published marginals: intercepts and slopes only, never a comparison of rankers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit

from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.setting import Setting
from emer.online.totals import EXPECTED, walk_totals
from emer.world.hashing import Ints
from emer.world.responses import INTERACTIONS

TARGETS: dict[str, dict[str, float]] = {
    "standard": {
        "click": 0.3787,
        "long_view": 0.2605,
        "like": 0.01665,
        "follow": 0.00107,
        "comment": 0.00252,
        "forward": 0.00087,
        "dislike": 0.00048,
    },
    "random": {
        "click": 0.1762,
        "long_view": 0.0850,
        "like": 0.00480,
        "follow": 0.00026,
        "comment": 0.00035,
        "forward": 0.00034,
        "dislike": 0.00114,
    },
}
"""Rates per impression of KuaiRand-27K (a third party's full tabulation of 322 million rows) under the platform's
standard policy, and of its videos shown at random."""

POLICIES = {"standard": "fusion_formula", "random": "random"}
"""Which ranker stands for each."""

_STEP = 0.7  # of each correction: rates react to each other
_SLOPE_STEP = 0.5
_SLOPES = (0.05, 1.5)  # range of the absolute values; steeper ones would let pxtrs predict better than any published


@dataclass(frozen=True)
class Marginals:
    """Rates per impression under the two policies, and the mean watch time in seconds.

    Attributes:
        rates: policy -> quantity -> value.
        impressions: policy -> number of videos shown.
    """

    rates: dict[str, dict[str, float]]
    impressions: dict[str, int]

    def misfit(self) -> dict[str, dict[str, float]]:
        """policy -> quantity -> found / published - 1."""
        return {
            policy: {name: self.rates[policy][name] / target - 1 for name, target in targets.items()}
            for policy, targets in TARGETS.items()
        }


def measure(setting: Setting, users: Ints, days: int = 1) -> Marginals:
    """The world's marginals. Interactions are their probabilities given what was watched, which have less noise.

    Raises:
        EmerError: nobody came, or nothing was shown.
    """
    rates, impressions = {}, {}
    for policy, arm in POLICIES.items():
        totals = walk_totals(setting.walk(users), NamedArm(arm).score(setting.world), days)
        views = totals.values["video_views"].sum()
        if not views:
            raise EmerError(f"users is {users.size}: none of them saw a video; take more users or days")
        found = {name: totals.values[name].sum() / views for name in ("click", "long_view", "complete", "dislike")}
        found |= {n: totals.values[e].sum() / views for n, e in zip(INTERACTIONS, EXPECTED, strict=True)}
        rates[policy] = {n: float(v) for n, v in found.items()}
        rates[policy]["watch_time"] = float(totals.values["watch_time"].sum() / views)
        impressions[policy] = int(views)
    return Marginals(rates, impressions)


def calibrate(
    setting: Setting,
    users: Ints,
    *,
    rounds: int = 12,
    slopes: bool = True,
    progress: Callable[[Marginals], None] = lambda marginals: None,
) -> tuple[Setting, Marginals]:
    """Correct the intercepts of engagement, watch time, interactions and dislikes by what the standard policy's rates
    miss, and the slopes by what the ratio of the two policies' rates misses; repeat.

    Args:
        setting: where to begin.
        users: who is simulated, for a day.
        rounds: corrections.
        slopes: False corrects the intercepts alone.
        progress: called with the marginals before every correction.

    Returns:
        The corrected setting and its marginals.
    """
    for _ in range(rounds):
        found = measure(setting, users)
        progress(found)
        setting = replace(setting, parameters={**setting.parameters, **_corrected(setting, found, slopes)})
    return setting, measure(setting, users)


def _corrected(setting: Setting, found: Marginals, slopes: bool) -> dict[str, Any]:
    # What did not happen once is taken as half an event: a correction must not be infinite.
    rates = {
        policy: {name: max(rate, 0.5 / found.impressions[policy]) for name, rate in of.items()}
        for policy, of in found.rates.items()
    }
    found = replace(found, rates=rates)
    p, standard = setting.world.parameters, found.rates["standard"]
    target = TARGETS["standard"]
    gap = {name: float(logit(target[name]) - logit(standard[name])) for name in target}
    rate_gap = np.log([target[name] / standard[name] for name in INTERACTIONS])
    # A long view is rarer than a click by how long the engaged watch.
    watch_gap = np.log(target["long_view"] / target["click"]) - np.log(standard["long_view"] / standard["click"])
    changed: dict[str, Any] = {
        "engaged_intercept": p.engaged_intercept + _STEP * gap["click"],
        "watch_intercept": p.watch_intercept + _STEP * float(watch_gap),
        "interaction_intercept": tuple(np.array(p.interaction_intercept) + _STEP * rate_gap),
        "dislike_intercept": p.dislike_intercept + _STEP * gap["dislike"],
    }
    if slopes:
        wider = {name: _SLOPE_STEP * lift_gap(found, name) for name in ("click", *INTERACTIONS, "dislike")}
        changed["engaged_slope"] = _within(p.engaged_slope + wider["click"])
        changed["dislike_slope"] = -_within(-p.dislike_slope - wider["dislike"])
        values = [_within(s + wider[n]) for s, n in zip(p.interaction_slope, INTERACTIONS, strict=True)]
        changed["interaction_slope"] = tuple(values)
    return {name: _plain(value) for name, value in changed.items()}


def lift_gap(found: Marginals, name: str) -> float:
    """log of the published ratio of standard to random, minus that of the ratio found."""
    ratio = {
        who: np.log(rates["standard"][name] / rates["random"][name])
        for who, rates in (("published", TARGETS), ("found", found.rates))
    }
    return float(ratio["published"] - ratio["found"])


def _within(slope: float) -> float:
    return float(np.clip(slope, *_SLOPES))


def _plain(value: Any) -> Any:
    return tuple(round(float(v), 4) for v in value) if isinstance(value, tuple) else round(float(value), 4)


def as_rows(found: Marginals) -> list[Mapping[str, Any]]:
    """One row for each policy and quantity: published, found, difference in per cent."""
    misfit = found.misfit()
    return [
        {"policy": policy, "quantity": name, "published": target, "found": found.rates[policy][name],
         "difference_percent": 100 * misfit[policy][name]}
        for policy, targets in TARGETS.items()
        for name, target in targets.items()
    ]  # fmt: skip
