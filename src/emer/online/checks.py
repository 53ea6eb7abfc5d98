"""What the statistics refuse to count, said with the argument's name and the user's place in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emer.errors import EmerError

Floats = NDArray[np.float64]


def user_totals(values: ArrayLike, name: str) -> Floats:
    """(U,) float64 totals per user.

    Raises:
        EmerError: the array is not one-dimensional, is empty, or holds NaN or infinity.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise EmerError(f"{name} has shape {array.shape}; give one total per user, shape (U,)")
    if array.size == 0:
        raise EmerError(f"{name} is empty: there are no users to count")
    if array.dtype.kind not in "biuf":
        raise EmerError(f"{name} holds {array.dtype}, not numbers")
    array = array.astype(np.float64)
    _refuse(~np.isfinite(array), array, name, "not finite", "give 0 for a user who did nothing")
    return array


def denominators(values: ArrayLike, name: str) -> Floats:
    """(U,) float64 totals that numerators are divided by.

    Raises:
        EmerError: as in :func:`user_totals`, or one is negative, or all are 0.
    """
    array = user_totals(values, name)
    _refuse(array < 0, array, name, "negative", "a denominator counts something")
    if not array.any():
        raise EmerError(f"{name} is 0 for all {array.size} users, so the ratio is not defined")
    return array


def same_users(**arrays: Floats) -> int:
    """The number of users that all arrays (U,) have, which are named by the keywords.

    Raises:
        EmerError: their lengths differ.
    """
    sizes = {name: array.size for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise EmerError(f"the totals are not of the same users: {listed}; give each one value per user, in one order")
    return next(iter(sizes.values()))


def user_ids(values: ArrayLike, name: str) -> NDArray[np.integer]:
    """(U,) integers.

    Raises:
        EmerError: the array is not one-dimensional or not of integers.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise EmerError(f"{name} are {array.dtype} of shape {array.shape}; give integers of shape (U,)")
    return array


def fraction(value: float, name: str) -> float:
    """A number strictly between 0 and 1.

    Raises:
        EmerError: it is not.
    """
    if not 0 < value < 1:
        raise EmerError(f"{name}={value} is not between 0 and 1")
    return value


def whole(key: str, value: object, least: int) -> None:
    """Raises:
    EmerError: the setting ``key`` is no whole number of at least ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise EmerError(f"{key} is {value!r}; it must be a whole number")
    if value < least:
        raise EmerError(f"{key} is {value}; it must be at least {least}")


def _refuse(wrong: NDArray[np.bool_], array: Floats, name: str, what: str, advice: str) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise EmerError(
            f"{name}[{first}] = {array[first]} is {what} ({int(wrong.sum())} of {array.size} values are); {advice}"
        )
