"""Pairwise square loss in linear time, exact for two classes and for graded or continuous targets.

Over the P pairs with t_i > t_j among n candidates, whose rank gaps g (:mod:`emer.ranking`) name both the order and
the tie groups, with mu_i the mean score of i's tie group, c_i its size, and scores centred so that sum s_i = 0,

    sum (m - (s_i - s_j))^2 = sum_i (n - c_i)(s_i - mu_i)^2 + n sum_i (mu_i - m g_i / n)^2 + m^2 (P - sum_i g_i^2 / n).

No term is negative, so nothing cancels. The last one is 0 for two classes, where the whole, divided by P, is
Var+ + Var- + (m - (E+ - E-))^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_rank_type,
    check_reduction,
    merge_leading,
    reduce_objectives,
)
from emer.losses.pair_engines import wrong_ranks
from emer.ranking import rank_gap, valid_or_all


def pairwise_square_loss(
    scores: Tensor,
    targets: Tensor | None,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    ranks: Tensor | None = None,
    margin: float = 1.0,
    squash: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean of (margin - (s_i - s_j))^2 over the pairs with t_i > t_j (PSQ of HarmonRank's comparison).

    Pairs with equal targets are left out. Bool targets are two classes and cost O(N); others are sorted, O(N log N),
    unless their ranks are given. Sums are float64.

    Args:
        scores: (..., N).
        targets: (..., N, K) bool, or finite numbers of which only the order counts. May be None if ``ranks`` is given.
        weights: broadcastable to (..., K), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        ranks: (..., N, K) rank gaps of the targets over ``where``; computed here if None.
        margin: m, in units of s.
        squash: s is the sigmoid of the scores, as in the paper; else the scores themselves.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss, differentiable in ``scores``. An objective without a pair contributes 0.

    Raises:
        ValueError: shapes do not fit, ``reduction`` is unknown, neither targets nor ranks are given, or the ranks are
            out of range.
    """
    check_reduction(reduction)
    where = valid_or_all(scores, where)
    gap = _rank_gaps(scores, targets, ranks, where)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(where, scores, 0).double()
        s = merge_leading(s.sigmoid() if squash else s, 1)
        loss = _mean_over_pairs(s, gap, merge_leading(where, 1), margin)
        loss = loss.to(at_least_float32(scores).dtype).reshape(*scores.shape[:-1], gap.shape[-1])
        return reduce_objectives(loss, weights, reduction)


def _rank_gaps(scores: Tensor, targets: Tensor | None, ranks: Tensor | None, where: Tensor) -> Tensor:
    """(R, N, K) int64, 0 on masked places."""
    rows = merge_leading(where, 1)
    n = rows.sum(dim=-1).view(-1, 1, 1)
    valid = rows.unsqueeze(-1)
    if ranks is not None:
        check_columns(ranks, scores, "ranks")
        check_rank_type(ranks)
        gap = merge_leading(ranks, 2).long().masked_fill(~valid, 0)
        wrong = (gap.abs() >= n.clamp(min=1)).any(dim=(1, 2)) | (gap.sum(dim=1) != 0).any(dim=1)
        if bool(wrong.any()):
            raise wrong_ranks(int(wrong.nonzero()[0]))
        return gap
    if targets is None:
        raise ValueError("pairwise_square_loss needs targets or their ranks")
    check_columns(targets, scores, "targets")
    t = merge_leading(targets, 2)
    if t.dtype != torch.bool:
        return rank_gap(t if t.is_floating_point() else t.double(), rows).long()
    positives = (t & valid).sum(dim=1, keepdim=True)
    return torch.where(t, n - positives, -positives).masked_fill(~valid, 0)


def _mean_over_pairs(s: Tensor, gap: Tensor, where: Tensor, margin: float) -> Tensor:
    """(R, K) by the identity of the module's docstring, for s (R, N) float64 and finite everywhere."""
    n = where.sum(dim=-1).view(-1, 1, 1)
    at_least_1 = n.clamp(min=1)
    valid = where.unsqueeze(-1).double()
    s = s.unsqueeze(-1)
    s = (s - (s * valid).sum(dim=1, keepdim=True) / at_least_1) * valid
    # A tie group of size c above a others has the gap 2a + c - n, hence a slot a + c // 2 that no other group has.
    slot = (gap + n).div(2, rounding_mode="floor").masked_fill(~where.unsqueeze(-1), 0)
    nothing = torch.zeros_like(gap, dtype=torch.float64)
    size = nothing.scatter_add(1, slot, valid.expand_as(nothing))
    total = nothing.scatter_add(1, slot, s.expand_as(nothing))
    mean = (total / size.clamp(min=1)).gather(1, slot) * valid
    size = size.gather(1, slot) * valid
    g = gap.double()
    pairs = (n.square() - size.sum(dim=1, keepdim=True)) / 2
    rest = margin**2 * (pairs - g.square().sum(dim=1, keepdim=True) / at_least_1)
    within = ((n - size) * (s - mean).square()).sum(dim=1, keepdim=True)
    between = n * (mean - margin * g / at_least_1).square().sum(dim=1, keepdim=True)
    return ((within + between + rest) / pairs.clamp(min=1)).masked_fill(pairs == 0, 0).squeeze(1)
