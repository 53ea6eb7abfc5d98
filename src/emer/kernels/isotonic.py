"""Soft rank of sorted rows by pool-adjacent-violators, and its gradient.

Equations: :mod:`emer.losses.soft_rank`. State is float64, and scores are taken relative to one of their block, so that
equal scores differ by exactly 0 and a common offset costs no digits.
"""

from __future__ import annotations

import math

import numpy as np

from emer.kernels.runtime import compiled


@compiled
def scale_rows(scores, where, strength, floor, epsilon):  # type: ignore[no-untyped-def]
    """Fill ``epsilon`` (B,) with strength / n * max(sd, floor * max(1, max |s|)) over each row's n valid scores.

    Args:
        scores: (B, N) float32 or float64.
        where: (B, N) bool.
        strength, floor: floats.
        epsilon: out, (B,) float64.

    Returns:
        -1, or the first row whose mean or standard deviation is not finite.
    """
    N = scores.shape[1]
    for b in range(scores.shape[0]):
        n = 0
        total = 0.0
        for i in range(N):
            valid = where[b, i]
            n += valid
            total += np.float64(scores[b, i]) if valid else 0.0
        mean = total / max(n, 1)
        squares = 0.0
        largest = 1.0
        for i in range(N):
            value = np.float64(scores[b, i]) if where[b, i] else mean
            squares += (value - mean) * (value - mean)
            largest = max(largest, abs(value))
        deviation = math.sqrt(squares / max(n, 1))
        if not math.isfinite(deviation):
            return b
        epsilon[b] = strength * max(deviation, floor * largest) / max(n, 1)
    return -1


@compiled
def soft_rank_rows(scores, order, count, epsilon, rank, block):  # type: ignore[no-untyped-def]
    """Fill the valid places of ``rank`` and ``block``.

    Args:
        scores: (B, N) float32 or float64, finite where valid.
        order, count: as :func:`emer.kernels.sorting.sorted_positions` returns them.
        epsilon: (B,) float64, positive.
        rank: out, (B, N) soft ranks, 1 for the smallest score.
        block: out, (B, N) int32, where in its row's ascending order the block of each candidate starts.
    """
    B, N = scores.shape
    u = np.empty(N)
    first, total = np.empty(N, np.int32), np.empty(N)
    for b in range(B):
        n = count[b]
        if n == 0:
            continue
        half = 0.5 * epsilon[b]
        centre = np.float64(scores[b, order[b, n // 2] & 0xFFFFFFFF])
        top = -1
        for j in range(n):
            u[j] = np.float64(scores[b, order[b, j] & 0xFFFFFFFF]) - centre
            start = j
            sum_ = u[j]
            size = 1.0
            # The fit of u / epsilon - (1, ..., n) must ascend: a block whose mean is below its left neighbour's joins
            # it. Means of 1, ..., n differ by half the joint length. Multiplied by both sizes: no division.
            while top >= 0:
                before = np.float64(start - first[top])
                if sum_ * before - total[top] * size >= half * (size + before) * size * before:
                    break
                start = first[top]
                sum_ += total[top]
                size += before
                top -= 1
            top += 1
            first[top] = start
            total[top] = sum_
        stop = n
        for t in range(top, -1, -1):
            start = first[t]
            low = u[start]
            rise = 0.0
            for j in range(start, stop):
                rise += u[j] - low
            rise /= stop - start
            mean_rank = 0.5 * (start + stop + 1)
            for j in range(start, stop):
                i = order[b, j] & 0xFFFFFFFF
                rank[b, i] = mean_rank + (u[j] - low - rise) / epsilon[b]
                block[b, i] = start
            stop = start


@compiled
def soft_rank_gradient_rows(gradient, block, epsilon, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with (g - mean of g over the candidate's block) / epsilon, and 0 where ``block`` is N.

    Args:
        gradient: (B, N) float32 or float64, by the ranks.
        block: (B, N) int32 in 0, ..., N.
        epsilon: (B,) float64.
        out: out, (B, N), by the scores.
    """
    B, N = gradient.shape
    mean, size = np.empty(N + 1), np.empty(N + 1)
    for b in range(B):
        for t in range(N + 1):
            mean[t] = 0.0
            size[t] = 0.0
        for i in range(N):
            mean[block[b, i]] += gradient[b, i]
            size[block[b, i]] += 1.0
        for t in range(N):
            mean[t] /= max(size[t], 1.0)
        for i in range(N):
            t = block[b, i]
            out[b, i] = (gradient[b, i] - mean[t]) / epsilon[b] if t < N else 0.0
