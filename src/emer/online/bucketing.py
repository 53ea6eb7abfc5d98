"""Which user goes into which arm: a pure function of the user and the experiment's name, as platforms do it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emer.errors import EmerError
from emer.online.checks import user_ids as integers
from emer.world.hashing import Hash, fold, uniform


def bucket(user_ids: ArrayLike, experiment_name: str, shares: Sequence[float]) -> NDArray[np.int64]:
    """Each user's arm. Another name splits the users anew, independently of every other experiment.

    Args:
        user_ids: (U,) integers.
        experiment_name: salt of the hash.
        shares: of the arms, positive, 1 in sum.

    Returns:
        (U,) indices into ``shares``.

    Raises:
        EmerError: the ids are no integers of shape (U,), or the shares are not as said.
    """
    checked = check_shares(shares)
    place = uniform(user_hash(user_ids, experiment_name))
    return np.searchsorted(np.cumsum(checked)[:-1], place, side="right").astype(np.int64)


def user_hash(user_ids: ArrayLike, name: str) -> Hash:
    """(U,) uint64, a hash of each user's id under a name.

    Raises:
        EmerError: the ids are no integers of shape (U,).
    """
    salt = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return fold(np.array([salt], dtype=np.uint64), integers(user_ids, "user_ids"))


def check_shares(shares: Sequence[float]) -> NDArray[np.float64]:
    """(A,) the arms' shares.

    Raises:
        EmerError: one is not positive, or they do not sum to 1.
    """
    array = np.asarray(shares, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not (array > 0).all() or not abs(array.sum() - 1) < 1e-9:
        raise EmerError(f"the arms' shares are {list(shares)}; give positive numbers with a sum of 1")
    return array
