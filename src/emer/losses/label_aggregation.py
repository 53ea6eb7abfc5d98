"""Label aggregation (Carmel et al. 2020): one regression target made of all labels."""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    check_weights,
    reduce_objectives,
)
from emer.ranking import valid_or_all


def label_aggregation_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean_i (s_i - t_i)^2 with t_i = sum_m lambda_m y_im, which is not divided by M (HarmonRank's comparison).

    Args:
        scores: (..., N), used as they are.
        labels: (..., N, M).
        weights: lambda, (M,) or (..., M), >= 0; 1 if None. Unlike in other losses they shape the target, so the loss is
            not linear in them.
        where: (..., N) bool, the valid candidates; all if None.
        stochastic: t_i = y_im of an objective drawn for each candidate with probability lambda_m / sum lambda. In
            expectation the gradient is that of lambda / sum lambda.
        generator: where the draws come from; torch's default if None.
        reduction: as everywhere, the objectives being one: ``per_objective`` gives (..., 1).

    Returns:
        The reduced loss; a request without candidates contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(labels, scores, "labels")
    where = valid_or_all(scores, where)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(where, at_least_float32(scores), 0)
        y = labels.to(s.dtype).masked_fill(~where.unsqueeze(-1), 0)
        factor = y.new_ones(y.shape[-1])
        if weights is not None:
            check_weights(weights, (*scores.shape[:-1], y.shape[-1]))
            factor = weights.to(s.dtype).expand(y.shape[-1]) if weights.dim() == 0 else weights.to(s.dtype)
        if stochastic:
            t = y.gather(-1, _draw(factor, y, generator)).squeeze(-1)
        else:
            t = (y * factor.unsqueeze(-2)).sum(dim=-1)
        loss = (s - t).square().sum(dim=-1) / where.sum(dim=-1).clamp(min=1)
        return reduce_objectives(loss.unsqueeze(-1), None, reduction)


def _draw(factor: Tensor, labels: Tensor, generator: torch.Generator | None) -> Tensor:
    """(..., N, 1) int64 objectives drawn in proportion to ``factor``."""
    *leading, N, M = labels.shape
    probability = factor.expand(*leading, M).reshape(-1, M)
    return torch.multinomial(probability, N, replacement=True, generator=generator).view(*leading, N, 1)
