"""Bootstrap intervals of twins, for fewer users than the delta method is trusted with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from emer.errors import EmerError
from emer.online.checks import Floats, denominators, fraction, same_users, user_totals
from emer.online.statistics import (
    Difference,
    linearise,
    paired_difference,
    paired_ratio_difference,
    relative_influence,
)

_CHUNK = 1_000_000
"""Users times samples held at once."""


def paired_bootstrap(
    treatment: ArrayLike,
    control: ArrayLike,
    denominators_t: ArrayLike | None = None,
    denominators_c: ArrayLike | None = None,
    *,
    samples: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """The difference between twins with symmetric bootstrap-t intervals; resampled users keep both their arms.

    A sample's difference is divided by the sample's own error, |D* - D| / e*, and the quantile of that stands where the
    delta method has Student's t. In 500-600 A/A worlds of 60 users, lognormal totals (sigma 1 and 1.5), intervals at
    95 % missed in 5 % and 7 %; those of the delta method in 8 % and 13 %, the bootstrap's percentiles in 9 % and 10 %.

    Args:
        treatment, control: (U,) totals of the same users in the same order.
        denominators_t, denominators_c: (U,) both for a ratio of means, or None for a mean.
        samples: bootstrap samples, at least 100.
        seed: of the samples.
        level: coverage.

    Returns:
        As :func:`emer.online.statistics.paired_difference`. p is the share of samples whose quotient
        is at least that found, never below 1 / (samples + 1). Samples with a quotient of 0 / 0 are left out.

    Raises:
        EmerError: as in :func:`emer.online.statistics.paired_ratio_difference`, one arm alone has denominators, or
            there are too few samples.
    """
    if (denominators_t is None) != (denominators_c is None):
        raise EmerError("denominators of one arm only; give both, or none for a mean")
    if samples < 100:
        raise EmerError(f"{samples} bootstrap samples have no tails; give at least 100")
    t, c = user_totals(treatment, "treatment"), user_totals(control, "control")
    if denominators_t is None or denominators_c is None:
        point = paired_difference(t, c, least=2, level=level)
        below_t = below_c = np.ones(t.size)
    else:
        below_t, below_c = (
            denominators(denominators_t, "denominators_t"),
            denominators(denominators_c, "denominators_c"),
        )
        same_users(treatment=t, denominators_t=below_t, control=c, denominators_c=below_c)
        point = paired_ratio_difference(t, below_t, c, below_c, least=2, level=level)
    if point.few_users:
        return point
    errors = _errors(linearise(t, below_t), linearise(c, below_c))
    found = np.array([point.absolute, point.percent / 100])
    rng = np.random.default_rng(seed)
    U = t.size
    block = max(1, _CHUNK // U)
    pivots = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for first in range(0, samples, block):
            pick = rng.integers(U, size=(min(block, samples - first), U))
            arm_t, arm_c = linearise(t[pick], below_t[pick]), linearise(c[pick], below_c[pick])
            drawn = np.stack([arm_t[0] - arm_c[0], arm_t[0] / arm_c[0] - 1], axis=-1)
            pivots.append(np.abs(drawn - found) / _errors(arm_t, arm_c))
    absolute, relative = np.concatenate(pivots).T
    absolute = absolute[~np.isnan(absolute)]
    half = _quantile(absolute, level) * errors[0]
    half_percent = 100 * _quantile(relative[~np.isnan(relative)], level) * errors[1]
    distance = abs(point.absolute) / errors[0] if errors[0] > 0 else np.inf if point.absolute else 0.0
    p = (1 + int((absolute >= distance).sum())) / (1 + absolute.size)
    return replace(
        point,
        absolute_low=point.absolute - half,
        absolute_high=point.absolute + half,
        percent_low=point.percent - half_percent,
        percent_high=point.percent + half_percent,
        p=p,
    )


def _errors(t: tuple[Floats, Floats], c: tuple[Floats, Floats]) -> Floats:
    """(..., 2) standard errors of the absolute and the relative difference."""
    influences = np.stack([t[1] - c[1], relative_influence(t, c)], axis=-2)
    return np.std(influences, axis=-1, ddof=1) / np.sqrt(t[1].shape[-1])


def _quantile(values: Floats, level: float) -> float:
    """0 if there are none; neighbours are not interpolated, as a rare event's may be infinite."""
    return float(np.quantile(values, fraction(level, "level"), method="inverted_cdf")) if values.size else 0.0
