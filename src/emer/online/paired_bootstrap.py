"""Bootstrap intervals of twins, for fewer users than the delta method is trusted with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from emer.errors import EmerError
from emer.online.checks import Floats, denominators, fraction, same_users, user_totals
from emer.online.statistics import Difference, paired_difference, paired_ratio_difference


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
    """The difference between twins with percentile intervals over resampled users, who keep both their arms.

    Args:
        treatment, control: (U,) totals of the same users in the same order.
        denominators_t, denominators_c: (U,) both for a ratio of means, or None for a mean.
        samples: bootstrap samples, at least 100.
        seed: of the samples.
        level: coverage.

    Returns:
        As :func:`emer.online.statistics.paired_difference`. p is twice the smaller share of samples on either side of
        0, never below 2 / (samples + 1). Samples in which a ratio is 0 / 0 are left out.

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
    drawn = _sums(np.stack([t, below_t, c, below_c], axis=1), samples, np.random.default_rng(seed))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_t, ratio_c = drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3]
        absolute, percent = ratio_t - ratio_c, 100 * (ratio_t / ratio_c - 1)
    low, high = _limits(absolute, level)
    percent_low, percent_high = _limits(percent, level)
    there = absolute[~np.isnan(absolute)]
    tail = min(int((there <= 0).sum()), int((there >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (there.size + 1))
    return replace(
        point,
        absolute_low=low,
        absolute_high=high,
        percent_low=percent_low,
        percent_high=percent_high,
        p=p,
    )


def _sums(columns: Floats, samples: int, rng: np.random.Generator) -> Floats:
    """(samples, M) sums of the columns (U, M) over users drawn with replacement."""
    U = len(columns)
    return np.stack([np.bincount(rng.integers(U, size=U), minlength=U) @ columns for _ in range(samples)])


def _limits(values: Floats, level: float) -> tuple[float, float]:
    """Percentiles; a rare event's ratio may be infinite in a sample, so neighbours are not interpolated."""
    tail = (1 - fraction(level, "level")) / 2
    there = values[~np.isnan(values)]
    low, high = np.quantile(there, [tail, 1 - tail], method="inverted_cdf") if there.size else (np.nan, np.nan)
    return float(low), float(high)
