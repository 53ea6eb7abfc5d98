"""Stateless random numbers: every draw is a pure function of (seed, stream, keys ...).

Two policies that meet the same user, day and video therefore see the same luck, and no draw depends on how
the work was cut into blocks. The mixer is the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Hash = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)
_WORD = 2**64 - 1


class Stream(IntEnum):
    """What a draw is for. Draws of different streams are independent."""

    TOPIC = 1
    CATEGORY = 2
    VIDEO = 3
    USER = 4
    SCALE = 5
    RETURN = 6
    SESSIONS = 7
    BUDGET = 8
    CANDIDATES = 9
    FEEDBACK = 10
    PXTR_VIDEO = 11
    PXTR_PAIR = 12
    PXTR_REQUEST = 13
    EXPLORE = 14
    CALIBRATION = 15


def hash_keys(seed: int, stream: Stream, *keys: ArrayLike) -> Hash:
    """Hash of the seed, the stream and integer keys, which broadcast against each other.

    Returns:
        uint64 of the keys' broadcast shape, at least one-dimensional.
    """
    start = np.array([seed & _WORD], dtype=np.uint64)
    return fold(_mix(start + _GOLDEN), int(stream), *keys)


def fold(state: Hash, *keys: ArrayLike) -> Hash:
    """Absorb further integer keys into a hash; distinct keys give independent values."""
    for key in keys:
        state = _mix((state ^ _as_word(key)) + _GOLDEN)
    return state


def uniform(state: Hash) -> Floats:
    """Uniform numbers in (0, 1) with 53 random bits."""
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def integers(state: Hash, high: int | NDArray[Any]) -> Ints:
    """Integers in 0 .. high - 1, where 1 <= high < 2**32."""
    top = state >> np.uint64(32)
    return ((top * _as_word(high)) >> np.uint64(32)).astype(np.int64)


def normals(state: Hash, count: int) -> Floats:
    """Standard normals, four per hash, read from a table of 65,536 quantiles (so |x| < 4.33).

    Returns:
        (count, *state.shape): the variates of one hash are independent of each other.
    """
    table = normal_quantiles()
    out = np.empty((count, *state.shape))
    for first in range(0, count, 4):
        word = fold(state, first)
        for place in range(min(4, count - first)):
            field = (word >> np.uint64(16 * place)) & np.uint64(0xFFFF)
            out[first + place] = table[field.astype(np.int64)]
    return out


def _mix(x: Hash) -> Hash:
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


def _as_word(key: ArrayLike) -> Hash:
    return np.asarray(key).astype(np.uint64)


@cache
def normal_quantiles() -> Floats:
    """(65536,) the table that :func:`normals` reads from."""
    return ndtri((np.arange(65_536) + 0.5) / 65_536)
