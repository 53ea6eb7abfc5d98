"""Binary cross-entropy of one score against all labels, and of one score per label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    reduce_objectives,
)
from emer.ranking import valid_or_all


def multi_objective_bce_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean_i BCE(sigmoid(s_i), y_im) of one score against each objective m (HarmonRank's M-BCE; Pantheon's loss).

    Args:
        scores: (..., N) logits.
        labels: (..., N, M) bool or numbers in [0, 1].
        weights: broadcastable to (..., M), the factor of each objective's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`; a sum over objectives is M times their mean.

    Returns:
        The reduced loss; a request without candidates contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_columns(labels, scores, "labels")
    return _mean_bce(scores.unsqueeze(-1), labels, weights, valid_or_all(scores, where), reduction)


def reconstruction_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean_i BCE(sigmoid(z_ik), p_ik): UREM's reconstruction of each pxtr by a decoder, over valid candidates only.

    Args:
        logits: (..., N, K).
        targets: (..., N, K) in [0, 1].
        where: (..., N) bool, the valid candidates; all if None.
        weights, reduction: as in :func:`multi_objective_bce_loss`.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"targets has shape {tuple(targets.shape)}, the logits have {tuple(logits.shape)}")
    return _mean_bce(logits, targets, weights, valid_or_all(logits[..., 0], where), reduction)


def _mean_bce(logits: Tensor, labels: Tensor, weights: Tensor | None, where: Tensor, reduction: Reduction) -> Tensor:
    """For logits (..., N, 1 or M)."""
    check_reduction(reduction)
    valid = where.unsqueeze(-1)
    with torch.autocast(logits.device.type, enabled=False):
        z = torch.where(valid, at_least_float32(logits), 0)
        y = labels.to(z.dtype).masked_fill(~valid, 0)
        # softplus(z) - y z without the cancellation: both terms are >= 0. At z = 0 the slope is 1/2 - y.
        side = (z > 0).to(z.dtype)
        term = F.softplus(z * (1 - 2 * side)) + (side - y) * z
        loss = (term * valid).sum(dim=-2) / valid.sum(dim=-2).clamp(min=1)
        return reduce_objectives(loss, weights, reduction)
