"""UREM's similarity of a score to every pxtr (Yu et al. 2024): both as gaps, squeezed by tanh."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    reduce_objectives,
)
from emer.ranking import valid_or_all

Scope = Literal["batch", "request"]

NO_SPREAD = 1e-12
"""A standard deviation up to this, or this share (times 10) of the mean, is rounding: values are only centred."""


def urem_similarity_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    scope: Scope = "batch",
    pairs: int | Literal["all"] = "all",
    generator: torch.Generator | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-mean over pairs of tanh((z_i - z_j) / 2) tanh((p_i - p_j) / 2), z and p the standardised score and pxtr.

    In [-1, 1]; the score that is the pxtr, or any rising straight line of it, has -mean tanh^2((p_i - p_j) / 2).
    Mean and standard deviation are constants to the gradient.

    Pairs are those of valid candidates of one request. The public code instead draws 200 places, the same in every
    request, among the first n_min (the shortest request's length), standardises over the drawn values, and pairs the
    draws (1, 2), (3, 4), ..., so that most candidates of longer requests are never drawn and some pairs are one item
    twice.

    Args:
        scores: (..., N).
        targets: (..., N, K) finite; no gradient flows into them.
        weights: broadcastable to (..., K), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        scope: standardise over all valid candidates of the ``batch``, or over each ``request``.
        pairs: ``all``, O(N^2 K) time and O(N K) memory per request, differentiable once; or how many to draw from each
            request, uniformly with replacement, the same for every objective.
        generator: where the draws come from; torch's default if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss; a request with fewer than two candidates contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction``, ``scope`` or ``pairs`` is unknown.
    """
    check_reduction(reduction)
    if scope not in get_args(Scope):
        raise ValueError(f"scope must be one of {', '.join(get_args(Scope))}, not {scope!r}")
    if pairs != "all" and (isinstance(pairs, str) or pairs < 1):
        raise ValueError(f"pairs must be 'all' or at least 1, not {pairs!r}")
    check_columns(targets, scores, "targets")
    rows = merge_leading(valid_or_all(scores, where), 1)
    with torch.autocast(scores.device.type, enabled=False):
        dtype = at_least_float32(scores).dtype
        z = _standardised(merge_leading(scores, 1).unsqueeze(-1), rows, scope).squeeze(-1).to(dtype)
        p = _standardised(merge_leading(targets.detach(), 2), rows, scope).to(dtype)
        similarity = _AllPairs.apply(z, p, rows) if pairs == "all" else _drawn_pairs(z, p, rows, pairs, generator)
        loss = -similarity.masked_fill(rows.sum(dim=-1, keepdim=True) < 2, 0)
        return reduce_objectives(loss.reshape(*scores.shape[:-1], targets.shape[-1]), weights, reduction)


def _standardised(values: Tensor, where: Tensor, scope: Scope) -> Tensor:
    """(R, N, K) float64, 0 on masked places."""
    axes = (0, 1) if scope == "batch" else (1,)
    valid = where.unsqueeze(-1)
    x = torch.where(valid, values, 0).double()
    with torch.no_grad():
        n = valid.sum(dim=axes, keepdim=True).clamp(min=1)
        mean = x.sum(dim=axes, keepdim=True) / n
        deviation = ((x - mean) * valid).square().sum(dim=axes, keepdim=True).div(n).sqrt()
        deviation[deviation <= NO_SPREAD * (1 + 10 * mean.abs())] = 1
    return (x - mean) * valid / deviation


def _drawn_pairs(z: Tensor, p: Tensor, where: Tensor, pairs: int, generator: torch.Generator | None) -> Tensor:
    """(R, K) mean over ``pairs`` pairs of two different valid candidates of each request."""
    n = where.sum(dim=-1, keepdim=True).clamp(min=2)
    order = where.long().argsort(dim=-1, descending=True, stable=True)
    u = torch.rand(2, len(z), pairs, generator=generator, device=z.device, dtype=torch.float64)
    # The product may round up to its bound.
    first = (u[0] * n).long().minimum(n - 1)
    step = 1 + (u[1] * (n - 1)).long().minimum(n - 2)
    second = (first + step) % n
    # With one candidate there is no second place; such requests are dropped by the caller.
    i, j = (order.gather(1, place.clamp(max=z.shape[1] - 1)) for place in (first, second))
    K = p.shape[-1]
    dp = p.gather(1, i.unsqueeze(-1).expand(-1, -1, K)) - p.gather(1, j.unsqueeze(-1).expand(-1, -1, K))
    dz = z.gather(1, i) - z.gather(1, j)
    return (torch.tanh(dz / 2).unsqueeze(-1) * torch.tanh(dp / 2)).mean(dim=1)


class _AllPairs(torch.autograd.Function):
    """(R, K) mean over all pairs, for z (R, N) and p (R, N, K); its gradient is computed on the way."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, p: Tensor, where: Tensor) -> Tensor:
        R, N, K = p.shape
        w = where.to(z.dtype)
        x, y = z / 2, p.permute(2, 0, 1).contiguous() / 2
        total = y.new_zeros(K, R)
        slope = torch.zeros_like(y) if ctx.needs_input_grad[0] else None
        # Pairs at the distance d, of all requests and objectives together: memory stays linear in N.
        for d in range(1, N):
            u = torch.tanh(x[:, d:] - x[:, :-d])
            v = torch.tanh(y[..., d:] - y[..., :-d])
            v *= w[:, d:] * w[:, :-d]
            total += (v * u).sum(dim=-1)
            if slope is not None:
                v *= (1 - u.square()) / 2
                slope[..., d:] += v
                slope[..., :-d] -= v
        n = where.sum(dim=-1)
        pairs = (n * (n - 1) / 2).clamp(min=1).to(z.dtype)
        if slope is not None:
            ctx.save_for_backward(slope / pairs.unsqueeze(-1))
        return (total / pairs).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * gradient.t().unsqueeze(-1)).sum(dim=0), None, None
