"""The k best candidates of each request and objective, without sorting the others."""

from __future__ import annotations

import numpy as np

from emer.kernels.runtime import compiled


@compiled
def best_positions(values, where, position):  # type: ignore[no-untyped-def]
    """Fill ``position`` with the best candidates, best first, the earlier one first among equals.

    One pass that inserts what beats the last of the list: a random order makes some k log(N / k) insertions, and the
    worst one N, of at most k steps each.

    Args:
        values: (B, N, K) float32 or float64 without NaN where valid.
        where: (B, N) bool.
        position: out, (B, k, K) int64; 0 past the last valid candidate.
    """
    B, N, K = values.shape
    k = position.shape[1]
    best = np.empty((K, k), values.dtype)
    for b in range(B):
        position[b] = 0
        listed = 0
        for i in range(N):
            if where[b, i]:
                for o in range(K):
                    v = values[b, i, o]
                    if listed < k or v > best[o, k - 1]:
                        x = min(listed, k - 1)
                        while x > 0 and best[o, x - 1] < v:
                            best[o, x] = best[o, x - 1]
                            position[b, x, o] = position[b, x - 1, o]
                            x -= 1
                        best[o, x] = v
                        position[b, x, o] = i
                listed = min(listed + 1, k)
