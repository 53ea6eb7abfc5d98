"""What all losses share: any leading axes, masks, and the reduction over objectives and requests.

Conventions of every loss in this room. The last axis of ``scores`` (..., N) is the list; leading axes, usually (B,),
are requests, and none is a list of its own (all rows of a batch, say). ``where`` is a bool mask, never a sentinel
value, and what stands on masked places is not read, be it NaN. The arithmetic is at least float32, under autocast
too. What has nothing to compare (no pair, one class only) contributes 0, without gradient, and stays in the mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

Reduction = Literal["mean", "none", "per_objective"]


P = ParamSpec("P")
R = TypeVar("R")


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Under ``torch.compile``, run ``function`` as it stands, between graphs.

    ``torch.compiler.disable`` as a decorator would do the same, but imports the compiler with the library, which takes
    seconds.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless ``reduction`` is one of :data:`Reduction`."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")


def check_columns(columns: Tensor, scores: Tensor, name: str) -> None:
    """Raise ValueError unless ``columns`` is (..., N, K) for ``scores`` (..., N)."""
    if columns.dim() != scores.dim() + 1 or columns.shape[:-1] != scores.shape:
        raise ValueError(
            f"{name} has shape {tuple(columns.shape)}; scores {tuple(scores.shape)} need one more axis at its end"
        )


def check_rank_type(ranks: Tensor) -> None:
    """Raise ValueError unless the type of ``ranks`` (..., N, K) holds the rank gaps of N candidates."""
    if ranks.is_floating_point() or ranks.is_complex() or ranks.dtype == torch.bool:
        raise ValueError(f"ranks are {ranks.dtype}; rank gaps are integers")
    info, N = torch.iinfo(ranks.dtype), ranks.shape[-2]
    if info.max < N - 1 or info.min > 1 - N:
        raise ValueError(f"ranks are {ranks.dtype}, which does not hold the rank gaps of {N} candidates")


def at_least_float32(scores: Tensor) -> Tensor:
    """``scores`` in float32, or in float64 if that is what they are."""
    return scores if scores.dtype == torch.float64 else scores.float()


def as_weights(weights: Tensor | None, scores: Tensor, leading: torch.Size, K: int) -> Tensor:
    """(B, K) float64 for weights broadcastable to (*leading, K), B being the product of ``leading``; 1 if None."""
    w = scores.new_ones(K) if weights is None else weights
    check_weights(w, (*leading, K))
    return w.double().expand(*leading, K).reshape(leading.numel(), K)


def check_weights(weights: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``weights`` can be expanded to ``shape``."""
    pairs = zip(reversed(weights.shape), reversed(shape), strict=False)
    if weights.dim() > len(shape) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ValueError(f"weights of shape {tuple(weights.shape)} do not fit losses of shape {tuple(shape)}")


def as_classes(labels: Tensor, where: Tensor) -> Tensor:
    """(..., N, M) bool: the positives, where ``where`` (..., N).

    Raises:
        ValueError: a valid label is neither 0 nor 1.
    """
    y = labels.masked_fill(~where.unsqueeze(-1), 0)
    positive = y != 0
    if labels.dtype != torch.bool and not torch.equal(positive.to(y.dtype), y):
        raise ValueError("labels must be 0 or 1")
    return positive


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
        check_weights(weights, per_objective.shape)
        per_objective = per_objective * weights.to(per_objective.dtype)
    if reduction == "per_objective":
        return per_objective
    per_request = per_objective.mean(dim=-1)
    return per_request if reduction == "none" else per_request.mean()


def merge_leading(tensor: Tensor, axes: int) -> Tensor:
    """``tensor`` with all but its last ``axes`` axes merged into one, of length 1 if there are none."""
    return tensor.unsqueeze(0).flatten(0, tensor.dim() - axes)
