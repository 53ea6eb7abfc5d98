"""AUC margin loss (Yuan et al. 2021), with its inner problem solved in closed form or left to the caller.

With h the score, E and Var over the positives (+) and negatives (-) of an objective, p = n+ / n and margin m,

    F(h, a, b, alpha) = E+ (h - a)^2 + E- (h - b)^2 + 2 alpha (m + E- h - E+ h) - alpha^2,

min over a and b, max over alpha >= 0. The inner solution is a = E+ h, b = E- h, alpha = [m - (E+ h - E- h)]_+.
The paper's own form is p (1 - p) F.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    reduce_objectives,
)
from emer.ranking import valid_or_all


def aucm_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    margin: float = 1.0,
    squash: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Var+ h + Var- h + [m - (E+ h - E- h)]_+^2: the value of min max F, see the module.

    While the hinge is active this *is* :func:`emer.losses.pairwise_square.pairwise_square_loss`; with h in [0, 1] and
    m >= 1 that is always. The two differ where unsquashed scores, or a smaller margin, let E+ h - E- h exceed m.

    Args:
        scores: (..., N).
        labels: (..., N, M), bool or 0 / 1.
        weights: broadcastable to (..., M), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        margin: m, in units of h.
        squash: h is the sigmoid of the scores, else the scores themselves.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss; an objective with one class contributes 0. O(N M), sums in float64.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    positive, negative, both, _ = _classes(scores, labels, where)
    with torch.autocast(scores.device.type, enabled=False):
        h = _filled(scores, where, squash)
        mean_positive, mean_negative = _mean(h, positive), _mean(h, negative)
        variances = _mean((h - mean_positive.unsqueeze(-2)).square(), positive)
        variances = variances + _mean((h - mean_negative.unsqueeze(-2)).square(), negative)
        hinge = (margin - (mean_positive - mean_negative)).clamp(min=0)
        loss = (variances + hinge.square()).masked_fill(~both, 0)
        return reduce_objectives(loss.to(at_least_float32(scores).dtype), weights, reduction)


def aucm_min_max_loss(
    scores: Tensor,
    labels: Tensor,
    a: Tensor,
    b: Tensor,
    alpha: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    margin: float = 1.0,
    squash: bool = True,
    prior_weighted: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """F(h, a, b, alpha) of the module for given a, b and alpha, differentiable in all of them.

    The loss falls in scores, a and b, but *rises* in alpha: the caller negates alpha's gradient before the optimiser's
    step and clamps alpha to >= 0 after it.

    Args:
        a, b: broadcastable to (..., M), usually (M,): where the scores of positives and negatives should gather.
        alpha: the same shape, >= 0: the multiplier of the margin.
        prior_weighted: multiply by p (1 - p) of each request and objective, which is the form printed in the paper
            ("v1" of its code); else the form free of the prior ("v2").
        scores, labels, weights, where, margin, squash, reduction: as in :func:`aucm_loss`.

    Returns:
        The reduced loss; an objective with one class contributes 0, also to the gradients of a, b and alpha.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    positive, negative, both, prior = _classes(scores, labels, where)
    with torch.autocast(scores.device.type, enabled=False):
        h = _filled(scores, where, squash)
        spread = _mean((h - _parameter(a, both, "a").unsqueeze(-2)).square(), positive)
        spread = spread + _mean((h - _parameter(b, both, "b").unsqueeze(-2)).square(), negative)
        multiplier = _parameter(alpha, both, "alpha")
        violation = margin + _mean(h, negative) - _mean(h, positive)
        loss = spread + 2 * multiplier * violation - multiplier.square()
        if prior_weighted:
            loss = loss * prior * (1 - prior)
        loss = loss.masked_fill(~both, 0)
        return reduce_objectives(loss.to(at_least_float32(scores).dtype), weights, reduction)


def _classes(scores: Tensor, labels: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positives, negatives (..., N, M) bool; whether there are both (..., M); the share of positives (..., M)."""
    check_columns(labels, scores, "labels")
    valid = valid_or_all(scores, where).unsqueeze(-1)
    positive = (labels > 0) & valid
    negative = ~positive & valid
    prior = positive.sum(dim=-2) / valid.sum(dim=-2).clamp(min=1).double()
    return positive, negative, positive.any(dim=-2) & negative.any(dim=-2), prior


def _filled(scores: Tensor, where: Tensor | None, squash: bool) -> Tensor:
    """h (..., N, 1) in float64, finite on masked places."""
    h = scores if where is None else torch.where(where, scores, 0)
    return (h.double().sigmoid() if squash else h.double()).unsqueeze(-1)


def _mean(values: Tensor, members: Tensor) -> Tensor:
    """(..., M) mean of (..., N, M or 1) over the members (..., N, M); 0 where there is none."""
    return (values * members).sum(dim=-2) / members.sum(dim=-2).clamp(min=1)


def _parameter(parameter: Tensor, both: Tensor, name: str) -> Tensor:
    """(..., M) float64."""
    try:
        return parameter.double().expand(both.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} has shape {tuple(parameter.shape)}, which does not fit requests and objectives {tuple(both.shape)}"
        ) from None
