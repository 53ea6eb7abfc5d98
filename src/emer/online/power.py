"""How many users a test needs to see a difference, before it is run at full length.

With s the standard deviation over users of what the test averages, in units of the control's metric, a difference of
delta (0.005 for 0.5 %) and n users, the t statistic has the non-centrality

    twins    sqrt(n) delta / s,       s of psi_u  (:mod:`emer.online.statistics`),    n - 1 degrees of freedom;
    buckets  sqrt(n / 2) delta / s,   s of z_u / R in one arm, n users in each,       2 n - 2 degrees of freedom,

and the power is the chance that it leaves the two-sided limits. Twins need fewer users by what both arms share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from emer.errors import EmerError
from emer.online.checks import Floats, denominators, fraction, same_users, user_totals
from emer.online.statistics import linearise, relative_influence

_CHUNK = 1_000_000
_FAR = 2**53


def twin_users_needed(
    treatment: ArrayLike,
    control: ArrayLike,
    denominators_t: ArrayLike | None = None,
    denominators_c: ArrayLike | None = None,
    *,
    percent: float = 0.5,
    power: float = 0.8,
    level: float = 0.95,
) -> int:
    """Twin users with which a difference of ``percent`` is significant with probability ``power``.

    Args:
        treatment, control: (U,) totals of the same users in a pilot run.
        denominators_t, denominators_c: (U,) for a ratio of means, 1 if None.
        percent: difference to be seen; its sign does not matter.
        power: chance of seeing it.
        level: 1 - the level of the test.

    Raises:
        EmerError: totals that do not fit (:mod:`emer.online.checks`), a mean of 0 in the control, ``percent`` of 0,
            or a chance outside 0 .. 1.
    """
    psi = relative_influence(*_pair(treatment, control, denominators_t, denominators_c))
    return _fewest(lambda n: np.sqrt(n), lambda n: n - 1, _deviation(psi), percent, power, level)


def bucket_users_needed(
    control: ArrayLike,
    denominators_c: ArrayLike | None = None,
    *,
    percent: float = 0.5,
    power: float = 0.8,
    level: float = 0.95,
) -> int:
    """Users *in each* of two equal buckets, if the treatment's totals vary like the control's.

    Arguments and errors are those of :func:`twin_users_needed`.
    """
    ratio, z = _arm(control, denominators_c, "control", "denominators_c")
    deviation = _deviation(z / _not_zero(ratio))
    return _fewest(lambda n: np.sqrt(n / 2), lambda n: 2 * n - 2, deviation, percent, power, level)


def measured_twin_power(
    treatment: ArrayLike,
    control: ArrayLike,
    users: int,
    denominators_t: ArrayLike | None = None,
    denominators_c: ArrayLike | None = None,
    *,
    percent: float = 0.5,
    draws: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> float:
    """Share of ``draws`` samples of ``users`` twins that see a difference of ``percent``: no formula for the power.

    Users are drawn with replacement, so there may be more than the pilot had. The pilot's own difference r is moved to
    the one asked for: a sample rejects where |r_sample - r + percent / 100| exceeds t times its own error.

    Args:
        users: in each sample, at least 2.
        draws: number of samples.
        seed: of the samples.

    The other arguments, and the errors, are those of :func:`twin_users_needed`.
    """
    t, c = user_totals(treatment, "treatment"), user_totals(control, "control")
    (r_t, _), (r_c, _) = _pair(treatment, control, denominators_t, denominators_c)
    below_t, below_c = (
        None if x is None else np.asarray(x, dtype=np.float64) for x in (denominators_t, denominators_c)
    )
    limit = float(stats.t.ppf((1 + fraction(level, "level")) / 2, users - 1))
    seen = 0
    for pick in _samples(t.size, users, draws, np.random.default_rng(seed)):
        arm_t, arm_c = _drawn(t, below_t, pick), _drawn(c, below_c, pick)
        error = np.sqrt(np.var(relative_influence(arm_t, arm_c), axis=-1, ddof=1) / users)
        difference = arm_t[0] / arm_c[0] - r_t / r_c + _delta(percent)
        seen += int((np.abs(difference) > limit * error).sum())
    return seen / draws


def measured_bucket_power(
    control: ArrayLike,
    users: int,
    denominators_c: ArrayLike | None = None,
    *,
    percent: float = 0.5,
    draws: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> float:
    """Share of ``draws`` pairs of buckets, ``users`` in each, in which Welch's test sees a difference of ``percent``.

    Both buckets are drawn from the control, with replacement; the treatment's numerators are multiplied by
    1 + percent / 100. The arguments, and the errors, are those of :func:`measured_twin_power`.
    """
    c = user_totals(control, "control")
    ratio, _ = _arm(control, denominators_c, "control", "denominators_c")
    _not_zero(ratio)
    below = None if denominators_c is None else np.asarray(denominators_c, dtype=np.float64)
    fraction(level, "level")
    seen = 0
    for pick in _samples(c.size, 2 * users, draws, np.random.default_rng(seed)):
        r_t, z_t = _drawn(c * (1 + _delta(percent)), below, pick[:, :users])
        r_c, z_c = _drawn(c, below, pick[:, users:])
        v_t, v_c = (np.var(z, axis=-1, ddof=1) / users for z in (z_t, z_c))
        freedom = (users - 1) * (v_t + v_c) ** 2 / np.maximum(v_t**2 + v_c**2, np.finfo(np.float64).tiny)
        limit = stats.t.ppf((1 + level) / 2, np.maximum(freedom, 1))
        seen += int((np.abs(r_t - r_c) > limit * np.sqrt(v_t + v_c)).sum())
    return seen / draws


def _fewest(
    root: Callable[[float], float],
    freedom: Callable[[int], int],
    deviation: float,
    percent: float,
    power: float,
    level: float,
) -> int:
    """Smallest n >= 2 that has the power, by bisection."""
    fraction(power, "power")
    tail = (1 - fraction(level, "level")) / 2
    size = abs(_delta(percent))

    def enough(n: int) -> bool:
        centre = min(root(n) * size / deviation, 1e6) if deviation > 0 else 1e6
        limit = stats.t.isf(tail, freedom(n))
        # SciPy says NaN for some lower tails far from the centre; they are below 1e-10.
        wrong_side = np.nan_to_num(stats.nct.cdf(-limit, freedom(n), centre))
        return bool(stats.nct.sf(limit, freedom(n), centre) + wrong_side >= power)

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > _FAR:
            raise EmerError(f"no number of users shows a difference of {percent} % in totals that vary this much")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _pair(
    treatment: ArrayLike, control: ArrayLike, denominators_t: ArrayLike | None, denominators_c: ArrayLike | None
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    t = _arm(treatment, denominators_t, "treatment", "denominators_t")
    c = _arm(control, denominators_c, "control", "denominators_c")
    same_users(treatment=t[1], control=c[1])
    _not_zero(c[0])
    return t, c


def _arm(values: ArrayLike, below: ArrayLike | None, name: str, below_name: str) -> tuple[Floats, Floats]:
    totals = user_totals(values, name)
    if below is None:
        return linearise(totals)
    divisors = denominators(below, below_name)
    same_users(**{name: totals, below_name: divisors})
    return linearise(totals, divisors)


def _drawn(values: Floats, below: Floats | None, pick: np.ndarray) -> tuple[Floats, Floats]:
    return linearise(values[pick], None if below is None else below[pick])


def _samples(U: int, size: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields places (block, size) of users, ``draws`` rows in all."""
    if size < 2 or draws < 1:
        raise EmerError(f"{draws} samples of {size} users have no power; give at least 1 sample of 2")
    block = max(1, _CHUNK // size)
    for first in range(0, draws, block):
        yield rng.integers(U, size=(min(block, draws - first), size))


def _deviation(influence: Floats) -> float:
    if influence.size < 2:
        raise EmerError("a pilot of one user does not say how users vary; give at least two")
    return float(np.std(influence, ddof=1))


def _not_zero(ratio: Floats) -> Floats:
    if ratio == 0:
        raise EmerError("the control's mean is 0, so a difference in per cent is not defined; run more users or days")
    return ratio


def _delta(percent: float) -> float:
    if percent == 0 or not np.isfinite(percent):
        raise EmerError(f"percent={percent}; give the difference that the test has to see, such as 0.5")
    return percent / 100
