"""A/A tests: split the users of one arm at random, again and again. At 5 % a sound test rejects 5 % of the splits.

Everything is a function of the seed and the users' ids; there is no generator whose state another call could move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from emer.errors import EmerError
from emer.online.bucketing import user_hash
from emer.online.checks import Floats, denominators, fraction, same_users, user_totals
from emer.online.statistics import Pair
from emer.world.hashing import Hash, fold

LEAST_SPLITS = 5_000
_CHUNK = 4_000_000
"""Users times splits held at once: 32 MB."""


@dataclass(frozen=True)
class FalsePositives:
    """How often A/A tests of one metric rejected.

    Attributes:
        rate: share of the splits with p below ``alpha``.
        low, high: the binomial limits within which a sound test's rate lies in 99.9 % of cases.
        splits: how many there were.
        sound: the rate is within the limits.
    """

    rate: float
    low: float
    high: float
    splits: int
    sound: bool


def false_positives(
    user_ids: ArrayLike,
    metrics: Mapping[str, ArrayLike | Pair],
    *,
    seed: int,
    splits: int = LEAST_SPLITS,
    alpha: float = 0.05,
) -> dict[str, FalsePositives]:
    """Rejection rate of the bucket test (:func:`emer.online.statistics.ratio_difference`) over random halvings.

    A row is what the test takes as independent; rows with the same id go to the same half. Rows of impressions, with
    their users' ids, therefore show what a test that counts impressions would claim.

    Args:
        user_ids: (U,) integers.
        metrics: name -> (U,) totals, or a tuple of numerators and denominators, each (U,).
        seed: of the splits.
        splits: how many, at least 5,000, since fewer could not tell 5 % from 6.5 %.
        alpha: level of the test.

    Raises:
        EmerError: too few splits, fewer than four users, totals that do not fit (:mod:`emer.online.checks`), or a split
            without any denominator in one half.
    """
    if splits < LEAST_SPLITS:
        raise EmerError(f"splits={splits} cannot tell a sound rate from another; take at least {LEAST_SPLITS}")
    state = user_hash(user_ids, f"A/A {seed}")
    if np.unique(state).size < 4:
        raise EmerError(f"A/A tests of {np.unique(state).size} users: there must be four at least")
    columns = {name: _columns(name, metric, state) for name, metric in metrics.items()}
    rejected = dict.fromkeys(metrics, 0)
    step = max(64, _CHUNK // state.size // 64 * 64)
    for first in range(0, splits, step):
        half = halves(state, first, min(first + step, splits))
        count = half.sum(axis=1)
        for name, column in columns.items():
            rejected[name] += int((_p_values(half @ column, column.sum(axis=0), count, name) < alpha).sum())
    low, high = (float(stats.binom.ppf(q, splits, fraction(alpha, "alpha"))) / splits for q in (0.0005, 0.9995))
    return {
        name: FalsePositives(times / splits, low, high, splits, low <= times / splits <= high)
        for name, times in rejected.items()
    }


def halves(state: Hash, first: int, last: int) -> Floats:
    """(S, U) of 0 and 1: which half each user is in, in the splits first .. last - 1; 64 divides ``first``.

    One hash of a user serves 64 splits, a bit for each.
    """
    words = fold(state[None, :], np.arange(first // 64, -(-last // 64))[:, None])
    bits = (words[:, None, :] >> np.arange(64, dtype=np.uint64)[None, :, None]) & np.uint64(1)
    return bits.reshape(-1, state.size)[: last - first].astype(np.float64)


def _columns(name: str, metric: ArrayLike | Pair, state: Hash) -> Floats:
    """(U, 5): e, d, e², e d, d² of the rests e = n - R d about the ratio of all users, which keeps digits."""
    if isinstance(metric, tuple):
        n, d = user_totals(metric[0], f"{name}[0]"), denominators(metric[1], f"{name}[1]")
    else:
        n = user_totals(metric, name)
        d = np.ones(n.size)
    same_users(**{"user_ids": state.astype(np.float64), name: n, f"{name}'s denominators": d})
    d = d / d.mean()
    e = n - n.mean() * d
    return np.stack([e, d, e * e, e * d, d * d], axis=1)


def _p_values(one: Floats, both: Floats, count: NDArray[np.float64], name: str) -> Floats:
    """(S,) p-values from the sums (S, 5) of one half, those (5,) of all rows, and the rows (S,) of the half."""
    total = both[1]
    arms = []
    for sums, n in ((one, count), (both - one, round(total) - count)):
        e, d, ee, ed, dd = sums.T
        if not (d > 0).all() or n.min() < 2:
            raise EmerError(f"{name}: a split has a half without any denominator or with fewer than two users")
        rest = e / d
        squares = np.maximum(ee - 2 * rest * ed + rest**2 * dd, 0)
        arms.append((rest, squares / (n - 1) / n * (n / d) ** 2, n))
    (r_1, v_1, n_1), (r_2, v_2, n_2) = arms
    variance, difference = v_1 + v_2, np.abs(r_1 - r_2)
    tiny = np.finfo(np.float64).tiny
    freedom = variance**2 / np.maximum(v_1**2 / (n_1 - 1) + v_2**2 / (n_2 - 1), tiny)
    distance = difference / np.sqrt(np.maximum(variance, tiny))
    return 2 * stats.t.sf(distance, np.maximum(freedom, 1))
