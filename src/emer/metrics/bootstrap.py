"""Bootstrap standard errors of the difference between two scorers on the same requests."""

from __future__ import annotations

import numpy as np


def paired_standard_error(
    first: np.ndarray,
    second: np.ndarray,
    weights: np.ndarray,
    users: np.ndarray,
    *,
    samples: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """Standard deviation over bootstrap samples of the users of

        sum_r w_r (x_r - y_r) / sum_r w_r   over the requests r where both values are there (are not NaN).

    Users are drawn, not requests, since the requests of one user resemble each other; both scorers are resampled
    together, which removes what they share. :func:`emer.metrics.intervals.paired_interval` gives the same error to
    first order, and a confidence interval.

    Args:
        first, second: x and y, (R, M) one value per request and metric.
        weights: (R,) non-negative.
        users: (R,) whose request it is.
        samples: number of bootstrap samples.
        seed: of the samples.

    Returns:
        (M,) float64; NaN where fewer than two users have a value.

    Raises:
        ValueError: shapes do not fit, or there are fewer than two samples.
    """
    if first.ndim != 2 or first.shape != second.shape or weights.shape != users.shape or len(users) != len(first):
        raise ValueError(
            f"first and second (R, M) have shapes {first.shape} and {second.shape}, "
            f"weights and users (R,) {weights.shape} and {users.shape}"
        )
    if samples < 2:
        raise ValueError(f"{samples} bootstrap samples have no deviation; give at least 2")
    difference = first - second
    there = ~np.isnan(difference) & (weights > 0)[:, None]
    w = np.where(there, weights[:, None], 0.0)
    _, user = np.unique(users, return_inverse=True)
    U = int(user.max()) + 1 if user.size else 0
    M = first.shape[1]
    sums = np.zeros((2, U, M))
    np.add.at(sums[0], user, w * np.where(there, difference, 0.0))
    np.add.at(sums[1], user, w)
    rng = np.random.default_rng(seed)
    drawn = np.full((samples, M), np.nan)
    for sample in drawn:
        times = np.bincount(rng.integers(U, size=U), minlength=U) if U else np.zeros(0)
        total, weight = times @ sums
        np.divide(total, weight, out=sample, where=weight > 0)
    enough = (sums[1] > 0).sum(axis=0) >= 2
    error = np.full(M, np.nan)
    if enough.any():
        # A sample may miss all users of a rare metric.
        error[enough] = np.nanstd(drawn[:, enough], axis=0, ddof=1)
    return error
