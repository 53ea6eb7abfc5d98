"""What all losses share: any leading axes, masks, and the reduction over objectives and requests.

Conventions of every loss in this room. The last axis of ``scores`` (..., N) is the list; leading axes, usually (B,),
are requests, and none is a list of its own (all rows of a batch, say). ``where`` is a bool mask, never a sentinel
value, and what stands on masked places is not read, be it NaN. The arithmetic is at least float32, under autocast
too. What has nothing to compare (no pair, one class only) contributes 0, without gradient, and stays in the mean.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Reduction = Literal["mean", "none", "per_objective"]


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless ``reduction`` is one of :data:`Reduction`."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")


def valid_or_all(scores: Tensor, where: Tensor | None) -> Tensor:
    """``where``, or all True in the shape of ``scores``.

    Raises:
        ValueError: the shapes differ.
    """
    if where is None:
        return torch.ones_like(scores, dtype=torch.bool)
    if where.shape != scores.shape:
        raise ValueError(f"where has shape {tuple(where.shape)}, the scores have {tuple(scores.shape)}")
    return where


def check_columns(columns: Tensor, scores: Tensor, name: str) -> None:
    """Raise ValueError unless ``columns`` is (..., N, K) for ``scores`` (..., N)."""
    if columns.dim() != scores.dim() + 1 or columns.shape[:-1] != scores.shape:
        raise ValueError(
            f"{name} has shape {tuple(columns.shape)}; scores {tuple(scores.shape)} need one more axis at its end"
        )


def at_least_float32(scores: Tensor) -> Tensor:
    """``scores`` in float32, or in float64 if that is what they are."""
    return scores if scores.dtype == torch.float64 else scores.float()


def reduce_objectives(per_objective: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Weigh and average a loss (..., K).

    Args:
        per_objective: (..., K).
        weights: broadcastable to (..., K), usually (K,) or (B, K); 1 if None.
        reduction: ``per_objective`` not at all (..., K); ``none`` the mean over objectives (...); ``mean`` over
            everything, a scalar.
    """
    check_reduction(reduction)
    if weights is not None:
        per_objective = per_objective * weights.to(per_objective.dtype)
    if reduction == "per_objective":
        return per_objective
    per_request = per_objective.mean(dim=-1)
    return per_request if reduction == "none" else per_request.mean()
