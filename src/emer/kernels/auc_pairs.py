"""Positive-negative pairs of sorted lists for many labels at once; equations in :mod:`emer.losses.auc_pairs`."""

from __future__ import annotations

import math

import numpy as np

from emer.kernels.runtime import compiled


@compiled
def auc_pair_rows(start, stop, scores, order, count, labels, weights, psi, phi, loss, gradient):  # type: ignore[no-untyped-def]
    """Fill rows ``start`` to ``stop`` of ``loss`` and ``gradient``.

    Args:
        scores: (B, N) float32 or float64.
        order, count: as :func:`emer.kernels.sorting.sorted_positions` returns them.
        labels: (B, N, M) bool.
        weights: (B, M) float64.
        psi, phi: float64 coefficients of the exponential sum.
        loss: out, (B, M) float64 mean over the positive-negative pairs; 0 without one.
        gradient: out, (B, N) derivative of sum_m weights[b, m] * loss[b, m]; must hold 0 on masked places.
    """
    N, M, terms = scores.shape[1], labels.shape[2], len(psi)
    position = np.empty(N, np.int64)
    u, decay = np.empty(N), np.empty(N)
    # Channels 0 .. M - 1 are the positives of each label, M .. 2 M - 1 the negatives.
    state, added, sums, soft = np.empty((terms, 2 * M)), np.empty(2 * M), np.empty(2 * M), np.empty(2 * M)
    seen, slope, linear, smooth = np.empty(2 * M), np.empty(M), np.empty(M), np.empty(M)
    for b in range(start, stop):
        n = count[b]
        loss[b] = 0.0
        if n < 2:
            continue
        seen[:] = 0.0
        for j in range(n):
            position[j] = order[b, j] & 0xFFFFFFFF
            u[j] = scores[b, position[j]]
            for m in range(M):
                positive = labels[b, position[j], m]
                seen[m] += positive
                seen[M + m] += not positive
        for m in range(M):
            pairs = seen[m] * seen[M + m]
            slope[m] = weights[b, m] / pairs if pairs > 0 else 0.0
            linear[m] = 0.0
            smooth[m] = 0.0
        for j in range(1, n):
            decay[j] = math.exp(u[j - 1] - u[j])
        centre = u[n // 2]

        # Upwards: what each candidate owes to those of the other class below it.
        state[:] = 0.0
        seen[:] = 0.0
        added[:] = 0.0
        for j in range(n):
            i = position[j]
            _step(state, added, decay[j] if j > 0 else 0.0, psi, phi, sums, soft)
            own = 0.0
            for m in range(M):
                positive = labels[b, i, m]
                if positive:
                    own -= slope[m] * sums[M + m]
                    smooth[m] += soft[M + m]
                else:
                    own += slope[m] * (seen[m] - sums[m])
                    linear[m] += seen[m] * (u[j] - centre)
                    smooth[m] += soft[m]
                added[m] = positive
                added[M + m] = not positive
                seen[m] += positive
            gradient[b, i] = own

        # Downwards: to those above it.
        state[:] = 0.0
        seen[:] = 0.0
        added[:] = 0.0
        for j in range(n - 1, -1, -1):
            i = position[j]
            _step(state, added, decay[j + 1] if j < n - 1 else 0.0, psi, phi, sums, soft)
            own = 0.0
            for m in range(M):
                positive = labels[b, i, m]
                if positive:
                    own += slope[m] * (sums[M + m] - seen[M + m])
                    linear[m] -= seen[M + m] * (u[j] - centre)
                else:
                    own += slope[m] * sums[m]
                added[m] = positive
                added[M + m] = not positive
                seen[M + m] += not positive
            gradient[b, i] += own
        for m in range(M):
            pairs = (n - seen[M + m]) * seen[M + m]
            loss[b, m] = (linear[m] + smooth[m]) / pairs if pairs > 0 else 0.0


@compiled
def _step(state, added, t, psi, phi, sums, soft):  # type: ignore[no-untyped-def]
    """Move every channel's state across a gap with decay ``t``, and evaluate the sums of psi and phi there."""
    sums[:] = 0.0
    soft[:] = 0.0
    power = 1.0
    for term in range(state.shape[0]):
        power *= t
        for c in range(state.shape[1]):
            moved = (state[term, c] + added[c]) * power
            state[term, c] = moved
            sums[c] += psi[term] * moved
            soft[c] += phi[term] * moved
