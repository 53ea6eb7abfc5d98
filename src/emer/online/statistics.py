"""How much an arm changes a metric, with its confidence interval: independent buckets, and twins.

The unit is the user: whatever a user does resembles what else that user does. A metric is a mean of totals per user
(stay time) or a ratio of two such means (likes per video shown), R = sum_u n_u / sum_u d_u with d = 1 for a mean. It is
linearised, which is the delta method:

    z_u = (n_u - R d_u) / mean(d),   Var(R) = s² / U,   s² = 1 / (U - 1) sum_u z_u².

**Buckets** hold different users. With Welch's degrees of freedom, treatment T and control C,

    R_T - R_C ± t_nu sqrt(V_T + V_C),   V = s² / U,   nu = (V_T + V_C)² / (V_T² / (U_T - 1) + V_C² / (U_C - 1)),

and in per cent the interval is that of log(R_T / R_C), whose variances are V / R², so that it never reaches below -100.

**Twins** are the same users under both arms, as only a simulation can have them, in the same order in both arrays:

    R_T - R_C ± t_{U-1} s(z_T - z_C) / sqrt(U),
    100 (R_T / R_C - 1 ± t_{U-1} s(psi) / sqrt(U)),   psi_u = (z_Tu - (R_T / R_C) z_Cu) / R_C.

p is two-sided, of the absolute difference being 0. Near 5 % it may disagree with the interval in per cent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from emer.errors import EmerError
from emer.online.checks import Floats, denominators, fraction, same_users, user_totals

LEAST_TWINS = 500
"""Users below which twins get no interval. Totals have heavy tails: with 60, 7.5 % of A/A tests rejected at 5 %."""

Pair = tuple[ArrayLike, ArrayLike]
"""Numerators and denominators, both (U,)."""


@dataclass(frozen=True)
class Difference:
    """Treatment against control in one metric. Intervals are NaN where there are too few users for one.

    Attributes:
        treatment, control: the metric in each arm (after CUPED's adjustment, if any).
        absolute: treatment - control, in the metric's unit, with its interval.
        percent: 100 (treatment / control - 1), with its interval.
        p: two-sided p-value of no difference.
        treatment_users, control_users: how many users each arm has.
        few_users: the intervals are left out since there are too few users.
    """

    treatment: float
    control: float
    absolute: float
    absolute_low: float
    absolute_high: float
    percent: float
    percent_low: float
    percent_high: float
    p: float
    treatment_users: int
    control_users: int
    few_users: bool


def mean_difference(treatment: ArrayLike, control: ArrayLike, *, level: float = 0.95) -> Difference:
    """Welch's test of the mean total per user, of two independent buckets.

    Args:
        treatment: (U_T,) totals per user.
        control: (U_C,) likewise, of other users.
        level: coverage of the intervals, which are NaN with fewer than two users in an arm. That in per cent is NaN
            as well where the two means are not of the same sign.

    Raises:
        EmerError: an array is empty, not (U,) or not finite, or the control's mean is 0.
    """
    return _buckets(linearise(user_totals(treatment, "treatment")), linearise(user_totals(control, "control")), level)


def ratio_difference(
    num_t: ArrayLike, den_t: ArrayLike, num_c: ArrayLike, den_c: ArrayLike, *, level: float = 0.95
) -> Difference:
    """Ratio of means, such as likes per video shown, of two independent buckets.

    Args:
        num_t, den_t: (U_T,) the treatment's numerators and denominators; a user's denominator may be 0.
        num_c, den_c: (U_C,) the control's.
        level: as in :func:`mean_difference`.

    Raises:
        EmerError: as in :func:`mean_difference`; lengths differ within an arm; a denominator is negative or all are 0.
    """
    return _buckets(_ratio((num_t, den_t), "num_t", "den_t"), _ratio((num_c, den_c), "num_c", "den_c"), level)


def cuped(
    treatment: ArrayLike,
    control: ArrayLike,
    before_t: ArrayLike,
    before_c: ArrayLike,
    *,
    level: float = 0.95,
) -> Difference:
    """:func:`mean_difference`, less what the users' totals before the experiment explain (Deng et al., WSDM 2013).

    With covariate x and both arms pooled, theta = Cov(z, z^x) / Var(z^x), each arm's metric and values become

        R - theta (R^x - R^x_pooled)   and   z - theta z^x;   theta is 0 where the covariate does not vary.

    Args:
        treatment, before_t: (U_T,) totals per user during and before the experiment.
        control, before_c: (U_C,) likewise.
        level: as in :func:`mean_difference`.

    Raises:
        EmerError: as in :func:`mean_difference`, or lengths differ within an arm.
    """
    t, c, xt, xc = (
        user_totals(values, name)
        for values, name in (
            (treatment, "treatment"),
            (control, "control"),
            (before_t, "before_t"),
            (before_c, "before_c"),
        )
    )
    same_users(treatment=t, before_t=xt)
    same_users(control=c, before_c=xc)
    return _cuped((t, None), (c, None), (xt, None), (xc, None), level)


def cuped_ratio(treatment: Pair, control: Pair, before_t: Pair, before_c: Pair, *, level: float = 0.95) -> Difference:
    """:func:`ratio_difference` with the adjustment of :func:`cuped`; the covariate is a ratio too.

    Args:
        treatment, before_t: numerators and denominators, each (U_T,), during and before the experiment.
        control, before_c: likewise, each (U_C,).
        level: as in :func:`mean_difference`.

    Raises:
        EmerError: as in :func:`ratio_difference`, or lengths differ within an arm.
    """
    t, c = _checked(treatment, "treatment[0]", "treatment[1]"), _checked(control, "control[0]", "control[1]")
    xt, xc = _checked(before_t, "before_t[0]", "before_t[1]"), _checked(before_c, "before_c[0]", "before_c[1]")
    same_users(treatment=t[0], before_t=xt[0])
    same_users(control=c[0], before_c=xc[0])
    return _cuped(t, c, xt, xc, level)


def paired_difference(
    treatment: ArrayLike, control: ArrayLike, *, level: float = 0.95, least: int = LEAST_TWINS
) -> Difference:
    """Mean total per user of twins: the t test of pairs, and the delta method for the difference in per cent.

    Args:
        treatment, control: (U,) totals of the same users in the same order.
        level: coverage of the intervals.
        least: with fewer users the intervals and p are NaN and ``few_users`` is set;
            :func:`emer.online.paired_bootstrap.paired_bootstrap` serves there.

    Raises:
        EmerError: an array is empty, not (U,) or not finite; lengths differ; the control's mean is 0.
    """
    t, c = user_totals(treatment, "treatment"), user_totals(control, "control")
    same_users(treatment=t, control=c)
    return _twins(linearise(t), linearise(c), level, least)


def paired_ratio_difference(
    num_t: ArrayLike,
    den_t: ArrayLike,
    num_c: ArrayLike,
    den_c: ArrayLike,
    *,
    level: float = 0.95,
    least: int = LEAST_TWINS,
) -> Difference:
    """Ratio of means of twins, such as likes per video shown; each arm has denominators of its own.

    Args:
        num_t, den_t, num_c, den_c: (U,) of the same users in the same order.
        level, least: as in :func:`paired_difference`.

    Raises:
        EmerError: as in :func:`paired_difference`; a denominator is negative or all of an arm are 0.
    """
    t, c = _ratio((num_t, den_t), "num_t", "den_t"), _ratio((num_c, den_c), "num_c", "den_c")
    same_users(num_t=t[1], num_c=c[1])
    return _twins(t, c, level, least)


def linearise(numerator: Floats, denominator: Floats | None = None) -> tuple[Floats, Floats]:
    """The ratio of means R and each user's z = (n - R d) / mean(d), over the last axis.

    Args:
        numerator, denominator: (..., U); None is a denominator of 1, for a plain mean.

    Returns:
        R (...,) and z (..., U).
    """
    if denominator is None:
        mean = numerator.mean(axis=-1)
        return mean, numerator - mean[..., None]
    below = denominator.mean(axis=-1)
    ratio = numerator.mean(axis=-1) / below
    return ratio, (numerator - ratio[..., None] * denominator) / below[..., None]


def relative_influence(t: tuple[Floats, Floats], c: tuple[Floats, Floats]) -> Floats:
    """psi (..., U) of twins: the influence of each on R_T / R_C - 1, times U, from both arms' :func:`linearise`."""
    (ratio_t, z_t), (ratio_c, z_c) = t, c
    return (z_t - (ratio_t / ratio_c)[..., None] * z_c) / ratio_c[..., None]


def _buckets(t: tuple[Floats, Floats], c: tuple[Floats, Floats], level: float) -> Difference:
    (r_t, z_t), (r_c, z_c) = (float(t[0]), t[1]), (float(c[0]), c[1])
    percent = _percent(r_t, r_c)
    few = min(z_t.size, z_c.size) < 2
    low = high = p = relative_low = relative_high = np.nan
    if not few:
        v_t, v_c = (float(z @ z) / (z.size - 1) / z.size for z in (z_t, z_c))
        low, high, p = _t_interval(r_t - r_c, *_welch(v_t, v_c, z_t.size, z_c.size), level)
        if r_t / r_c > 0:
            of_log = _welch(v_t / r_t**2, v_c / r_c**2, z_t.size, z_c.size)
            log_low, log_high, _ = _t_interval(float(np.log(r_t / r_c)), *of_log, level)
            relative_low, relative_high = 100 * np.expm1(log_low), 100 * np.expm1(log_high)
    relative = percent, float(relative_low), float(relative_high)
    return Difference(r_t, r_c, r_t - r_c, low, high, *relative, p, z_t.size, z_c.size, few)


def _twins(t: tuple[Floats, Floats], c: tuple[Floats, Floats], level: float, least: int) -> Difference:
    r_t, r_c, U = float(t[0]), float(c[0]), t[1].size
    percent = _percent(r_t, r_c)
    few = max(least, 2) > U
    low = high = p = relative_low = relative_high = np.nan
    if not few:
        low, high, p = _t_interval(r_t - r_c, float(np.var(t[1] - c[1], ddof=1)) / U, U - 1, level)
        variance = 100**2 * float(np.var(relative_influence(t, c), ddof=1)) / U
        relative_low, relative_high, _ = _t_interval(percent, variance, U - 1, level)
    return Difference(r_t, r_c, r_t - r_c, low, high, percent, relative_low, relative_high, p, U, U, few)


def _cuped(
    t: tuple[Floats, Floats | None],
    c: tuple[Floats, Floats | None],
    xt: tuple[Floats, Floats | None],
    xc: tuple[Floats, Floats | None],
    level: float,
) -> Difference:
    _, z = linearise(*_pooled(t, c))
    pooled, z_x = linearise(*_pooled(xt, xc))
    rounding = (1e-12 * float(pooled)) ** 2 * z_x.size
    varies = float(z_x @ z_x)
    theta = float(z @ z_x) / varies if varies > rounding else 0.0
    arms = []
    for arm, before in ((t, xt), (c, xc)):
        (ratio, z), (ratio_x, z_x) = linearise(*arm), linearise(*before)
        arms.append((ratio - theta * (ratio_x - pooled), z - theta * z_x))
    return _buckets(arms[0], arms[1], level)


def _pooled(t: tuple[Floats, Floats | None], c: tuple[Floats, Floats | None]) -> tuple[Floats, Floats | None]:
    below = None if t[1] is None or c[1] is None else np.concatenate([t[1], c[1]])
    return np.concatenate([t[0], c[0]]), below


def _checked(pair: Pair, num: str, den: str) -> tuple[Floats, Floats]:
    above, below = user_totals(pair[0], num), denominators(pair[1], den)
    same_users(**{num: above, den: below})
    return above, below


def _ratio(pair: Pair, num: str, den: str) -> tuple[Floats, Floats]:
    return linearise(*_checked(pair, num, den))


def _percent(r_t: float, r_c: float) -> float:
    if r_c == 0:
        raise EmerError("the control's mean is 0, so a difference in per cent is not defined; run more users or days")
    return 100 * (r_t - r_c) / r_c


def _welch(v_t: float, v_c: float, n_t: int, n_c: int) -> tuple[float, float]:
    """Variance of the difference and its degrees of freedom."""
    squares = v_t**2 / (n_t - 1) + v_c**2 / (n_c - 1)
    return v_t + v_c, (v_t + v_c) ** 2 / squares if squares > 0 else n_t + n_c - 2


def _t_interval(estimate: float, variance: float, freedom: float, level: float) -> tuple[float, float, float]:
    """Lower and upper limit, and p. Without any variance p is 1 for no difference (twins under one ranker), else 0."""
    error = float(np.sqrt(variance))
    half = error * float(stats.t.ppf((1 + fraction(level, "level")) / 2, freedom))
    distance = 0.0 if estimate == 0 else abs(estimate) / error if error > 0 else np.inf
    return estimate - half, estimate + half, float(2 * stats.t.sf(distance, freedom))
