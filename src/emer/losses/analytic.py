"""Losses whose gradient is computed with their value: the autograd function that they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from emer.losses.arguments import Reduction

Engine = Callable[..., tuple[Tensor, Tensor]]
"""(scores (B, N), weights (B, K) float64, where (B, N), *inputs) -> (loss (B, K) float64, derivative (B, N) of its sum
with those weights)."""


def weighted_objectives(
    scores: Tensor, weights: Tensor, where: Tensor, engine: Engine, *inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of each objective, and their weighted mean with its gradient from the same pass.

    Args:
        scores: (B, N) float32 or float64.
        weights: (B, K) float64.
        where: (B, N) bool. A request with a valid score that is not finite has the loss and the gradient NaN.
        inputs: what else the engine reads. Changing them between the two passes is an error.
        engine: sees both without their gradient history; called again if the second result's gradient is asked for.

    Returns:
        (loss (B,) = (1 / K) sum_k weights[:, k] * per_objective[:, k], per_objective (B, K)), float64. The first is
        differentiable in scores and weights, the second in scores; neither twice.
    """
    loss, per_objective = _Analytic.apply(scores, weights, engine, where, *inputs)
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
    def forward(
        ctx: Any, scores: Tensor, weights: Tensor, engine: Engine, where: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.engine, ctx.objectives = engine, max(1, weights.shape[1])
        w = weights.detach()
        per_objective, gradient = _run(engine, scores.detach(), w / ctx.objectives, where, inputs)
        ctx.save_for_backward(scores, gradient, per_objective, where, *inputs)
        return (per_objective * w).sum(dim=1) / ctx.objectives, per_objective

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_loss: Tensor | None, of_objectives: Tensor | None) -> tuple[Tensor | None, ...]:
        scores, gradient, per_objective, where, *inputs = ctx.saved_tensors
        of_scores = of_weights = None
        if of_loss is not None:
            of_scores = of_loss.to(gradient.dtype).unsqueeze(1) * gradient
            if ctx.needs_input_grad[1]:
                of_weights = of_loss.unsqueeze(1) * per_objective / ctx.objectives
        if of_objectives is not None:
            _, more = _run(ctx.engine, scores.detach(), of_objectives, where, inputs)
            of_scores = more if of_scores is None else of_scores + more
        return (of_scores, of_weights, None, None, *(None for _ in inputs))


def _run(
    engine: Engine, scores: Tensor, weights: Tensor, where: Tensor, inputs: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    # One sum tells that all are finite; it may itself overflow, and masked places may hold anything.
    if math.isfinite(scores.sum().item()):
        return engine(scores, weights, where, *inputs)
    # A sort would put NaN behind the masked candidates, and the loss would be that of other numbers.
    wrong = (~scores.isfinite() & where).any(dim=1, keepdim=True)
    if not bool(wrong.any()):
        return engine(scores, weights, where, *inputs)
    loss, gradient = engine(scores.masked_fill(wrong, 0), weights, where, *inputs)
    return loss.masked_fill(wrong, torch.nan), gradient.masked_fill(wrong & where, torch.nan)
