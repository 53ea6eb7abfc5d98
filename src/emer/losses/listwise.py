"""Losses of whole lists: ListNet's cross-entropy, and LambdaRank's pairs weighted by what a swap does to NDCG@k."""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    reduce_objectives,
)
from emer.losses.weighted_pairs import weighted_pair_sum
from emer.ranking import descending_order, valid_or_all


def listnet_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-sum_i softmax(t)_i log softmax(s)_i, the top-1 cross-entropy of ListNet (Cao et al. 2007). O(N K).

    Args:
        scores: (..., N).
        targets: (..., N, K) finite, in units in which a difference of 1 makes one candidate e times as likely.
        weights: broadcastable to (..., K), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss; a request with fewer than two candidates contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(targets, scores, "targets")
    where = valid_or_all(scores, where)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(where, at_least_float32(scores), 0)
        lowest = torch.finfo(s.dtype).min
        # Masked places have the probability 0; their logarithm, perhaps -inf, is not used.
        log_share = torch.where(where, s.masked_fill(~where, lowest).log_softmax(dim=-1), 0)
        t = targets.to(s.dtype).masked_fill(~where.unsqueeze(-1), lowest)
        loss = -(t.softmax(dim=-2) * log_share.unsqueeze(-1)).sum(dim=-2)
        return reduce_objectives(loss, weights, reduction)


def lambdarank_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    k: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """sum over pairs with t_i > t_j of |delta NDCG@k_ij| softplus(-(s_i - s_j)): LambdaRank as a loss (Wang 2018).

    |delta NDCG@k_ij| = (t_i - t_j) |1 / log2(1 + r_i) - 1 / log2(1 + r_j)| / DCG@k of the best order is what swapping i
    and j changes, r being places by the present scores and the discount 0 beyond k. It is constant to the gradient.
    Conventions as in :mod:`emer.metrics.topk`: the gain is the value, ties go by position. The sum is not divided by
    the number of pairs, the weights being shares already.

    Args:
        scores: (..., N).
        targets: (..., N, K) gains, finite and >= 0.
        weights: broadcastable to (..., K), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        k: length of the list; all candidates if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss, differentiable once in ``scores``; an objective without a positive gain contributes 0.
        O(N^2 K) time, memory as :func:`emer.losses.weighted_pairs.weighted_pair_sum`.

    Raises:
        ValueError: shapes do not fit, a gain is negative, ``k`` is below 1, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(targets, scores, "targets")
    if k is not None and k < 1:
        raise ValueError(f"k is {k}; a list has at least 1 place")
    valid = merge_leading(valid_or_all(scores, where), 1)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(valid, merge_leading(at_least_float32(scores), 1), 0)
        gain = merge_leading(targets, 2).detach().to(s.dtype).masked_fill(~valid.unsqueeze(-1), 0)
        if bool((gain < 0).any()):
            raise ValueError("targets has a negative value; NDCG needs gains of at least 0")
        K = gain.shape[-1]
        by_place = _discounts(s, k)
        order = descending_order(s.detach(), valid)
        discount = torch.zeros_like(s).scatter_(1, order, by_place.expand_as(s))
        ideal = (gain.sort(dim=1, descending=True).values * by_place.unsqueeze(-1)).sum(dim=1)
        share = (gain / torch.where(ideal > 0, ideal, 1).unsqueeze(1)).permute(2, 0, 1).contiguous()
        both = valid.to(s.dtype)

        def swap(rows: slice, firsts: slice, objective: int) -> Tensor:
            g, d = share[objective, rows], discount[rows]
            change = (g[:, firsts, None] - g[:, None]).clamp_(min=0)
            change *= (d[:, firsts, None] - d[:, None]).abs_()
            return change.mul_(both[rows, None])

        loss = weighted_pair_sum(s, swap, K).view(*scores.shape[:-1], K)
        return reduce_objectives(loss, weights, reduction)


def _discounts(scores: Tensor, k: int | None) -> Tensor:
    """(N,) 1 / log2(1 + place), 0 beyond k."""
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    discount = 1 / torch.log2(place + 1)
    return discount if k is None else discount.masked_fill(place > k, 0)
