"""Pairwise logistic loss over every objective of a request, for the price of about one.

With d = s_i - s_j and y = 1[t_i > t_j], RankNet's loss of an ordered pair is softplus(d) - y d. Summed over
both orders of {i, j} it is |d| + 2 log(1 + exp(-|d|)) - sign(t_i - t_j) d: only the sign term knows the
objective, and it sums to a dot product of scores and rank gaps (:mod:`emer.ranking`). So K objectives share
one N x N matrix, and each costs N more:

    2 L_k = sum_i (r_i - g_ik)(s_i - c) + 2 sum_{i<j} log(1 + exp(-|s_i - s_j|))

with r the rank gap of the scores, g_k that of objective k and any constant c. (r - g) are exact integers that
vanish where the orders agree, so nothing cancels in floating point. Pairs tied in t are then taken out.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from emer.ranking import rank_gap

Ties = Literal["exclude", "half"]
Reduction = Literal["mean", "none", "per_objective"]


def pairwise_logistic_loss(
    scores: Tensor,
    targets: Tensor | None,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    ranks: Tensor | None = None,
    ties: Ties = "exclude",
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean pairwise logistic loss of each objective (EMER eq. 2-5 with resolutions A1-A3 and A5).

    Per request and objective, the mean over its valid pairs {i, j} of softplus(-(s_i - s_j)), i being the one
    with the larger target. An objective without a valid pair contributes 0 and stays in the mean over K.

    Args:
        scores: (B, N) any finite scores; half precision is computed in float32.
        targets: (B, N, K), finite; only their order inside a request matters. May be None if ``ranks`` is given.
        weights: (B, K) non-negative factor of each objective's loss; 1 if None.
        where: (B, N) bool, True for the candidates that take part; all if None.
        ranks: (B, N, K) rank gaps of ``targets`` over ``where``; computed here if None.
        ties: ``exclude`` drops pairs with equal targets. ``half`` gives them the label 1/2, which is what the
            printed formula amounts to when it is summed over ordered pairs.
        reduction: ``mean`` over requests and objectives (a scalar), ``none`` over objectives only (B,), or
            ``per_objective`` not at all (B, K).

    Returns:
        The reduced loss, differentiable in ``scores``.

    Raises:
        ValueError: neither targets nor ranks are given, or ``ties`` or ``reduction`` is unknown.
    """
    if ties not in ("exclude", "half"):
        raise ValueError(f"ties must be 'exclude' or 'half', not {ties!r}")
    if reduction not in ("mean", "none", "per_objective"):
        raise ValueError(f"reduction must be 'mean', 'none' or 'per_objective', not {reduction!r}")
    if where is None:
        where = torch.ones_like(scores, dtype=torch.bool)
    if ranks is None:
        if targets is None:
            raise ValueError("pairwise_logistic_loss needs targets or their ranks")
        ranks = rank_gap(targets, where)
    with torch.autocast(scores.device.type, enabled=False):
        s = scores if scores.dtype == torch.float64 else scores.float()
        per_objective = _mean_pair_loss(s, ranks, where, ties)
        if weights is not None:
            per_objective = per_objective * weights.to(per_objective.dtype)
    if reduction == "per_objective":
        return per_objective
    per_request = per_objective.mean(dim=-1)
    return per_request if reduction == "none" else per_request.mean()


def pair_count(ranks: Tensor, where: Tensor) -> Tensor:
    """(B, K) int64: number of unordered pairs of candidates whose targets differ.

    Args:
        ranks: (B, N, K) rank gaps over ``where``.
        where: (B, N) bool.
    """
    n = where.sum(dim=-1)
    big = torch.iinfo(torch.int32).max
    gap = ranks.to(torch.int32).masked_fill(~where.unsqueeze(-1), big).transpose(1, 2).contiguous()
    ordered = gap.sort(dim=-1).values
    group = torch.searchsorted(ordered, gap, right=True) - torch.searchsorted(ordered, gap)
    tied = ((group - 1) * where.unsqueeze(1)).sum(dim=-1)
    return ((n * (n - 1)).unsqueeze(-1) - tied) // 2


def _mean_pair_loss(s: Tensor, ranks: Tensor, where: Tensor, ties: Ties) -> Tensor:
    """(B, K) mean over valid pairs, by the identity of the module's docstring."""
    centre = s.detach().masked_fill(~where, 0).sum(-1, keepdim=True) / where.sum(-1, keepdim=True).clamp(min=1)
    s = torch.where(where, s - centre, 0)
    score_gap = rank_gap(s.detach().unsqueeze(-1), where)
    linear = ((score_gap - ranks).to(s.dtype) * s.unsqueeze(-1)).sum(dim=1)
    # The diagonal is no pair.
    both = where.unsqueeze(2) & where.unsqueeze(1) & ~torch.eye(s.shape[1], dtype=torch.bool, device=s.device)
    difference = s.unsqueeze(2) - s.unsqueeze(1)
    # Over ordered pairs, hence already twice the sum over i < j.
    soft = F.softplus(-difference.abs()).masked_fill(~both, 0)
    double_sum = linear + soft.sum(dim=(1, 2)).unsqueeze(-1)
    if ties == "half":
        n = where.sum(-1)
        pairs = (n * (n - 1) // 2).unsqueeze(-1)
    else:
        pairs = pair_count(ranks, where)
        double_sum = double_sum - _tied_sum(difference, soft, ranks, both, where, pairs)
    # Without a pair the sums cancel only up to rounding.
    return (double_sum / (2 * pairs.clamp(min=1))).masked_fill(pairs == 0, 0)


def _tied_sum(difference: Tensor, soft: Tensor, ranks: Tensor, both: Tensor, where: Tensor, pairs: Tensor) -> Tensor:
    """(B, K) what pairs tied in the target added: sum over i < j of |d| + 2 log(1 + exp(-|d|))."""
    n = where.sum(-1)
    has_ties = pairs < (n * (n - 1) // 2).unsqueeze(-1)
    tied_sum = torch.zeros_like(pairs, dtype=difference.dtype)
    if not bool(has_ties.any()):
        return tied_sum
    pair_term = difference.abs() / 2 + soft
    columns = []
    for k in range(ranks.shape[-1]):
        gap = ranks[..., k]
        tied = (gap.unsqueeze(2) == gap.unsqueeze(1)) & both & has_ties[:, k].view(-1, 1, 1)
        columns.append(pair_term.masked_fill(~tied, 0).sum(dim=(1, 2)))
    return torch.stack(columns, dim=-1)
