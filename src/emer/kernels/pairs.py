"""Pairwise logistic loss and gradient of sorted requests, in one pass per request.

Equations: :mod:`emer.losses.pairwise` and :mod:`emer.losses.exponential_sum`. State is float64; a request of n
candidates and K objectives costs O(n K + n TERMS) after its scores are sorted.
"""

from __future__ import annotations

import math

import numpy as np

from emer.kernels.runtime import compiled

TERMS = 16
"""Length of ``psi`` and ``phi``: a constant, so that the loops over terms unroll."""

NEGLIGIBLE = 40.0
"""Beyond this gap, e^-2x is under half a unit in the last place of e^-x: one term is exact, and higher powers, which
would become slow denormal numbers, are dropped."""


EXACT_SQUARES = 200_000
"""Up to this many candidates the sum of their squared rank gaps is exact in float64; of more, ties are looked for."""

SMALL_GROUP = 4
"""Tie groups up to this size are summed pair by pair: starting a scan costs more."""


@compiled
def pairwise_rows(start, stop, scores, order, count, ranks, weights, exclude_ties, psi, phi, loss, gradient):  # type: ignore[no-untyped-def]
    """Fill rows ``start`` to ``stop`` of ``loss`` and ``gradient``.

    Args:
        scores: (B, N) float32 or float64.
        order, count: as :func:`emer.kernels.sorting.sorted_positions` returns them.
        ranks: (B, N, K) integer rank gaps.
        weights: (B, K) float64.
        exclude_ties: drop pairs with equal targets; else they have the label 1/2.
        psi, phi: (TERMS,) float64 coefficients.
        loss: out, (B, K) float64 mean over the pairs of each objective; 0 without a pair.
        gradient: out, (B, N) derivative of sum_k weights[b, k] * loss[b, k]; must hold 0 on masked places.

    Returns:
        -1, or the first row whose rank gaps are not those of its valid candidates (its outputs are then undefined).
    """
    N, K = scores.shape[1], ranks.shape[2]
    position, place = np.empty(N, np.int64), np.empty(N, np.int64)
    u, decay, net = np.empty(N), np.empty(N), np.empty(N)
    linear, sums, squares, slope = np.empty(K), np.empty(K), np.empty(K), np.empty(K)
    any_ties = False  # in any row so far: the scratch below is made when it is first needed
    for b in range(start, stop):
        n = count[b]
        for k in range(K):
            loss[b, k] = 0.0
        if n < 2:
            continue
        if n < N:
            place[:] = -1
        for j in range(n):
            position[j] = order[b, j] & 0xFFFFFFFF
            place[position[j]] = j
            u[j] = scores[b, position[j]]
        soft = _net_sums(u, decay, n, psi, phi, net)
        all_pairs = n * (n - 1.0) / 2.0
        centre = u[n // 2]
        total_slope = 0.0
        for k in range(K):
            linear[k] = 0.0
            sums[k] = 0.0
            squares[k] = 0.0
            slope[k] = weights[b, k] / (2.0 * all_pairs)
            total_slope += slope[k]
        # In the order of the rank gaps in memory, which are most of what is read.
        for i in range(N):
            j = place[i]
            if j < 0:
                continue
            r = 2.0 * j - n + 1.0
            x = u[j] - centre
            own = 0.0
            for k in range(K):
                v = np.float64(ranks[b, i, k])
                linear[k] += (r - v) * x
                sums[k] += v
                squares[k] += v * v
                own += slope[k] * (r - v)
            gradient[b, i] = own + 2.0 * total_slope * net[j]
        # Distinct rank gaps are n - 1, n - 3 ...: they sum to 0 and their squares to this, which ties make smaller.
        distinct = n * (n * n - 1.0) / 3.0
        ties = False
        for k in range(K):
            if sums[k] != 0.0 or squares[k] > distinct * (1.0 + 1e-9):
                return b
            ties = ties or squares[k] < distinct or n > EXACT_SQUARES
            loss[b, k] = (linear[k] + 2.0 * soft) / (2.0 * all_pairs)
        if not (ties and exclude_ties):
            continue

        # Again for this request, now that some pairs do not count.
        if not any_ties:
            any_ties = True
            g, size, slot = np.empty(N, np.int64), np.zeros(2 * N, np.int64), np.full(2 * N, -1, np.int64)
            member, tied_u, tied_net, tied_slope = np.empty(N, np.int64), np.empty(N), np.empty(N), np.empty(N)
            tied_r = np.empty((N, K), np.float32)
        tied_r[:n] = 0.0
        tied_slope[:n] = 0.0
        for k in range(K):
            linear[k] = 0.0
            loss[b, k] = 2.0 * soft
            if squares[k] == distinct and n <= EXACT_SQUARES:
                continue
            for j in range(n):
                g[j] = ranks[b, position[j], k]
            members = _tie_groups(g, n, size, slot, member)
            if members < 0:
                return b
            pairs = n * (n - 1) // 2
            a = 0
            while a < members:
                m = size[g[member[a]] + n]
                pairs -= m * (m - 1) // 2
                for j in range(m):
                    tied_u[j] = u[member[a + j]]
                    tied_r[member[a + j], k] = 2.0 * j - m + 1.0
                if m <= SMALL_GROUP:
                    loss[b, k] -= 2.0 * _small_group(tied_u, m, psi, phi, tied_net[a:])
                else:
                    loss[b, k] -= 2.0 * _net_sums(tied_u, decay, m, psi, phi, tied_net[a:])
                a += m
            slope[k] = weights[b, k] / (2.0 * pairs) if pairs > 0 else 0.0
            for a in range(members):
                tied_slope[member[a]] += 2.0 * slope[k] * tied_net[a]
            for j in range(n):
                size[g[j] + n] = 0
                slot[g[j] + n] = -1
            squares[k] = pairs
        total_slope = 0.0
        for k in range(K):
            total_slope += slope[k]
        for i in range(N):
            j = place[i]
            if j < 0:
                continue
            r = 2.0 * j - n + 1.0
            x = u[j] - centre
            own = 0.0
            for k in range(K):
                # Integers first: they vanish where scores and targets agree.
                net_rank = r - np.float64(ranks[b, i, k]) - np.float64(tied_r[j, k])
                linear[k] += net_rank * x
                own += slope[k] * net_rank
            gradient[b, i] = own + 2.0 * total_slope * net[j] - tied_slope[j]
        for k in range(K):
            # For an objective with ties, squares[k] is by now its number of pairs.
            pairs = all_pairs if squares[k] == distinct else squares[k]
            # Taking ties out may leave a rounding below 0.
            loss[b, k] = max(loss[b, k] + linear[k], 0.0) / (2.0 * pairs) if pairs > 0 else 0.0
    return -1


@compiled
def _net_sums(u, decay, n, psi, phi, net):  # type: ignore[no-untyped-def]
    """Fill ``net[j]`` = sum of psi over elements above - sum over those below; return the sum of phi over pairs.

    Args:
        u: n sorted values.
        decay: scratch of n places.
    """
    decay[0] = 0.0
    for j in range(1, n):
        decay[j] = math.exp(u[j - 1] - u[j])
    least = math.exp(-NEGLIGIBLE)
    below, above, soft = np.zeros(TERMS), np.zeros(TERMS), np.zeros(TERMS)
    p, q = np.empty(TERMS), np.empty(TERMS)
    for j in range(n):
        net[j] = 0.0
    for j in range(1, n):
        # One step from below and one from above: two chains of dependent operations hide each other's latency.
        _powers(decay[j], least, p)
        i = n - 1 - j
        _powers(decay[i + 1], least, q)
        from_below = 0.0
        from_above = 0.0
        for m in range(TERMS):
            f = (below[m] + 1.0) * p[m]
            below[m] = f
            soft[m] += f
            from_below += psi[m] * f
            h = (above[m] + 1.0) * q[m]
            above[m] = h
            from_above += psi[m] * h
        net[j] -= from_below
        net[i] += from_above
    total = 0.0
    for m in range(TERMS):
        total += phi[m] * soft[m]
    return total


@compiled
def _powers(t, least, p):  # type: ignore[no-untyped-def]
    p[0] = t
    if t < least:
        for m in range(1, TERMS):
            p[m] = 0.0
        return
    p[1] = t * t
    for m in range(2):
        p[2 + m] = p[m] * p[1]
    for m in range(4):
        p[4 + m] = p[m] * p[3]
    for m in range(8):
        p[8 + m] = p[m] * p[7]


@compiled
def _tie_groups(g, n, size, slot, member):  # type: ignore[no-untyped-def]
    """Gather the elements that share their rank gap with another.

    Args:
        g: rank gaps of n elements in score order.
        size: zeros; out, number of elements with rank gap v at ``size[v + n]``.
        slot: -1 everywhere; scratch.
        member: out, places of the gathered elements, group after group, in score order inside a group.

    Returns:
        How many were gathered, or -1 if a gap is out of range.
    """
    for j in range(n):
        if g[j] <= -n or g[j] >= n:
            return -1
        size[g[j] + n] += 1
    gathered = 0
    for j in range(n):
        v = g[j] + n
        if size[v] > 1:
            if slot[v] < 0:
                slot[v] = gathered
                gathered += size[v]
            member[slot[v]] = j
            slot[v] += 1
    return gathered


@compiled
def _small_group(u, m, psi, phi, net):  # type: ignore[no-untyped-def]
    """:func:`_net_sums` of a few elements, pair by pair, with the same polynomials."""
    total = 0.0
    for j in range(m):
        net[j] = 0.0
    for j in range(1, m):
        for i in range(j):
            t = math.exp(u[i] - u[j])
            soft = 0.0
            part = 0.0
            for term in range(TERMS - 1, -1, -1):
                part = (part + psi[term]) * t
                soft = (soft + phi[term]) * t
            total += soft
            net[j] -= part
            net[i] += part
    return total
