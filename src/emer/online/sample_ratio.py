"""Sample ratio mismatch: have the arms the numbers of users that they were meant to have?

A mismatch means that users were lost or counted twice in one arm; no other figure of the test is to be trusted then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from emer.errors import EmerError
from emer.online.bucketing import check_shares
from emer.online.checks import user_ids

ALARM = 0.001
"""p-value below which the arms' sizes are called a mismatch; low, since the check runs on every test."""


@dataclass(frozen=True)
class SampleRatio:
    """Pearson's chi-square test of the arms' sizes.

    Attributes:
        users: arm -> unique users.
        expected: arm -> users by the shares.
        statistic: chi-square, with one degree of freedom fewer than arms.
        p: its p-value.
        alarm: p is below the bar.
    """

    users: dict[str, int]
    expected: dict[str, float]
    statistic: float
    p: float
    alarm: bool


def sample_ratio(
    arms: Mapping[str, ArrayLike], shares: Mapping[str, float] | None = None, *, alarm: float = ALARM
) -> SampleRatio:
    """Test of the numbers of *unique* users, of independent buckets.

    Args:
        arms: arm -> (R,) user ids, one per row of whatever was logged; repeated ids count once.
        shares: arm -> expected share, 1 in sum; equal if None.
        alarm: p-value below which the alarm is set.

    Raises:
        EmerError: a user is in two arms, ids are no integers, or as in :func:`sample_ratio_of_counts`.
    """
    unique = {arm: np.unique(user_ids(ids, f"the ids of arm {arm}")) for arm, ids in arms.items()}
    if unique:
        ids, times = np.unique(np.concatenate(list(unique.values())), return_counts=True)
        if (times > 1).any():
            twice = ids[times > 1]
            where = [arm for arm, users in unique.items() if twice[0] in users]
            raise EmerError(
                f"{twice.size} users are in more than one arm (user {twice[0]} in {', '.join(where)}); "
                "each user belongs to one arm"
            )
    return sample_ratio_of_counts({arm: users.size for arm, users in unique.items()}, shares, alarm=alarm)


def sample_ratio_of_counts(
    users: Mapping[str, int], shares: Mapping[str, float] | None = None, *, alarm: float = ALARM
) -> SampleRatio:
    """chi² = sum_a (n_a - N q_a)² / (N q_a) for n_a users in arm a with share q_a, N in all.

    Args:
        users: arm -> number of users.
        shares, alarm: as in :func:`sample_ratio`.

    Raises:
        EmerError: there are fewer than two arms, no users or a negative number of them, the shares name other arms, or
            are not positive with a sum of 1.
    """
    if len(users) < 2:
        raise EmerError(f"the arms are {list(users)}; a ratio of sizes needs two")
    if shares is None:
        shares = {arm: 1 / len(users) for arm in users}
    if set(shares) != set(users):
        raise EmerError(f"the shares are of the arms {sorted(shares)}, the users of {sorted(users)}")
    counts = np.array([users[arm] for arm in users], dtype=np.float64)
    if not (counts >= 0).all() or not counts.sum() > 0:
        raise EmerError(f"the arms' numbers of users are {dict(users)}; none may be negative and some must be there")
    expected = counts.sum() * check_shares([shares[arm] for arm in users])
    statistic = float(((counts - expected) ** 2 / expected).sum())
    p = float(stats.chi2.sf(statistic, len(users) - 1))
    by_arm = {arm: float(value) for arm, value in zip(users, expected, strict=True)}
    return SampleRatio(dict(users), by_arm, statistic, p, p < alarm)
