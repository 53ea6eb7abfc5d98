"""p-values of many metrics or arms, adjusted so that they may be read together.

NaN (a metric without an interval) stays NaN and is not counted among the hypotheses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emer.errors import EmerError
from emer.online.checks import Floats


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down: with p_(1) <= ... <= p_(m), adjusted p_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)).

    At 5 % the chance of *any* false alarm is at most 5 %, however the metrics depend on each other.

    Args:
        p: (M,) p-values.

    Returns:
        (M,) adjusted, in the order given.

    Raises:
        EmerError: the array is not (M,), or a value is outside 0 .. 1.
    """
    values, order = _ordered(p)
    m = order.size
    steps = np.minimum(values[order] * (m - np.arange(m)), 1)
    values[order] = np.maximum.accumulate(steps)
    return values


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini and Hochberg's step-up: adjusted p_(i) = min_{j >= i} min(1, m p_(j) / j).

    At 5 % at most 5 % of the alarms are expected to be false, if the metrics are independent or positively dependent.

    Arguments, result and errors are those of :func:`holm`.
    """
    values, order = _ordered(p)
    m = order.size
    steps = np.minimum(values[order] * m / (1 + np.arange(m)), 1)
    values[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return values


def _ordered(p: ArrayLike) -> tuple[Floats, np.ndarray]:
    """A copy of the p-values, and the places of those that are not NaN, smallest first."""
    values = np.array(p, dtype=np.float64)
    if values.ndim != 1:
        raise EmerError(f"the p-values have shape {values.shape}; give one per hypothesis, shape (M,)")
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if wrong.size:
        raise EmerError(f"p[{wrong[0]}] = {values[wrong[0]]} is no p-value: it is outside 0 .. 1")
    order = np.argsort(values, kind="stable")
    return values, order[: int((~np.isnan(values)).sum())]
