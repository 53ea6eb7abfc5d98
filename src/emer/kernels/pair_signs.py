"""Weighted sums of the signs of score differences over a list of pairs, for many score vectors at once."""

from __future__ import annotations

import numpy as np

from emer.kernels.runtime import compiled, run_rows

BLOCK = 1 << 14
"""Pairs that are summed one after the other. Blocks are dealt to threads and added in order, so that no bit depends
on the number of threads."""


def pair_sign_sums(scores: np.ndarray, first: np.ndarray, second: np.ndarray, value: np.ndarray) -> np.ndarray:
    """sum_q value_q sign(s_p[first_q] - s_p[second_q]) for each of P score vectors s_p.

    A vector's sum has the same bits in any population. Pairs are read once for all P vectors.

    Args:
        scores: (c, P) float64, C-contiguous: the scores of one candidate side by side.
        first, second: (Q,) int32 in 0 .. c - 1.
        value: (Q,) float64.

    Returns:
        (P,) float64.

    Raises:
        ValueError: types or shapes differ from these, or an index is out of range.
    """
    if scores.dtype != np.float64 or scores.ndim != 2 or not scores.flags.c_contiguous:
        raise ValueError("scores must be a C-contiguous float64 matrix")
    if first.dtype != np.int32 or second.dtype != np.int32 or value.dtype != np.float64:
        raise ValueError("first and second must be int32 and value float64")
    if not first.shape == second.shape == value.shape or first.ndim != 1:
        raise ValueError("first, second and value must be vectors of one length")
    total = np.zeros(scores.shape[1])
    if first.size == 0:
        return total
    if min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= len(scores):
        raise ValueError(f"an index is outside 0 .. {len(scores) - 1}")
    sums = np.zeros((-(-first.size // BLOCK), scores.shape[1]))
    run_rows(lambda a, b: _fill(a, b, scores, first, second, value, sums), len(sums), first.size * scores.shape[1])
    for row in sums:  # not sum(axis=0), whose order depends on the shape
        total += row
    return total


@compiled
def _fill(start, stop, scores, first, second, value, sums):  # type: ignore[no-untyped-def]
    """Fill rows ``start`` to ``stop`` of ``sums`` (blocks, P), which hold 0."""
    P = scores.shape[1]
    for block in range(start, stop):
        for q in range(block * BLOCK, min((block + 1) * BLOCK, first.size)):
            i, j, v = first[q], second[q], value[q]
            for p in range(P):
                a, b = scores[i, p], scores[j, p]
                # No branch: which of the two is larger cannot be predicted.
                sums[block, p] += v * (np.float64(a > b) - np.float64(a < b))
