"""Pairwise logistic loss over every objective of a request, for the price of a sort.

With d = s_i - s_j and y = 1[t_i > t_j], RankNet's loss of an ordered pair is softplus(d) - y d. Summed over both
orders of {i, j} it is |d| + 2 phi(|d|) - sign(t_i - t_j) d with phi(x) = log(1 + e^-x): only the sign term knows the
objective, and it sums to a dot product of scores and rank gaps (:mod:`emer.ranking`). So K objectives share one sum
over pairs, and each costs N more:

    2 L_k = sum_i (r_i - g_ik)(s_i - c) + 2 sum_{i<j} phi(|s_i - s_j|)

with r the rank gap of the scores, g_k that of objective k and any constant c. (r - g) are exact integers that vanish
where the orders agree, so nothing cancels in floating point. Pairs tied in t are then taken out.

The shared sum and its derivative need one sort and one pass (:mod:`emer.losses.exponential_sum`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from emer.losses import pair_engines
from emer.losses.analytic import reduce_analytic, weighted_objectives
from emer.losses.arguments import (
    Reduction,
    as_weights,
    at_least_float32,
    check_columns,
    check_rank_type,
    check_reduction,
    merge_leading,
    outside_graphs,
)
from emer.ranking import rank_gap, valid_or_all

Ties = Literal["exclude", "half"]
Method = Literal["auto", "kernel", "near_linear", "tiled", "dense"]

DENSE_UP_TO = 64
"""List length up to which one matrix of pairs is faster than a scan on devices without the kernel."""


class PairwiseLogistic(NamedTuple):
    """Attributes:
    loss: (...,) mean over objectives of weight x loss.
    per_objective: (..., K) loss of each objective without its weight.
    """

    loss: Tensor
    per_objective: Tensor


def pairwise_logistic_loss(
    scores: Tensor,
    targets: Tensor | None,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    ranks: Tensor | None = None,
    ties: Ties = "exclude",
    reduction: Reduction = "mean",
    method: Method = "auto",
) -> Tensor:
    """Mean pairwise logistic loss of each objective (EMER eq. 2-5 with resolutions A1-A3 and A5).

    Per request and objective, the mean over its valid pairs {i, j} of softplus(-(s_i - s_j)), i being the one with the
    larger target. An objective without a valid pair contributes exactly 0 and stays in the mean over K.

    The gradient is analytic and flows to ``scores`` and ``weights``; it cannot be differentiated again. Scores may have
    any finite values: the error against exact arithmetic is that of rounding the result (relative 1e-7 in float32,
    about 1e-12 in float64). A NaN or infinite score gives its request a loss of NaN. Pairs of equal
    targets are taken out of the sum over all pairs, which leaves an absolute error of some 1e-15 times what they added.
    Under ``torch.compile`` the loss runs between graphs.

    Args:
        scores: (..., N); half precision is computed in float32.
        targets: (..., N, K), finite; only their order inside a request matters. May be None if ``ranks`` is given.
        weights: (..., K) or (K,) factor of each objective's loss; 1 if None.
        where: (..., N) bool, True for the candidates that take part; all if None.
        ranks: (..., N, K) integer rank gaps over ``where`` (#smaller - #larger, n - 1 for the largest of n targets;
            :func:`emer.ranking.rank_gap`), as stored with a request. ``targets`` are then not read.
        ties: ``exclude`` drops pairs with equal targets. ``half`` gives them the label 1/2, which is what the printed
            formula amounts to when it is summed over ordered pairs.
        reduction: ``mean`` over requests and objectives (a scalar), ``none`` over objectives only (...,), or
            ``per_objective`` not at all (..., K).
        method: how. ``kernel`` (compiled, CPU) and ``near_linear`` (tensor operations) take O(N log N) time and O(N)
            memory per request, and sort each target unless ``ranks`` are given; ``tiled`` and ``dense`` take all pairs
            without approximation, in O(N^2) time, ``dense`` with as much memory. ``auto`` is the kernel on the CPU;
            elsewhere ``dense`` up to :data:`DENSE_UP_TO` candidates and ``near_linear`` above.

    Returns:
        The reduced loss, float32, or float64 for float64 scores.

    Raises:
        ValueError: neither targets nor ranks are given; shapes do not fit; ``ranks`` are no rank gaps over ``where``;
            ``ties``, ``reduction`` or ``method`` is unknown; or the kernel is asked for on another device.
    """
    check_reduction(reduction)
    loss, per_objective = _both(scores, targets, weights, where, ranks, ties, method)
    return reduce_analytic(loss, per_objective, weights, reduction, at_least_float32(scores).dtype)


def pairwise_logistic_terms(
    scores: Tensor,
    targets: Tensor | None,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    ranks: Tensor | None = None,
    ties: Ties = "exclude",
    method: Method = "auto",
) -> PairwiseLogistic:
    """The weighted loss to train on and each objective's loss to log, from one pass.

    Arguments, errors and gradient are those of :func:`pairwise_logistic_loss`; ``loss`` is its ``none`` reduction and
    ``per_objective`` its ``per_objective`` reduction at weights 1.
    """
    loss, per_objective = _both(scores, targets, weights, where, ranks, ties, method)
    dtype = at_least_float32(scores).dtype
    return PairwiseLogistic(loss.to(dtype), per_objective.to(dtype))


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


@outside_graphs
def _both(
    scores: Tensor,
    targets: Tensor | None,
    weights: Tensor | None,
    where: Tensor | None,
    ranks: Tensor | None,
    ties: Ties,
    method: Method,
) -> tuple[Tensor, Tensor]:
    """Weighted loss (...,) and plain loss per objective (..., K), both float64."""
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be 'exclude' or 'half', not {ties!r}")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    where = valid_or_all(scores, where)
    leading = scores.shape[:-1]
    rows = merge_leading(where, 1)
    if ranks is None:
        if targets is None:
            raise ValueError("pairwise_logistic_loss needs targets or their ranks")
        check_columns(targets, scores, "targets")
        ranks = rank_gap(merge_leading(targets, 2), rows)
    else:
        check_columns(ranks, scores, "ranks")
        check_rank_type(ranks)
    K = ranks.shape[-1]
    w = as_weights(weights, scores, leading, K)
    s = merge_leading(at_least_float32(scores), 1)
    engine = pair_engines.ENGINES[_resolve(method, s)]
    exclude_ties = ties == "exclude"
    loss, per_objective = weighted_objectives(
        s, w, rows, lambda s, w, rows, g: engine(s, g, rows, w, exclude_ties), merge_leading(ranks, 2)
    )
    return loss.view(leading), per_objective.view(*leading, K)


def _resolve(method: Method, scores: Tensor) -> Method:
    on_cpu = scores.device.type == "cpu"
    if method == "kernel" and not on_cpu:
        raise ValueError(f"method 'kernel' runs on the CPU, the scores are on {scores.device}; use 'auto'")
    if method != "auto":
        return method
    if on_cpu:
        return "kernel"
    return "dense" if scores.shape[1] <= DENSE_UP_TO else "near_linear"
