"""Unsupervised rank aggregation (docs/rivals.md): the pxtrs as voters, with nothing to tune or to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import RequestBatch, Schema

Rule = Literal["borda", "reciprocal_rank", "average_rank"]

RECIPROCAL_RANK_C = 60.0
"""Of Cormack, Clarke and Büttcher 2009."""


@dataclass
class RankAggregationConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/{borda,reciprocal_rank}.yaml."""

    _target_: str = "emer.models.rank_aggregation.RankAggregation"
    rule: str = MISSING
    c: float | None = MISSING


class RankAggregation(nn.Module):
    """Adds up what each pxtr's rank is worth. Every objective has one vote, and ties share the mean rank.

    Within a request ``borda`` and ``average_rank`` order alike, since borda = K (n + average_rank): they differ
    where scores of different requests are compared, as in a pooled AUC. ``reciprocal_rank`` favours a candidate that
    is first for one objective over one that is middling for all.

    Args:
        schema: the request log's columns; none is read by name.
        rule: ``borda`` (:func:`borda_scores`), ``reciprocal_rank`` (:func:`reciprocal_rank_scores`) or
            ``average_rank`` (:func:`average_rank_scores`).
        c: constant of ``reciprocal_rank``, None for :data:`RECIPROCAL_RANK_C`; the other rules have none.

    Raises:
        EmerError: the rule is unknown, or ``c`` is negative, not finite, or given to another rule.
    """

    def __init__(self, schema: Schema, *, rule: Rule = "borda", c: float | None = None) -> None:
        super().__init__()
        if rule not in get_args(Rule):
            raise EmerError(f"method.model.rule is {rule!r}; it must be one of {', '.join(get_args(Rule))}")
        if c is not None and rule != "reciprocal_rank":
            raise EmerError(f"method.model.c is {c}, but the rule {rule} has no such constant; set it to null")
        if c is not None and not 0 <= c < math.inf:
            raise EmerError(f"method.model.c is {c}; it must be finite and not negative")
        self.rule, self.c = rule, RECIPROCAL_RANK_C if c is None else c

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float64 scores, 0 on padding."""
        if self.rule == "borda":
            return borda_scores(batch.rank_gap, batch.mask)
        if self.rule == "average_rank":
            return average_rank_scores(batch.rank_gap, batch.mask)
        return reciprocal_rank_scores(batch.rank_gap, batch.mask, c=self.c)


def average_ranks(gap: Tensor, where: Tensor) -> Tensor:
    """Average rank r = (n + 1 - g) / 2 of each candidate for each objective: 1 is best, ties share their mean.

    Args:
        gap: (B, N, K) rank gaps (:mod:`emer.ranking`).
        where: (B, N) bool.

    Returns:
        (B, N, K) float64, exact halves; meaningless, but finite and above 0, on padding.
    """
    n = where.sum(dim=-1).view(-1, 1, 1)
    return (n + 1 - gap).double() / 2


def borda_scores(gap: Tensor, where: Tensor) -> Tensor:
    """Borda count: sum_k (n - r_k), for each objective the candidates beaten, and half of those tied with.

    Arguments as in :func:`average_ranks`.

    Returns:
        (B, N) float64 in [0, K (n - 1)], exact halves, 0 on padding.
    """
    n = where.sum(dim=-1).view(-1, 1, 1)
    return _sum_over_objectives(n - average_ranks(gap, where), where)


def reciprocal_rank_scores(gap: Tensor, where: Tensor, *, c: float = RECIPROCAL_RANK_C) -> Tensor:
    """Reciprocal rank fusion: sum_k 1 / (c + r_k) (Cormack, Clarke and Büttcher 2009, who take c = 60).

    Arguments as in :func:`average_ranks`; a smaller ``c`` gives the first places more weight.

    Returns:
        (B, N) float64, 0 on padding.
    """
    return _sum_over_objectives(1 / (c + average_ranks(gap, where)), where)


def average_rank_scores(gap: Tensor, where: Tensor) -> Tensor:
    """Minus the mean over objectives of the average rank: -(1 / K) sum_k r_k.

    Arguments as in :func:`average_ranks`.

    Returns:
        (B, N) float64 in [-n, -1], 0 on padding.
    """
    return -_sum_over_objectives(average_ranks(gap, where), where) / gap.shape[-1]


def _sum_over_objectives(points: Tensor, where: Tensor) -> Tensor:
    """(B, N) sums, objective by objective, so that a candidate's score has the same bits in every batch."""
    total = torch.zeros(where.shape, dtype=torch.float64, device=points.device)
    for column in points.unbind(-1):
        total += column
    return total.masked_fill(~where, 0.0)
