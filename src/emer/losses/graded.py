"""Pairs between satisfaction levels: EMER's posterior loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from emer.losses.arguments import merge_leading
from emer.losses.pairwise import Method, pair_count, pairwise_logistic_terms
from emer.ranking import rank_gap, valid_or_all


def graded_pairwise_loss(
    scores: Tensor,
    grades: Tensor,
    *,
    where: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
    method: Method = "auto",
) -> Tensor:
    """Logistic loss over the pairs of candidates with different grades (EMER eq. 1, resolutions A4 and A5).

        L_b = 1 / |D_b| sum_{(i, j) in D_b} softplus(-(s_i - s_j)),   D_b = {(i, j): grade_i > grade_j}

    This is the multi-objective loss with the grade as its only target. Usually few candidates have a grade (those that
    were shown), so the others are dropped before anything is sorted.

    Args:
        scores: (..., N).
        grades: (..., N) any finite numbers, larger is better; only their order counts.
        where: (..., N) bool, the candidates whose grade is known; all if None.
        reduction: ``none`` gives L_b (...,), exactly 0 for a request without a pair; ``mean`` their mean over the
            requests that have one, 0 if none has.
        method: as in :func:`emer.losses.pairwise.pairwise_logistic_loss`.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` or ``method`` is unknown.
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', not {reduction!r}")
    per_request, pairs = graded_pairwise_terms(scores, grades, where=where, method=method)
    return per_request if reduction == "none" else per_request.sum() / (pairs > 0).sum().clamp(min=1)


def graded_pairwise_terms(
    scores: Tensor, grades: Tensor, *, where: Tensor | None = None, method: Method = "auto"
) -> tuple[Tensor, Tensor]:
    """``none`` reduction of :func:`graded_pairwise_loss` and the number of pairs |D_b|, both (...,)."""
    if grades.shape != scores.shape:
        raise ValueError(f"grades have shape {tuple(grades.shape)}, the scores {tuple(scores.shape)}")
    where = valid_or_all(scores, where)
    leading = scores.shape[:-1]
    valid = merge_leading(where, 1)
    first = valid.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    first = first[:, : int(valid.sum(dim=1).max()) if valid.numel() else 0]
    valid = valid.gather(1, first)
    ranks = rank_gap(merge_leading(grades, 1).gather(1, first).unsqueeze(-1), valid)
    loss, _ = pairwise_logistic_terms(
        merge_leading(scores, 1).gather(1, first), None, ranks=ranks, where=valid, method=method
    )
    return loss.view(leading), pair_count(ranks, valid).view(leading)
