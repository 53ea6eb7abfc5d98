"""Pairwise logistic loss whose pairs weigh as the product of their candidates' weights, near-linear.

With a_i >= 0 the weight of a candidate (an inverse propensity of being shown, say), for each objective

    L_k = sum_{t_i > t_j} a_i a_j softplus(-(s_i - s_j)) / sum_{t_i > t_j} a_i a_j.

The collapse of :mod:`emer.losses.pairwise` holds with weighted ranks: where that counts the candidates below minus
those above, this sums their a and multiplies by a_i; the exponential sum takes a as the amount of each candidate. Pair
weights that are no product have no such form: for them :mod:`emer.losses.weighted_pairs` forms all pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.analytic import reduce_analytic, weighted_objectives
from emer.losses.arguments import (
    Reduction,
    as_weights,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    outside_graphs,
)
from emer.losses.exponential_sum import BothSides, sums_in_lists, sums_in_segments
from emer.losses.pair_engines import ascending_order
from emer.ranking import rank_gap, valid_or_all


def candidate_weighted_pairwise_loss(
    scores: Tensor,
    targets: Tensor,
    candidate_weights: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The module's L_k; with equal weights, :func:`emer.losses.pairwise.pairwise_logistic_loss` without ties.

    O(K N log N) time for each request. An objective without a pair of positive weight contributes exactly 0 and stays
    in the mean. The gradient flows to ``scores`` and ``weights``, and cannot be differentiated again.

    Args:
        scores: (..., N).
        targets: (..., N, K), finite; only their order inside a request matters.
        candidate_weights: (..., N) a_i, not negative.
        weights: (..., K) or (K,) factor of each objective's loss; 1 if None.
        where: (..., N) bool, True for the candidates that take part; all if None.
        reduction: ``mean`` over requests and objectives, ``none`` over objectives only (...,), or ``per_objective``
            (..., K).

    Returns:
        The reduced loss, float32, or float64 for float64 scores.

    Raises:
        ValueError: shapes do not fit, a valid candidate's weight is negative or not finite, or ``reduction`` is
            unknown.
    """
    check_reduction(reduction)
    check_columns(targets, scores, "targets")
    where = valid_or_all(scores, where)
    if candidate_weights.shape != scores.shape:
        raise ValueError(
            f"candidate_weights have shape {tuple(candidate_weights.shape)}, the scores {tuple(scores.shape)}"
        )
    if not bool((candidate_weights[where] >= 0).all() and candidate_weights[where].isfinite().all()):
        raise ValueError("candidate_weights must be finite and not negative")
    loss, per_objective = _both(scores, targets, candidate_weights, weights, where)
    return reduce_analytic(loss, per_objective, weights, reduction, at_least_float32(scores).dtype)


@outside_graphs
def _both(
    scores: Tensor, targets: Tensor, candidate_weights: Tensor, weights: Tensor | None, where: Tensor
) -> tuple[Tensor, Tensor]:
    leading, K = scores.shape[:-1], targets.shape[-1]
    s, valid = merge_leading(at_least_float32(scores), 1), merge_leading(where, 1)
    g = rank_gap(merge_leading(targets, 2), valid)
    a = merge_leading(candidate_weights, 1).detach().double().masked_fill(~valid, 0)
    # Only ratios matter; so no product of two overflows.
    largest = a.amax(dim=1, keepdim=True) if a.shape[1] else a.sum(dim=1, keepdim=True)
    a = a / largest.masked_fill(largest == 0, 1)
    w = as_weights(weights, scores, leading, K)
    loss, per_objective = weighted_objectives(
        s, w, valid, lambda s, w, valid, g, a: _near_linear(s, g, a, valid, w), g, a
    )
    return loss.view(leading), per_objective.view(*leading, K)


def _near_linear(s: Tensor, g: Tensor, a: Tensor, valid: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (B, K) and gradient (B, N) of its weighted sum, for rank gaps ``g``; ``a`` is 0 on masked places."""
    B, N, K = g.shape
    if N == 0:
        return torch.zeros_like(weights), torch.zeros_like(s)
    order = ascending_order(s, valid)
    place = torch.arange(N, device=s.device)
    inside = place < valid.sum(dim=1, keepdim=True)
    u, a = s.double().gather(1, order).masked_fill(~inside, 0), a.gather(1, order)
    centre = u.sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True).clamp(min=1)
    net, soft = _weighted(sums_in_lists(u, inside, a), a)

    # The same inside the groups of equal targets: rows (B, K) sorted by target, then by score.
    level = (g.transpose(1, 2).gather(2, order.unsqueeze(1).expand(B, K, N)).long() + N) * inside.unsqueeze(1)
    key, _ = (level * N + place).sort(dim=2)
    place, level = key % N, key // N
    start = torch.ones_like(level, dtype=torch.bool)
    start[..., 1:] = level[..., 1:] != level[..., :-1]

    def by_target(values: Tensor) -> Tensor:
        return values.unsqueeze(1).expand(B, K, N).gather(2, place)

    u_k, a_k = by_target(u), by_target(a)
    tied_net, tied_soft = _weighted(sums_in_segments(u_k, start | (level == 0), a_k), a_k)
    # In this order, weight before minus weight after is the weighted rank of the target, ties ranked by score: what the
    # rank by score has more than that is due to pairs of different targets.
    before = a_k.cumsum(dim=2) - a_k
    net_rank = by_target(_weighted_rank(a)) - _weighted_rank(a_k)
    before_group = before.masked_fill(~start, 0).cummax(dim=2).values
    pairs = (a_k * before_group).sum(dim=2)
    double_sum = (net_rank * (u_k - by_target(centre.expand_as(u)))).sum(dim=2)
    double_sum += 2 * (soft.sum(dim=1, keepdim=True) - tied_soft.sum(dim=2))
    some = pairs > 0
    per_pair = 1 / (2 * pairs).masked_fill(~some, 1) * some
    slope = (weights * per_pair).unsqueeze(2) * (net_rank + 2 * (by_target(net) - tied_net))
    by_place = torch.zeros_like(slope).scatter_(2, place, slope).sum(dim=1)
    gradient = torch.zeros_like(u).scatter_(1, order, by_place)
    return double_sum * per_pair, gradient.masked_fill(~valid, 0).to(s.dtype)


def _weighted_rank(a: Tensor) -> Tensor:
    """a_i x (sum of a before i - sum of a after i), along the last axis."""
    upto = a.cumsum(dim=-1)
    return a * (upto - a - (upto[..., -1:] - upto))


def _weighted(sums: BothSides, a: Tensor) -> tuple[Tensor, Tensor]:
    """(net, soft): a_i x (sum of a psi above i - sum of a psi below i), and a_i x sum of a phi below i."""
    return a * (sums.above - sums.below), a * sums.soft
