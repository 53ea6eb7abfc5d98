"""Losses whose gradient is computed with their value: the autograd function that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emer.losses.arguments import Reduction

Engine = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(scores (B, N), weights (B, K) float64) -> (loss (B, K) float64, derivative (B, N) of its sum with those weights)."""


def weighted_objectives(scores: Tensor, weights: Tensor, engine: Engine) -> tuple[Tensor, Tensor]:
    """Loss of each objective, and their weighted mean with its gradient from the same pass.

    Args:
        scores: (B, N) float32 or float64.
        weights: (B, K) float64.
        engine: sees both without their gradient history; called again if the second result's gradient is asked for.

    Returns:
        (loss (B,) = (1 / K) sum_k weights[:, k] * per_objective[:, k], per_objective (B, K)), float64. The first is
        differentiable in scores and weights, the second in scores; neither twice.
    """
    loss, per_objective = _Analytic.apply(scores, weights, engine)
    return loss, per_objective


def reduce_analytic(
    loss: Tensor, per_objective: Tensor, weights: Tensor | None, reduction: Reduction, dtype: torch.dtype
) -> Tensor:
    """``loss`` (...,) and ``per_objective`` (..., K) as a reduction asks for them, in ``dtype``.

    The gradient of ``per_objective`` costs a second pass, that of the other reductions has come with the value.
    """
    if reduction == "per_objective":
        loss = per_objective if weights is None else per_objective * weights
    elif reduction == "mean":
        loss = loss.mean()
    return loss.to(dtype)


class _Analytic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, weights: Tensor, engine: Engine) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.engine, ctx.objectives = engine, max(1, weights.shape[1])
        s, w = scores.detach(), weights.detach()
        per_objective, gradient = engine(s, w / ctx.objectives)
        ctx.save_for_backward(s, gradient, per_objective)
        return (per_objective * w).sum(dim=1) / ctx.objectives, per_objective

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, of_loss: Tensor | None, of_objectives: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        scores, gradient, per_objective = ctx.saved_tensors
        of_scores = of_weights = None
        if of_loss is not None:
            of_scores = of_loss.to(gradient.dtype).unsqueeze(1) * gradient
            of_weights = of_loss.unsqueeze(1) * per_objective / ctx.objectives
        if of_objectives is not None:
            _, more = ctx.engine(scores, of_objectives)
            of_scores = more if of_scores is None else of_scores + more
        return of_scores, of_weights, None
