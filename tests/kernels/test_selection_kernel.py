"""Selecting the best against sorting them all."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.kernels.selection import best_positions


@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
@settings(max_examples=80, deadline=None)
def test_equals_the_head_of_a_stable_sort(seed: int, k: int, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 3, (4, 10, 3)).astype(np.float64 if wide else np.float32)
    where = rng.random((4, 10)) < 0.7
    position = np.full((4, k, 3), 99)
    best_positions(values, where, position)
    for b in range(4):
        valid = np.flatnonzero(where[b])
        for o in range(3):
            best = valid[np.argsort(-values[b, valid, o], kind="stable")][:k]
            assert position[b, : len(best), o].tolist() == best.tolist()
            assert (position[b, len(best) :, o] == 0).all()


def test_minus_infinity_is_a_value_and_padding_is_not() -> None:
    values = np.array([[[np.nan], [-np.inf], [np.inf], [-np.inf]]])
    position = np.empty((1, 3, 1), np.int64)
    best_positions(values, np.array([[False, True, True, True]]), position)
    assert position[0, :, 0].tolist() == [2, 1, 3]
