"""Confidence intervals from per-request values: of one run's metric, and of the difference between two runs.

Delta method, with users as the independent units. A metric m = sum_b w_b x_b / sum_b w_b is a ratio of two
sums, so its error is to first order the sum of the influences psi_b = w_b (x_b - m) / sum w. Requests of the
same user resemble each other, so the influences are summed per user before they are squared:

    Var(m) = U / (U - 1) sum_u (sum_{b of u} psi_b)²,   m ± t_{U-1} sqrt(Var(m)),   U users with a value.

Two runs on the same requests are compared by the difference of their influences, which removes what both
share. The interval says what other users and requests of the same kind would give, not what another training
seed would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from emer.errors import EmerError
from emer.metrics.summary import GAUC_WEIGHT, family, members_of_mean, weights_of


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, and the number of users that it rests on.

    ``low`` and ``high`` are NaN with fewer than two users; all three are NaN without any valid request.
    """

    estimate: float
    low: float
    high: float
    users: int


def mean_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    users: np.ndarray | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Weighted mean of ``values`` (R,), NaN left out, with its interval.

    Args:
        values: (R,) one value per request.
        weights: (R,) non-negative; equal if None.
        users: (R,) whose request it is; each request its own if None.
        level: coverage.
    """
    estimate, influence = _influence(values, _or_ones(weights, values))
    return _interval(estimate, influence, _or_rows(users, values), level)


def paired_interval(
    first: np.ndarray,
    second: np.ndarray,
    weights: np.ndarray | None = None,
    users: np.ndarray | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Weighted mean of ``first`` minus that of ``second``, both (R,) on the same requests.

    The other arguments are those of :func:`mean_interval`.
    """
    weights = _or_ones(weights, first)
    (a, influence_a), (b, influence_b) = _influence(first, weights), _influence(second, weights)
    return _interval(a - b, sum_of_influences([influence_a, -influence_b]), _or_rows(users, first), level)


def metric_interval(per_request: Mapping[str, np.ndarray], name: str, *, level: float = 0.95) -> Interval:
    """Interval of the summary's metric ``name``, for instance ``pxtr_gauc/pctr`` or ``label_gauc/mean``.

    Raises:
        EmerError: ``name`` is not an average over requests (such as the pooled ``label_auc``) or unknown.
    """
    estimate, influence = metric_influence(per_request, name)
    return _interval(estimate, influence, per_request["user_id"], level)


def metric_difference(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], name: str, *, level: float = 0.95
) -> Interval:
    """Interval of ``first`` minus ``second`` in the summary's metric ``name``, two runs on the same requests.

    Raises:
        EmerError: the runs were not evaluated on the same requests, or as in :func:`metric_interval`.
    """
    if not np.array_equal(first["request_id"], second["request_id"]):
        raise EmerError(
            f"the two runs were evaluated on different requests ({first['request_id'].size} and "
            f"{second['request_id'].size}), so {name} cannot be compared request by request; "
            "evaluate both on the same data"
        )
    (a, influence_a), (b, influence_b) = metric_influence(first, name), metric_influence(second, name)
    return _interval(a - b, sum_of_influences([influence_a, -influence_b]), first["user_id"], level)


def metric_influence(per_request: Mapping[str, np.ndarray], name: str) -> tuple[float, np.ndarray]:
    """The summary's metric ``name``, and (R,) the influence of each request on it (NaN where it enters not at all).

    Raises:
        EmerError: as in :func:`metric_interval`.
    """
    if name.endswith("/mean") and family(name) in GAUC_WEIGHT:
        members = members_of_mean(per_request, family(name))
        if not members:
            return np.nan, np.full(per_request["user_id"].size, np.nan)
        parts = [_influence(per_request[n], weights_of(per_request, n)) for n in members]
        return float(np.mean([m for m, _ in parts])), sum_of_influences([psi / len(parts) for _, psi in parts])
    if name not in per_request:
        raise EmerError(
            f"there are no per-request values of {name}, so it has no interval; there are "
            f"{', '.join(sorted(n for n in per_request if '/' in n))}"
        )
    return _influence(per_request[name], weights_of(per_request, name))


def _influence(values: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted mean over the values that are not NaN; each request's influence on it, NaN where left out."""
    used = ~np.isnan(values) & (weights > 0)
    if not used.any():
        return np.nan, np.full(values.size, np.nan)
    total = weights[used].sum()
    mean = float(values[used] @ weights[used] / total)
    return mean, np.where(used, weights * (values - mean) / total, np.nan)


def sum_of_influences(influences: list[np.ndarray]) -> np.ndarray:
    """Influence on a sum of estimates: NaN only where a request enters none of them."""
    together = np.stack(influences)
    return np.where(np.isnan(together).all(axis=0), np.nan, np.nansum(together, axis=0))


def users_variance(influence: np.ndarray, users: np.ndarray) -> tuple[float, int]:
    """Variance of an estimate with ``influence`` (R,) by its ``users`` (R,), and the number of them.

    NaN with fewer than two users.
    """
    used = ~np.isnan(influence)
    _, user = np.unique(users[used], return_inverse=True)
    per_user = np.bincount(user, weights=influence[used])
    n = per_user.size
    return (float(n / (n - 1) * np.sum(per_user**2)) if n > 1 else np.nan), n


def _interval(estimate: float, influence: np.ndarray, users: np.ndarray, level: float) -> Interval:
    variance, n = users_variance(influence, users)
    if n < 2:
        return Interval(estimate, np.nan, np.nan, n)
    error = np.sqrt(variance) * stats.t.ppf((1 + level) / 2, n - 1)
    return Interval(estimate, float(estimate - error), float(estimate + error), n)


def _or_ones(weights: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return np.ones(values.size) if weights is None else weights.astype(np.float64)


def _or_rows(users: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return np.arange(values.size) if users is None else users
