from __future__ import annotations

import numpy as np
import pytest

from emer.kernels.sorting import LOW_BITS, rank_gaps, sorted_positions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorts_valid_elements_and_leaves_the_others_last(dtype: type) -> None:
    rng = np.random.default_rng(0)
    tiny = np.finfo(dtype).smallest_subnormal
    special = np.array([0.0, -0.0, tiny, -tiny, 1e-30, -1e-30, 3e38, -3e38, 1.0, np.nextafter(dtype(1), dtype(2))])
    values = rng.choice(special, (50, 40)).astype(dtype)
    where = rng.random((50, 40)) < 0.7
    values[~where] = rng.choice([np.nan, np.inf, -np.inf], (~where).sum())
    order, count = sorted_positions(values, where)
    positions = order & LOW_BITS
    for b in range(50):
        valid = np.flatnonzero(where[b])
        n = count[b]
        assert n == len(valid)
        # Stable: equal values (0.0 and -0.0 among them) by position.
        expected = valid[np.argsort(values[b, valid], kind="stable")]
        assert positions[b, :n].tolist() == expected.tolist()
        assert sorted(positions[b, n:]) == np.flatnonzero(~where[b]).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rank_gaps_by_counting(dtype: type) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(-3, 4, (20, 15)).astype(dtype)
    values[values == 0] = rng.choice([0.0, -0.0], (values == 0).sum())
    where = rng.random((20, 15)) < 0.8
    values[~where] = np.nan
    smaller = ((values[:, :, None] > values[:, None]) & where[:, None]).sum(axis=2)
    larger = ((values[:, :, None] < values[:, None]) & where[:, None]).sum(axis=2)
    np.testing.assert_array_equal(rank_gaps(values, where), np.where(where, smaller - larger, 0))


def test_nothing_to_sort() -> None:
    for shape in ((0, 3), (3, 0)):
        order, count = sorted_positions(np.zeros(shape, np.float32), np.ones(shape, bool))
        assert order.shape == shape and count.tolist() == [0] * shape[0]
