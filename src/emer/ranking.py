"""Ranks inside a request: written once, used by features, losses and metrics.

The stored form is the integer **rank gap** of candidate i for one objective,

    g_i = #{j : p_j < p_i} - #{j : p_j > p_i}      over the n valid candidates of its request.

It is exact under ties (a tie group shares the average rank), independent of padding, and everything else
follows from it: average rank = (n + 1 - g) / 2 with 1 = best, NormalizedRank = (n + 1 - g) / (2n) in (0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MAX_CANDIDATES = 32_768
"""Largest request whose rank gaps fit into int16 (|g| <= n - 1)."""


def valid_or_all(scores: Tensor, where: Tensor | None) -> Tensor:
    """``where``, or all True in the shape of ``scores``.

    Raises:
        ValueError: the shapes differ, or ``where`` is not bool.
    """
    if where is None:
        return torch.ones_like(scores, dtype=torch.bool)
    if where.dtype != torch.bool:
        raise ValueError(f"where must be bool, not {where.dtype}")
    if where.shape != scores.shape:
        raise ValueError(f"where has shape {tuple(where.shape)}, the scores have {tuple(scores.shape)}")
    return where


def rank_gap(values: Tensor, where: Tensor) -> Tensor:
    """Rank gap g of every candidate for every objective.

    Args:
        values: (B, N, K) finite values, larger is better. Integers are compared as float64.
        where: (B, N) bool, True for a real candidate.

    Returns:
        (B, N, K) int32, 0 on padding.

    Raises:
        ValueError: ``values`` has not three axes, or ``where`` is not bool or not their first two.
    """
    if values.dim() != 3:
        raise ValueError(f"values have shape {tuple(values.shape)}, expected (B, N, K)")
    where = valid_or_all(values[..., 0] if values.shape[2] else values.new_zeros(values.shape[:2]), where)
    if not values.is_floating_point():
        values = values.double()
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        # Here, since importing Numba takes seconds. About 10 times as fast as the sorts below.
        from emer.kernels.sorting import rank_gaps

        B, N, K = values.shape
        rows = values.detach().transpose(1, 2).reshape(B * K, N).contiguous()
        valid = where.unsqueeze(1).expand(B, K, N).reshape(B * K, N)
        gaps = rank_gaps(rows.numpy(), valid.contiguous().numpy())
        return torch.from_numpy(gaps).view(B, K, N).transpose(1, 2).contiguous()
    filled = values.masked_fill(~where.unsqueeze(-1), torch.inf).transpose(1, 2).contiguous()  # (B, K, N)
    ordered = filled.sort(dim=-1).values
    smaller = torch.searchsorted(ordered, filled)
    not_larger = torch.searchsorted(ordered, filled, right=True)
    n = where.sum(dim=-1).view(-1, 1, 1)
    gap = (smaller + not_larger - n).transpose(1, 2)
    return gap.masked_fill(~where.unsqueeze(-1), 0).to(torch.int32)


def rank_gap_ragged(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rank gap g for requests stored back to back.

    Args:
        values: (T,) finite values of all requests' candidates; float32 is about ten times as fast as others.
        offsets: (R + 1,) int; request r owns ``values[offsets[r]:offsets[r + 1]]``.

    Returns:
        (T,) int16.

    Raises:
        ValueError: a request has more than :data:`MAX_CANDIDATES` candidates.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    lengths = np.diff(offsets)
    if lengths.size and lengths.max() > MAX_CANDIDATES:
        raise ValueError(f"a request has {lengths.max()} candidates, more than {MAX_CANDIDATES}")
    if values.size == 0:
        return np.zeros(0, dtype=np.int16)
    request = np.repeat(np.arange(lengths.size), lengths)
    key = (request.astype(np.uint64) << np.uint64(32)) | _order_code(values)
    order = np.argsort(key)
    ordered_key, ordered_request = key[order], request[order]
    new_group = np.empty(values.size, dtype=bool)
    new_group[0] = True
    new_group[1:] = ordered_key[1:] != ordered_key[:-1]
    first = np.flatnonzero(new_group)
    group = np.cumsum(new_group) - 1
    end = np.append(first[1:], values.size)
    # In slots of the whole array, a tie group [first, end) of the request [start, stop) has
    # #smaller = first - start and #larger = stop - end.
    both_ends = offsets[:-1] + offsets[1:]
    gap = np.empty(values.size, dtype=np.int16)
    gap[order] = (first + end)[group] - both_ends[ordered_request]
    return gap


def _order_code(values: np.ndarray) -> np.ndarray:
    """(T,) uint32 that compare like ``values``; equal values (0.0 and -0.0 too) get equal codes."""
    if values.dtype != np.float32:
        return np.unique(values, return_inverse=True)[1].astype(np.uint32)
    bits = (values + np.float32(0.0)).view(np.uint32)  # -0.0 + 0.0 = 0.0
    # IEEE bits sort like the numbers once negative ones are flipped and positive ones lifted above them.
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def normalized_rank(gap: Tensor, where: Tensor) -> Tensor:
    """NormalizedRank = average rank / n (EMER, section on rank features): 1/n for the best, 1 for the worst.

    Args:
        gap: (B, N, K) rank gaps.
        where: (B, N) bool.

    Returns:
        (B, N, K) float32 in (0, 1], 0 on padding.
    """
    n = where.sum(dim=-1).clamp(min=1).view(-1, 1, 1)
    rank = (n + 1 - gap) / (2 * n)
    return rank.masked_fill(~where.unsqueeze(-1), 0.0).to(torch.float32)


def descending_order(scores: Tensor, where: Tensor) -> Tensor:
    """Indices (B, N) that sort each request's candidates best first, padding last, ties by position."""
    return scores.masked_fill(~where, -torch.inf).argsort(dim=-1, descending=True, stable=True)
