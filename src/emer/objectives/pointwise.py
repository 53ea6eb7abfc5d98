"""Losses of each exposed candidate by itself: M-BCE and label aggregation (docs/rivals.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from emer.losses.bce import multi_objective_bce_loss
from emer.losses.label_aggregation import label_aggregation_loss
from emer.objectives.base import ObjectiveOutput
from emer.objectives.draws import Draws
from emer.objectives.exposed import ExposedLists, LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch, Schema


@dataclass
class MultiObjectiveBceConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.pointwise.MultiObjectiveBce"
    scope: str = MISSING
    label_weights: Any = MISSING


class MultiObjectiveBce(LabelObjective):
    """L = sum_m lambda_m mean_i BCE(sigmoid(s_i), y_im) (M-BCE of HarmonRank's comparison, arXiv 2601.02955).

    Terms ``bce/<label>``. Args and errors: :class:`emer.objectives.exposed.LabelObjective`; with the scope ``request``
    every request counts alike, however many candidates it showed.
    """

    term = "bce"

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) are logits; ``previous_scores`` are not used."""
        lists = exposed_lists(scores, batch, self.scope)
        loss = multi_objective_bce_loss(lists.scores, lists.labels, where=lists.where, reduction="per_objective")
        return self.output(loss, lists.rows(), batch.schema)


@dataclass
class LabelAggregationConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.pointwise.LabelAggregation"
    stochastic: bool = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING
    seed: int = MISSING


class LabelAggregation(LabelObjective):
    """L = mean_i (s_i - t_i)^2 with t_i = sum_m lambda_m y_im (Carmel et al. 2020, as HarmonRank compares with it).

    The labels are merged into one target, so there is one term, ``label_aggregation``.

    Args:
        stochastic: t_i = y_im of one label, drawn for each candidate in each step with probability lambda_m / sum
            lambda. Outside training the loss is the expectation over the draws, so that epochs can be compared.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`, lambda shaping the target.
        seed: of the draws.

    Raises:
        EmerError: as there, or the seed is negative.
    """

    term = "label_aggregation"

    def __init__(
        self,
        *,
        stochastic: bool = False,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        self.draws = Draws(seed) if stochastic else None

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """The one term."""
        return (self.term,)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms[self.term]

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) as they are; ``previous_scores`` are not used."""
        lists = exposed_lists(scores, batch, self.scope)
        weights = torch.tensor(self.weights(batch.schema), device=scores.device)
        loss = self._per_list(lists, weights).unsqueeze(1)
        mean, count = (x.squeeze(0) for x in self.average(loss, lists.where.sum(dim=1, keepdim=True)))
        return ObjectiveOutput(mean, {self.term: mean.detach()}, {self.term: count})

    def _per_list(self, lists: ExposedLists, weights: Tensor) -> Tensor:
        """(L,) with weights (M,)."""
        if self.draws is None:
            return label_aggregation_loss(
                lists.scores, lists.labels, weights=weights, where=lists.where, reduction="none"
            )
        if self.training:
            target = _drawn(lists, weights, self.draws.next(lists.scores.device))
            return label_aggregation_loss(lists.scores, target, where=lists.where, reduction="none")
        of_label = [
            label_aggregation_loss(lists.scores, label, where=lists.where, reduction="none")
            for label in lists.labels.split(1, dim=-1)
        ]
        # Not a product of matrices, which autocast would round.
        return (torch.stack(of_label, dim=-1) * (weights / weights.sum())).sum(dim=-1)


def _drawn(lists: ExposedLists, weights: Tensor, generator: torch.Generator) -> Tensor:
    """(L, N, 1) bool: for each candidate the label drawn in proportion to ``weights`` (M,)."""
    # Drawn for the exposed candidates alone, so that padding does not change what the others get.
    labels = lists.labels[lists.where]
    column = torch.multinomial(weights, max(1, len(labels)), replacement=True, generator=generator)[: len(labels)]
    target = torch.zeros_like(lists.labels[..., :1])
    target[lists.where] = labels.gather(1, column.unsqueeze(1))
    return target
