"""Pairs of candidates that two orders agree on, disagree on or leave tied, counted exactly; rank sums for the AUC.

One request and objective of n candidates costs O(n log n), and O(n) where its targets are integers of a small range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from emer.kernels.runtime import compiled

COUNTS = 5
"""Length of the last axis of ``out``: concordant, discordant, tied in the score only, in the target only, in both."""

BLOCK = 8
"""Words of a block of :func:`_slot_set`: its running counts are one vector register, which a load after the store
gets without waiting for memory."""

LATER = np.triu(np.ones((BLOCK, BLOCK), np.uint16), 1)
"""``LATER[w]`` adds 1 to the running counts of the words after w."""

LAST = np.int64(0x7FFFFFFFFFFFFFFF)


@compiled
def count_integers(scores, order, count, targets, where, low, span, out):  # type: ignore[no-untyped-def]
    """Count pairs for integer targets, without sorting them.

    Args:
        scores: (B, N) float.
        order, count: as :func:`emer.kernels.sorting.sorted_positions` returns them, for every candidate that is valid
            for some objective.
        targets: (B, N, K) integers in [low, low + span).
        where: (B, N, 1) or (B, N, K) bool.
        out: (B, K, COUNTS) int64.
    """
    N, K = targets.shape[1], targets.shape[2]
    item, level, slot, end = _scratch(N)
    value, fill = np.empty(N, np.int32), np.empty(span, np.int32)
    bits, below, blocks = _slot_set(N)
    n = tied_score = 0
    for b in range(len(order)):
        for k in range(K):
            if k == 0 or where.shape[2] > 1:
                n, tied_score = _by_score(scores[b], order[b], count[b], where[b], k, item, level)
            fill[:] = 0
            for j in range(n):
                offset = np.int64(targets[b, np.uint64(item[j]), k]) - low
                value[j] = offset
                fill[np.uint64(offset)] += 1
            first = 0
            tied_target = 0
            for v in range(span):
                size = int(fill[v])
                fill[v] = first
                first += size
                tied_target += size * (size - 1)
            tied_target //= 2
            for j in range(n):
                own = np.uint64(value[j])
                slot[j] = fill[own]
                fill[own] += 1
            # A filled value's next free slot is its end.
            for j in range(n):
                end[np.uint64(slot[j])] = fill[np.uint64(value[j])]
            tied_both = 0
            if tied_score > 0:
                tied_both = _arrange_ties(slot, end, level, n)
            discordant = _discordant(slot, end, n, bits, below, blocks)
            _store(out[b, k], n, discordant, tied_score, tied_target, tied_both)


@compiled
def pack_targets(scores, order, count, bits, floats, where, keys):  # type: ignore[no-untyped-def]
    """Keys that sort like the targets and carry the place in the order of the score, for :func:`count_sorted`.

    Args:
        scores, order, count, where: as in :func:`count_integers`.
        bits: (B, N, K) int32: the targets, or the bits of float32 targets.
        floats: which of the two.
        keys: out, (B, K, N) int64; the candidates valid for the objective first, :data:`LAST` after them.
    """
    N, K = bits.shape[1], bits.shape[2]
    item, level, _, _ = _scratch(N)
    n = 0
    for b in range(len(order)):
        for k in range(K):
            if k == 0 or where.shape[2] > 1:
                n, _ = _by_score(scores[b], order[b], count[b], where[b], k, item, level)
            row = keys[b, k]
            for j in range(n):
                key = np.int64(bits[b, np.uint64(item[j]), k])
                if floats and key < 0:
                    key = np.int64(-2147483648) - key  # a float's bits are its magnitude and a sign
                row[j] = (key << 32) | j
            row[n:] = LAST


@compiled
def count_sorted(scores, order, count, keys, where, out):  # type: ignore[no-untyped-def]
    """Count pairs from the keys of :func:`pack_targets`, sorted along their last axis."""
    K, N = keys.shape[1], keys.shape[2]
    item, level, slot, end = _scratch(N)
    bits, below, blocks = _slot_set(N)
    n = tied_score = 0
    for b in range(len(order)):
        for k in range(K):
            if k == 0 or where.shape[2] > 1:
                n, tied_score = _by_score(scores[b], order[b], count[b], where[b], k, item, level)
            row = keys[b, k]
            tied_target = 0
            a = 0
            for i in range(n):
                slot[np.uint64(row[i] & 0xFFFFFFFF)] = i
                if i + 1 == n or row[i] >> 32 != row[i + 1] >> 32:
                    size = i + 1 - a
                    tied_target += size * (size - 1) // 2
                    for x in range(a, i + 1):
                        end[x] = i + 1
                    a = i + 1
            tied_both = 0
            if tied_score > 0:
                tied_both = _arrange_ties(slot, end, level, n)
            discordant = _discordant(slot, end, n, bits, below, blocks)
            _store(out[b, k], n, discordant, tied_score, tied_target, tied_both)


@compiled
def _scratch(N):  # type: ignore[no-untyped-def]
    return np.empty(N, np.int32), np.empty(N, np.int32), np.empty(N, np.int32), np.empty(N, np.int32)


@compiled
def _by_score(scores, order, count, where, k, item, level):  # type: ignore[no-untyped-def]
    """Fill ``item`` with the candidates valid for objective k, lowest score first, ``level`` with a number per score.

    Returns:
        (their number, pairs among them with equal scores).
    """
    n = tied = run = 0
    for j in range(count):
        i = order[j] & 0xFFFFFFFF
        if where[i, k]:
            item[n] = i
            level[n] = 0
            if n > 0:
                same = scores[i] == scores[item[n - 1]]
                level[n] = level[n - 1] + (not same)
                run = run + 1 if same else 0
                tied += run
            n += 1
    return n, tied


@compiled
def _arrange_ties(slot, end, level, n):  # type: ignore[no-untyped-def]
    """Sort the slots of each score by the target, so that no pair of them looks discordant.

    Args:
        slot: place of each candidate, taken in the order of the score, in the order of the targets.
        end: for each slot, the first slot with a larger target.
        level: equal where the score is.

    Returns:
        The number of pairs with equal scores and equal targets.
    """
    pairs = 0
    a = 0
    while a < n:
        e = a + 1
        while e < n and level[e] == level[a]:
            e += 1
        if e - a > 1:
            slot[a:e].sort()
            run = 0
            for j in range(a + 1, e):
                run = run + 1 if end[slot[j]] == end[slot[j - 1]] else 0
                pairs += run
        a = e
    return pairs


@compiled
def _discordant(slot, end, n, bits, below, blocks):  # type: ignore[no-untyped-def]
    """Pairs of which the second in ``slot`` has the smaller target.

    Args:
        slot, end: as :func:`_arrange_ties` leaves them.
        bits, below, blocks: as :func:`_slot_set` makes them.
    """
    bits[:] = 0
    below[:] = 0
    blocks[:] = 0
    pairs = 0
    # Unsigned numbers as indices spare the test for negative ones.
    one, in_word, in_block = np.uint64(1), np.uint64(63), np.uint64(BLOCK - 1)
    for j in range(n):
        s = np.uint64(slot[j])
        q = np.uint64(end[s])
        w = q >> np.uint64(6)
        not_larger = np.int64(below[w]) + _popcount(bits[w] & ((one << (q & in_word)) - one))
        i = w // np.uint64(BLOCK)
        while i > 0:
            not_larger += blocks[i]
            i &= i - one
        pairs += j - not_larger
        w = s >> np.uint64(6)
        bits[w] |= one << (s & in_word)
        first = w & ~in_block
        for x in range(BLOCK):
            below[first + np.uint64(x)] += LATER[w & in_block, np.uint64(x)]
        i = w // np.uint64(BLOCK) + one
        while i < np.uint64(len(blocks)):
            blocks[i] += 1
            i += i & (~i + one)
    return pairs


@compiled
def _slot_set(N):  # type: ignore[no-untyped-def]
    """Memory of a set of slots 0 to N: (its bits, elements in earlier words of the block, Fenwick tree over blocks).

    How many elements are below a slot is then one running count, one popcount, and log2(N / 512) steps of the tree.
    """
    blocks = N // (64 * BLOCK) + 1
    return np.empty(blocks * BLOCK, np.uint64), np.empty(blocks * BLOCK, np.uint16), np.empty(blocks, np.int64)


@compiled
def positive_rank_sums(scores, order, labels, positives, sums):  # type: ignore[no-untyped-def]
    """For each label, the number of positives and the sum of twice their average ranks, from 1 for the lowest score.

    Args:
        scores: (T,) float.
        order: (T,), the positions in ascending order in their lower 32 bits.
        labels: (T, M) bool.
        positives, sums: out, (M,) int64.
    """
    T, M = labels.shape
    positives[:] = 0
    sums[:] = 0
    a = 0
    while a < T:
        score = scores[order[a] & 0xFFFFFFFF]
        e = a + 1
        while e < T and scores[order[e] & 0xFFFFFFFF] == score:
            e += 1
        for j in range(a, e):
            i = order[j] & 0xFFFFFFFF
            for m in range(M):
                if labels[i, m]:
                    positives[m] += 1
                    sums[m] += a + e + 1
        a = e


@compiled
def _store(out, n, discordant, tied_score, tied_target, tied_both):  # type: ignore[no-untyped-def]
    out[0] = n * (n - 1) // 2 - tied_score - tied_target + tied_both - discordant
    out[1] = discordant
    out[2] = tied_score - tied_both
    out[3] = tied_target - tied_both
    out[4] = tied_both


def _bits_set(typing_context, value):  # type: ignore[no-untyped-def]
    """Number of bits set."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


_popcount: Any = intrinsic(_bits_set)
