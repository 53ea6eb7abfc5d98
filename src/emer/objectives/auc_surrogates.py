"""Surrogates of each label's AUC, over the pairs of an exposed positive and an exposed negative (docs/rivals.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.auc_pairs import auc_pair_loss
from emer.losses.pairwise_square import pairwise_square_loss
from emer.objectives.base import ObjectiveOutput
from emer.objectives.exposed import LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch


@dataclass
class PairwiseLogisticConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.auc_surrogates.PairwiseLogistic"
    scope: str = MISSING
    label_weights: Any = MISSING


class PairwiseLogistic(LabelObjective):
    """L = sum_m lambda_m mean_{p, n} softplus(-(s_p - s_n)) (PL of HarmonRank's comparison, arXiv 2601.02955).

    All n+ n- pairs, in near-linear time. Terms ``pairwise_logistic/<label>``. Args and errors:
    :class:`emer.objectives.exposed.LabelObjective`.
    """

    term = "pairwise_logistic"

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) as they are; ``previous_scores`` are not used."""
        lists = exposed_lists(scores, batch, self.scope)
        loss = auc_pair_loss(lists.scores, lists.labels, where=lists.where, reduction="per_objective")
        return self.output(loss, lists.pairs(), batch.schema)


@dataclass
class PairwiseSquareConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.auc_surrogates.PairwiseSquare"
    margin: float = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING


class PairwiseSquare(LabelObjective):
    """L = sum_m lambda_m mean_{p, n} (margin - (h_p - h_n))^2, h = sigmoid(s) (PSQ of HarmonRank's comparison).

    All n+ n- pairs, in linear time. Terms ``pairwise_square/<label>``.

    Args:
        margin: > 0, in units of h; the paper has 1.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`.

    Raises:
        EmerError: as there, or the margin is not a positive number.
    """

    term = "pairwise_square"

    def __init__(
        self, *, margin: float = 1.0, scope: Scope = "batch", label_weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if not 0 < margin < math.inf:
            raise EmerError(f"method.objective.margin is {margin}; it must be above 0 (1 in the paper)")
        self.margin = margin

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) before the sigmoid; ``previous_scores`` are not used."""
        lists = exposed_lists(scores, batch, self.scope)
        loss = pairwise_square_loss(
            lists.scores, lists.labels, where=lists.where, margin=self.margin, reduction="per_objective"
        )
        return self.output(loss, lists.pairs(), batch.schema)
