"""Pairwise logistic loss between the positives and the negatives of a list, at the scale of a whole batch.

    L_m = 1 / (n+ n-) sum_{p: y_pm = 1} sum_{n: y_nm = 0} softplus(-(s_p - s_n))

The surrogate of AUC that HarmonRank compares with (PL), there called impractical for its n+ n- pairs. As in
:mod:`emer.losses.pairwise`, softplus(d) = max(d, 0) + phi(|d|). The first part is a sum over candidates of a count (for
a negative the positives below it, for a positive minus the negatives above it) times the score; the second an
exponential sum over the sorted list (:mod:`emer.losses.exponential_sum`) in which each class adds up the other.
Positives and negatives are summed apart, so that nothing cancels when one of them is rare.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.analytic import reduce_analytic, weighted_objectives
from emer.losses.arguments import (
    Reduction,
    as_classes,
    as_weights,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    outside_graphs,
)
from emer.losses.exponential_sum import PHI, PSI, PSI_FLOAT32, sums_in_lists
from emer.losses.pair_engines import ascending_order
from emer.ranking import valid_or_all

Method = Literal["auto", "kernel", "torch", "near_linear", "compact"]

COMPACT_PAIRS = 60
"""Positive-negative pairs for each label of a candidate up to which summing them pair by pair is faster than a scan."""

_PAIRS_AT_A_TIME = 1 << 20


def auc_pair_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
    method: Method = "auto",
) -> Tensor:
    """Mean logistic loss over the positive-negative pairs of each label (HarmonRank section 5, PL).

    Per list and label the module's equation; a label with one class only contributes exactly 0 and stays in the mean.
    The gradient is analytic, flows to ``scores`` and ``weights``, and cannot be differentiated again.

    Args:
        scores: (..., N). One list of all exposed rows of a batch is the paper's scope, a list per request another.
        labels: (..., N, M) bool, or 0 and 1.
        weights: (..., M) or (M,) factor of each label's loss; 1 if None.
        where: (..., N) bool, True for the rows that take part; all if None.
        reduction: ``mean`` over lists and labels, ``none`` over labels only (...,), ``per_objective`` (..., M).
        method: ``kernel`` (compiled, CPU) and ``near_linear`` (tensor operations) take O(N log N + N M) time and memory
            of O(N M) at most; ``compact`` forms the n+ x n- differences, label by label; ``torch`` is the faster
            one of those two, ``compact`` for rare labels. ``auto`` is the kernel on the CPU, else ``torch``.

    Returns:
        The reduced loss, float32, or float64 for float64 scores.

    Raises:
        ValueError: shapes do not fit; a valid label is neither 0 nor 1; ``reduction`` or ``method`` is unknown; or the
            kernel is asked for on another device.
    """
    check_reduction(reduction)
    check_columns(labels, scores, "labels")
    loss, per_objective = _both(scores, labels, weights, valid_or_all(scores, where), method)
    return reduce_analytic(loss, per_objective, weights, reduction, at_least_float32(scores).dtype)


@outside_graphs
def _both(
    scores: Tensor, labels: Tensor, weights: Tensor | None, where: Tensor, method: Method
) -> tuple[Tensor, Tensor]:
    """Weighted loss (...,) and plain loss per label (..., M), both float64."""
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    leading, M = scores.shape[:-1], labels.shape[-1]
    s, valid = merge_leading(at_least_float32(scores), 1), merge_leading(where, 1)
    y = merge_leading(as_classes(labels, where), 2)
    engine = {"kernel": _kernel, "near_linear": _near_linear, "compact": _compact}[_resolve(method, y, valid)]
    w = as_weights(weights, scores, leading, M)
    loss, per_objective = weighted_objectives(s, w, valid, lambda s, w, valid, y: engine(s, y, valid, w), y)
    return loss.view(leading), per_objective.view(*leading, M)


def _resolve(method: Method, labels: Tensor, where: Tensor) -> Method:
    on_cpu = labels.device.type == "cpu"
    if method == "kernel" and not on_cpu:
        raise ValueError(f"method 'kernel' runs on the CPU, the scores are on {labels.device}; use 'auto'")
    if method == "auto":
        method = "kernel" if on_cpu else "torch"
    if method != "torch":
        return method
    positives = (labels & where.unsqueeze(-1)).sum(dim=1)
    pairs = (positives * (where.sum(dim=1, keepdim=True) - positives)).sum()
    return "compact" if bool(pairs < COMPACT_PAIRS * labels.numel()) else "near_linear"


def _kernel(scores: Tensor, labels: Tensor, where: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    # Here, since importing Numba takes seconds.
    import numpy as np

    from emer.kernels.auc_pairs import auc_pair_rows
    from emer.kernels.runtime import run_rows
    from emer.kernels.sorting import sorted_positions

    s, y, valid, w = (x.contiguous().numpy() for x in (scores, labels, where, weights))
    loss = np.zeros(w.shape)
    gradient = np.zeros_like(s)
    psi, phi = np.array(PSI), np.array(PHI)

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        order, count = sorted_positions(s[rows], valid[rows])
        auc_pair_rows(0, stop - start, s[rows], order, count, y[rows], w[rows], psi, phi, loss[rows], gradient[rows])

    run_rows(work, len(s), s.size)
    return torch.from_numpy(loss), torch.from_numpy(gradient)


def _near_linear(scores: Tensor, labels: Tensor, where: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    B, N, M = labels.shape
    s = scores.masked_fill(~where, 0).double()
    order = ascending_order(scores, where)
    u = s.gather(1, order)
    n = where.sum(dim=1, keepdim=True)
    valid = (torch.arange(N, device=s.device) < n).unsqueeze(1)
    y = labels.transpose(1, 2).gather(2, order.unsqueeze(1).expand(-1, M, -1))
    of_class = torch.stack([y & valid, ~y & valid]).double()  # (2, B, M, N): positives, negatives
    # Masked candidates are in neither class and add nothing.
    shape = (2, B, M, N)
    psi = PSI if scores.dtype == torch.float64 else PSI_FLOAT32
    sums = sums_in_lists(u.unsqueeze(1).expand(shape), valid.expand(shape), of_class, psi)
    positive, negative = of_class
    counts = of_class.cumsum(dim=-1)
    positives_below, negatives_above = counts[0], counts[1, ..., -1:] - counts[1]
    coefficient = negative * positives_below - positive * negatives_above
    # psi of the other class: above minus below, and phi once for each pair.
    net = sums.above - sums.below
    slope = coefficient + positive * net[1] + negative * net[0]
    centre = u.gather(1, (n // 2).clamp(max=max(N - 1, 0))).unsqueeze(1) if N else 0
    total = (coefficient * (u.unsqueeze(1) - centre) + positive * sums.soft[1] + negative * sums.soft[0]).sum(dim=-1)
    pairs = of_class.sum(dim=-1).prod(dim=0)
    loss = (total / pairs.clamp(min=1)).masked_fill(pairs == 0, 0)
    by_place = torch.einsum("bm,bmn->bn", weights / pairs.clamp(min=1) * (pairs > 0), slope)
    gradient = torch.zeros_like(u).scatter_(1, order, by_place)
    return loss, gradient.masked_fill(~where, 0).to(scores.dtype)


def _compact(scores: Tensor, labels: Tensor, where: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    loss, gradient = torch.zeros_like(weights), torch.zeros_like(scores)
    for b in range(len(scores)):
        for m in range(labels.shape[2]):
            positive = (labels[b, :, m] & where[b]).nonzero().squeeze(1)
            negative = (~labels[b, :, m] & where[b]).nonzero().squeeze(1)
            pairs = len(positive) * len(negative)
            for part in positive.split(max(1, _PAIRS_AT_A_TIME // max(1, len(negative)))) if pairs else ():
                d = scores[b, negative] - scores[b, part].unsqueeze(1)
                loss[b, m] += F.softplus(d, threshold=40).sum(dtype=torch.float64) / pairs
                slope, per_pair = d.sigmoid_(), (weights[b, m] / pairs).to(d.dtype)
                gradient[b, negative] += slope.sum(dim=0) * per_pair
                gradient[b, part] -= slope.sum(dim=1) * per_pair
    return loss, gradient
