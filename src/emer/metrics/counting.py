"""The compiled way to count pairs, for :mod:`emer.metrics.concordance`, and what it needs: values as small numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TILE = 1 << 16
"""Target values sorted at a time: their keys, 8 bytes each, stay in the processor's cache."""

DENSE = 4
"""Integers are counted instead of sorted if their range is at most this many times the number of candidates."""


def count_pairs(scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
    """(B, K, 5) int64 pairs of valid candidates, in the order of :class:`emer.metrics.concordance.PairCounts`.

    Scores are sorted once per request, targets once per objective, or not at all where they are integers of a small
    range, as rank gaps are; then an objective costs one pass over its candidates.

    Args:
        scores: (B, N), on the CPU, without NaN at valid candidates.
        targets: (B, N, K), likewise.
        where: (B, N, 1) or (B, N, K) bool.
    """
    # Here, since importing Numba takes seconds.
    from emer.kernels.concordance import COUNTS, count_integers, count_sorted, pack_targets
    from emer.kernels.runtime import run_rows
    from emer.kernels.sorting import sorted_positions

    B, N, K = targets.shape
    out = np.zeros((B, K, COUNTS), np.int64)
    if out.size == 0 or N == 0:
        return torch.from_numpy(out)
    t, low, span = _integers(targets)
    s, valid = float_order(scores), where.contiguous().numpy()
    anywhere = where.any(dim=-1).numpy()
    step = max(1, TILE // (N * K)) if span is None else B

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, step):
            z = min(a + step, stop)
            order, count = sorted_positions(s[a:z], anywhere[a:z])
            if span is None:
                keys = np.empty((z - a, K, N), np.int64)
                bits = t[a:z].view(np.int32)
                pack_targets(s[a:z], order, count, bits, t.dtype == np.float32, valid[a:z], keys)
                keys.sort(axis=-1)
                count_sorted(s[a:z], order, count, keys, valid[a:z], out[a:z])
            else:
                count_integers(s[a:z], order, count, t[a:z], valid[a:z], low, span, out[a:z])

    run_rows(work, B, targets.numel())
    return torch.from_numpy(out)


def float_order(values: Tensor) -> np.ndarray:
    """(B, N) float32 that compare like ``values`` within a row; float64 for rows too long for that.

    What float32 cannot hold is replaced by its place in the order of its row.
    """
    values = values.detach()
    if (narrow := _as_float32(values)) is not None:
        return narrow.contiguous().numpy()
    return _levels(values.contiguous().numpy()).astype(np.float32 if values.shape[-1] <= 1 << 24 else np.float64)


def _integers(targets: Tensor) -> tuple[np.ndarray, int, int | None]:
    """(values, low, span): (B, N, K) values that compare like ``targets`` within a request and objective.

    They are int16 or int32 within [low, low + span), or, with span None, float32 or int32 to be sorted.
    """
    targets = targets.detach()
    N = targets.shape[1]
    if targets.is_floating_point():
        if (narrow := _as_float32(targets)) is not None:
            return narrow.contiguous().numpy(), 0, None
    else:
        least, most = (int(x) for x in targets.to(_signed(targets.dtype)).aminmax())
        span = most - least + 1
        if span <= DENSE * N:
            if targets.dtype not in (torch.int16, torch.int32):
                targets, least = (targets.to(_signed(targets.dtype)) - least).to(torch.int32), 0
            return targets.contiguous().numpy(), least, span
        if _signed(targets.dtype) != torch.int64:
            return targets.to(torch.int32).contiguous().numpy(), 0, None
    levels = _levels(targets.transpose(1, 2).contiguous().numpy())
    return np.ascontiguousarray(levels.transpose(0, 2, 1)), 0, N


def _as_float32(values: Tensor) -> Tensor | None:
    """``values`` in float32 if that changes none of them."""
    if values.dtype in (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16):
        return values.float()
    narrow = values.float()
    return narrow if bool((narrow.to(values.dtype) == values).all()) else None


def _signed(dtype: torch.dtype) -> torch.dtype:
    """A signed type that holds the integers of ``dtype``."""
    return torch.int32 if dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32) else torch.int64


def _levels(values: np.ndarray) -> np.ndarray:
    """int32 numbers, 0 for the least, of the distinct values along the last axis."""
    order = values.argsort(axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    level = np.zeros(values.shape, np.int32)
    np.cumsum(ordered[..., 1:] != ordered[..., :-1], axis=-1, out=level[..., 1:])
    result = np.empty_like(level)
    np.put_along_axis(result, order, level, axis=-1)
    return result
