"""The counting kernels against counting pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.kernels.concordance import BLOCK, COUNTS, count_integers, count_sorted, pack_targets, positive_rank_sums
from emer.kernels.sorting import sorted_positions


def pair_by_pair(scores: np.ndarray, targets: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(B, K, 5) counts from all N x N signs."""
    above = np.triu(np.ones((scores.shape[1],) * 2, dtype=bool), 1)[None, None]
    keep = np.moveaxis(np.broadcast_to(where, targets.shape), 2, 1)
    both = keep[..., :, None] & keep[..., None, :] & above
    s = np.sign(scores[:, None, :, None] - scores[:, None, None, :])
    t = np.moveaxis(targets, 2, 1).astype(np.float64)
    t = np.sign(t[..., :, None] - t[..., None, :])
    cases = (s * t > 0, s * t < 0, (s == 0) & (t != 0), (s != 0) & (t == 0), (s == 0) & (t == 0))
    return np.stack([(case & both).sum(axis=(-2, -1)) for case in cases], axis=-1)


def by_integers(scores: np.ndarray, targets: np.ndarray, where: np.ndarray) -> np.ndarray:
    order, count = sorted_positions(scores, where.any(axis=-1))
    out = np.full((len(scores), targets.shape[2], COUNTS), -1)
    low = int(targets.min())
    count_integers(scores, order, count, targets, where, low, int(targets.max()) - low + 1, out)
    return out


def by_sorting(scores: np.ndarray, targets: np.ndarray, where: np.ndarray) -> np.ndarray:
    order, count = sorted_positions(scores, where.any(axis=-1))
    B, N, K = targets.shape
    keys, out = np.empty((B, K, N), np.int64), np.full((B, K, COUNTS), -1)
    floats = targets.dtype == np.float32
    pack_targets(scores, order, count, targets.view(np.int32), floats, where, keys)
    keys.sort(axis=-1)
    count_sorted(scores, order, count, keys, where, out)
    return out


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([1, 3, 1000]), st.sampled_from([1, 4, 1000]))
@settings(max_examples=80, deadline=None)
def test_every_count_with_ties_and_masks(seed: int, per_objective: bool, levels: int, grades: int) -> None:
    rng = np.random.default_rng(seed)
    B, N, K = 3, 9, 2
    scores = (rng.integers(0, levels, (B, N)) - levels // 2).astype(np.float32)
    targets = rng.integers(0, grades, (B, N, K)) - grades // 2
    where = rng.random((B, N, K if per_objective else 1)) < 0.7
    expected = pair_by_pair(scores, targets, where)
    for count in (
        by_integers(scores, targets.astype(np.int16), where),
        by_sorting(scores, targets.astype(np.int32), where),
    ):
        np.testing.assert_array_equal(count, expected)
    # Negative numbers and -0.0 as well as positive ones.
    np.testing.assert_array_equal(
        by_sorting(scores, -targets.astype(np.float32) / 3, where), expected[..., [1, 0, 2, 3, 4]]
    )


@pytest.mark.parametrize("N", [63, 64, 65, 64 * BLOCK - 1, 64 * BLOCK, 64 * BLOCK + 1, 2500])
@pytest.mark.parametrize("grades", [7, 10**6])
def test_requests_of_many_words_and_blocks(N: int, grades: int) -> None:
    rng = np.random.default_rng(N)
    scores = rng.integers(0, N, (1, N)).astype(np.float32)
    targets = rng.integers(0, grades, (1, N, 2)).astype(np.int32)
    where = rng.random((1, N, 1)) < 0.95
    expected = pair_by_pair(scores, targets, where)
    np.testing.assert_array_equal(by_sorting(scores, targets, where), expected)
    np.testing.assert_array_equal(by_integers(scores, targets, where), expected)


def test_a_reversed_order_is_all_discordant() -> None:
    n = 1300
    scores = np.arange(n, dtype=np.float32)[None]
    targets = -np.arange(n, dtype=np.int32).reshape(1, n, 1)
    where = np.ones((1, n, 1), dtype=bool)
    expected = [[[0, n * (n - 1) // 2, 0, 0, 0]]]
    assert by_sorting(scores, targets, where).tolist() == by_integers(scores, targets, where).tolist() == expected


def test_rank_sums_by_hand() -> None:
    scores = np.array([3, 1, 2, 1], dtype=np.float32)
    order, _ = sorted_positions(scores[None], np.ones((1, 4), dtype=bool))
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)
    positives, sums = np.empty(2, np.int64), np.empty(2, np.int64)
    positive_rank_sums(scores, order[0], labels, positives, sums)
    # Ranks 4, 1.5, 3, 1.5.
    assert positives.tolist() == [2, 0] and sums.tolist() == [2 * (4 + 1.5), 0]
