"""Signed pair sums against numpy, in any population and on any number of threads."""

import numpy as np
import pytest
import torch

from emer.kernels.pair_signs import BLOCK, pair_sign_sums


def pairs(Q, c, P, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal((c, P)), 1)  # ties
    first, second = (rng.integers(c, size=Q).astype(np.int32) for _ in range(2))
    return scores, first, second, rng.standard_normal(Q)


@pytest.mark.parametrize("Q", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("P", [1, 7])
def test_equals_numpy(Q, P):
    scores, first, second, value = pairs(Q, 50, P)
    expected = (value[:, None] * np.sign(scores[first] - scores[second])).sum(axis=0)
    np.testing.assert_allclose(pair_sign_sums(scores, first, second, value), expected, rtol=0, atol=1e-9)


def test_no_bit_depends_on_the_population_or_the_threads():
    scores, first, second, value = pairs(5 * BLOCK, 300, 9)
    together = pair_sign_sums(scores, first, second, value)
    for p in range(9):
        alone = pair_sign_sums(np.ascontiguousarray(scores[:, p : p + 1]), first, second, value)
        assert alone[0] == together[p]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert np.array_equal(pair_sign_sums(scores, first, second, value), together)
    finally:
        torch.set_num_threads(threads)


def test_bad_input_is_refused():
    scores, first, second, value = pairs(10, 5, 2)
    for wrong in (
        (scores.astype(np.float32), first, second, value),
        (scores.T, first, second, value),
        (scores, first.astype(np.int64), second, value),
        (scores, first, second, value.astype(np.float32)),
        (scores, first[:9], second, value),
        (scores[:, 0], first, second, value),
        (scores[:3], np.full(10, 3, np.int32), second, value),
        (scores, first, np.full(10, -1, np.int32), value),
    ):
        with pytest.raises(ValueError):
            pair_sign_sums(*wrong)
