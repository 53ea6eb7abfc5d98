from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from emer.kernels.isotonic import scale_rows, soft_rank_gradient_rows, soft_rank_rows
from emer.kernels.sorting import sorted_positions


def run(scores: np.ndarray, where: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and blocks; -1 is what the kernel leaves alone."""
    order, count = sorted_positions(scores, where)
    rank, block = np.full_like(scores, -1), np.full(scores.shape, -1, np.int32)
    soft_rank_rows(scores, order, count, np.full(len(scores), epsilon), rank, block)
    return rank, block


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_by_hand(dtype: type) -> None:
    scores = np.array([[3, np.nan, -5, 2], [7, 7, 7, np.inf], [0, 0, 0, 0], [np.nan] * 4], dtype)
    where = np.array([[1, 0, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    epsilon = np.empty(4)
    assert scale_rows(scores, where, 2.0, 1e-12, epsilon) == -1
    deviation = math.sqrt((3**2 + 5**2 + 2**2) / 3)
    np.testing.assert_allclose(epsilon, [2 * deviation / 3, 2 * 1e-12 * 7 / 3, 2 * 1e-12, 2 * 1e-12], rtol=1e-14)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scale_returns_the_first_row_that_is_not_finite(wrong: float) -> None:
    scores = np.zeros((4, 3), np.float32)
    scores[2, 1] = scores[3, 0] = wrong
    assert scale_rows(scores, np.ones((4, 3), bool), 2.0, 1e-12, np.empty(4)) == 2


def test_ranks_and_blocks_by_hand() -> None:
    scores = np.array([[10.0, 0.0, np.nan, 1.0, 20.0]])
    where = np.array([[True, True, False, True, True]])
    rank, block = run(scores, where, 2.0)
    # 0 and 1 are closer than epsilon: they share ranks 1 and 2, half a unit of score from their mean.
    np.testing.assert_allclose(rank, [[3, 1.5 - 0.5 / 2, -1, 1.5 + 0.5 / 2, 4]])
    assert block.tolist() == [[2, 0, -1, 0, 3]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("epsilon", [1e-3, 0.03, 1.0, 30.0])
def test_ranks_and_blocks_are_those_of_scipy(dtype: type, epsilon: float) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(6, 300)).astype(dtype)
    scores[3:] = np.round(scores[3:], 1)
    where = generator.random(scores.shape) < 0.8
    rank, block = run(scores, where, epsilon)
    for b in range(len(scores)):
        valid = where[b].nonzero()[0]
        order = valid[np.argsort(scores[b, valid].astype(float), kind="stable")]
        u = scores[b, order].astype(float)
        fit = isotonic_regression(u - epsilon * np.arange(1, len(u) + 1))
        np.testing.assert_allclose(rank[b, order], (u - fit.x) / epsilon, rtol=1e-6, atol=1e-9)
        starts = fit.blocks[:-1].repeat(np.diff(fit.blocks))
        np.testing.assert_array_equal(block[b, order], starts)
        assert (block[b, ~where[b]] == -1).all()


def test_gradient_by_hand() -> None:
    gradient = np.array([[1.0, 5.0, np.nan, 2.0], [1.0, 2.0, 3.0, 6.0]])
    block = np.array([[1, 0, 4, 1], [0, 0, 0, 0]], np.int32)
    out = np.full_like(gradient, np.nan)
    soft_rank_gradient_rows(gradient, block, np.array([0.5, 2.0]), out)
    assert out.tolist() == [
        [(1 - 1.5) / 0.5, 0, 0, (2 - 1.5) / 0.5],
        [(1 - 3) / 2, (2 - 3) / 2, (3 - 3) / 2, (6 - 3) / 2],
    ]


def test_empty() -> None:
    for shape in ((0, 3), (3, 0)):
        scores, where = np.empty(shape, np.float32), np.ones(shape, bool)
        assert scale_rows(scores, where, 1.0, 1e-12, np.empty(shape[0])) == -1
        rank, block = run(scores, where, 1.0)
        soft_rank_gradient_rows(rank, block, np.ones(shape[0]), np.empty_like(rank))
