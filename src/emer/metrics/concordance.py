"""Concordance AUC: how well a score orders the candidates of a request by a target, binary or continuous."""

from __future__ import annotations

import torch
from torch import Tensor

_TILE = 1 << 19
"""Target values (requests x objectives x candidates) worked on at a time; the working memory is a few of
these.
"""


@torch.no_grad()
def concordance_auc(scores: Tensor, targets: Tensor, *, where: Tensor | None = None) -> Tensor:
    """Fraction of a request's pairs that the score orders as the target does (methods 0.2, A23).

    Over the pairs i < j with t_i != t_j:  AUC = (#concordant + #tied in score / 2) / #pairs.
    For a binary target this is the ordinary AUC; for a continuous one without ties it is (Kendall's tau + 1)
    / 2. Pairs tied in the target are left out. Only order counts, so rank gaps do as well as the values they
    rank.

    Args:
        scores: (B, N), float32 or float64, without NaN at valid candidates.
        targets: (B, N, K), any real type, finite at valid candidates.
        where: bool, (B, N) or broadcastable to (B, N, K): the valid candidates. All if None.

    Returns:
        (B, K) float64 (an exact ratio of counts); NaN where no pair of valid candidates differs in the
        target.
    """
    B, N, K = targets.shape
    if where is None:
        where = torch.ones_like(scores, dtype=torch.bool)
    valid = where.unsqueeze(-1) if where.dim() == 2 else where.expand(B, N, where.shape[-1])
    step = max(1, _TILE // max(1, N * K))
    tiles = [_tile(scores[b : b + step], targets[b : b + step], valid[b : b + step]) for b in range(0, B, step)]
    return torch.cat(tiles) if tiles else scores.new_empty((0, K), dtype=torch.float64)


def _tile(scores: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """AUCs (b, K) of one tile; ``valid`` is (b, N, 1) or (b, N, K).

    With the candidates sorted best first, a pair d places apart is concordant if the earlier target is
    larger, so one pass per distance d compares every such pair of every request and objective, without an N x
    N matrix.
    """
    targets = targets.to(_exact_float(targets.dtype))
    score, order = scores.sort(dim=-1, descending=True, stable=True)
    by_rank = order.unsqueeze(-1)
    # Candidates last, so that a shift is a contiguous slice.
    target = targets.gather(1, by_rank.expand_as(targets)).transpose(1, 2).contiguous()  # (b, K, N)
    keep = valid.gather(1, by_rank.expand_as(valid)).transpose(1, 2)
    # Padding may hold anything, and torch does not say what the sign of inf - inf is.
    target.masked_fill_(~keep, 0)
    keep = keep.to(target.dtype).contiguous()
    score = score.unsqueeze(1)
    net = torch.zeros_like(target)
    pairs = torch.zeros_like(target)
    for d in range(1, target.shape[-1]):
        sign = (target[..., :-d] - target[..., d:]).sign_()
        sign.mul_(keep[..., :-d] * keep[..., d:])
        pairs[..., :-d] += sign.abs()
        net[..., :-d] += sign.mul_((score[..., :-d] != score[..., d:]).to(sign.dtype))
    count = pairs.sum(dim=-1, dtype=torch.float64)
    # 0 / 0 = NaN where there is no pair to order.
    return (count + net.sum(dim=-1, dtype=torch.float64)) / (2 * count)


def _exact_float(dtype: torch.dtype) -> torch.dtype:
    """A float type that holds every value of ``dtype``."""
    wide = {torch.float64, torch.int32, torch.int64}
    return torch.float64 if dtype in wide else torch.float32
