"""Soft rank with tensor operations, on any device; :mod:`emer.losses.soft_rank` has the equations."""

from __future__ import annotations

import torch
from torch import Tensor


def scales(scores: Tensor, where: Tensor, strength: float, floor: float) -> Tensor:
    """(B,) float64 strength / n * max(sd, floor * max(1, max |s|)) over each row's n valid scores.

    Raises:
        ValueError: a row's standard deviation is not finite.
    """
    s = scores.double().masked_fill(~where, 0)
    n = where.sum(dim=1, keepdim=True).clamp(min=1)
    deviation = (s - s.sum(dim=1, keepdim=True) / n).masked_fill(~where, 0).square().sum(dim=1).div(n[:, 0]).sqrt()
    wrong = ~deviation.isfinite()
    if bool(wrong.any()):
        raise not_finite(int(wrong.nonzero()[0]))
    largest = torch.cat([s.new_ones(len(s), 1), s.abs()], dim=1).amax(dim=1)
    return strength * torch.maximum(deviation, floor * largest) / n[:, 0]


def ranks_and_blocks(scores: Tensor, where: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """Soft ranks and blocks by pooling every maximal run of violators at once, round after round.

    Neighbours that violate the order share a block in the solution, whatever else happens, so whole runs may be merged.
    Rounds work on the blocks that are left; adversarial rows need up to N rounds.

    Args:
        scores: (B, N) float32 or float64, finite where valid.
        where: (B, N) bool.
        epsilon: (B,) float64, positive.

    Returns:
        (rank, block): (B, N) in the scores' type, 0 on padding; (B, N) int32, where in its row's ascending order the
        block of each candidate starts, N on padding.
    """
    B, N = scores.shape
    rank = torch.zeros_like(scores)
    block = torch.full((B, N), N, dtype=torch.int32, device=scores.device)
    n = where.sum(dim=1)
    u, order = scores.double().masked_fill(~where, torch.inf).sort(dim=1)
    row, slot = (torch.arange(N, device=scores.device) < n.unsqueeze(1)).nonzero(as_tuple=True)
    if len(row) == 0:
        return rank, block
    centre = u.gather(1, (n // 2).clamp(max=N - 1).unsqueeze(1)).squeeze(1)
    u, place, step = u[row, slot] - centre[row], order[row, slot], epsilon[row]
    start = torch.arange(len(u), device=u.device)
    total = u
    while True:
        size = torch.diff(start, append=start.new_tensor([len(u)]))
        mean = total / size
        violates = (torch.diff(mean) < step[start[1:]] / 2 * (size[1:] + size[:-1])) & (torch.diff(row[start]) == 0)
        kept = torch.cat([violates.new_ones(1), ~violates])
        joint = start[kept]
        if len(joint) == len(start):
            break
        total = total.new_zeros(len(joint)).index_add_(0, kept.cumsum(0) - 1, total)
        start = joint
    of = torch.arange(len(start), device=u.device).repeat_interleave(size)
    rise = u - u[start][of]
    rise -= (total.new_zeros(len(start)).index_add_(0, of, rise) / size)[of]
    first = slot[start]
    mean_rank = (2 * first + size + 1) / 2.0
    rank[row, place] = (mean_rank[of] + rise / step).to(rank.dtype)
    block[row, place] = first[of].int()
    return rank, block


def gradient(of_ranks: Tensor, block: Tensor, epsilon: Tensor) -> Tensor:
    """(B, N) derivative by the scores: (g - mean of g over the candidate's block) / epsilon, 0 where ``block`` is N."""
    B, N = block.shape
    padding = block == N
    g = of_ranks.double().masked_fill(padding, 0)
    index = block.long()
    total, size = (
        g.new_zeros(B, N + 1).scatter_add_(1, index, values).gather(1, index) for values in (g, torch.ones_like(g))
    )
    return ((g - total / size) / epsilon.unsqueeze(1)).masked_fill(padding, 0).to(of_ranks.dtype)


def not_finite(row: int) -> ValueError:
    """The error for scores without a standard deviation."""
    return ValueError(f"scores of request {row} are NaN, infinite, or too large for their variance in float64")
