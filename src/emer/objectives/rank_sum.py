"""HarmonRank's objective (arXiv 2601.02955, eq. 3-10): the sum of the labels' AUCs, by differentiable ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.soft_rank import rank_sum_auc_loss
from emer.objectives.base import ObjectiveOutput
from emer.objectives.exposed import ExposedLists, LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch, Schema


@dataclass
class RankSumObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/rank_sum.yaml."""

    _target_: str = "emer.objectives.rank_sum.RankSumObjective"
    strength: float = MISSING
    normalise: bool = MISSING
    sigmoid: bool = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING


class RankSumObjective(LabelObjective):
    """L = sum_m lambda_m (1 - (<r, y_m> - n+ (n+ + 1) / 2) / (n+ n-)), r the soft ranks of the exposed candidates.

    A list without both classes of a label is skipped for that label. Terms ``rank_sum/<label>``; besides them
    ``positives/<label>``, which is n+, and ``skipped``, how many labels were skipped, both means over lists (resolution
    R4: a batch must have positives of the rarest label).

    Args:
        strength: kappa of :func:`emer.losses.soft_rank`; some 1 to 3. Small values leave no gradient, large ones no
            ranks.
        normalise: False drops 1 / (n+ n-), as eq. 7 does: L_m = -<r, y_m>, and frequent labels dominate (R2).
        sigmoid: rank sigmoid(s), the paper's scores in [0, 1], rather than s (R1).
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`; the paper's scope is ``batch``, so
            that scores are comparable across requests. With several processes each has a batch of its own.

    Raises:
        EmerError: as there, or ``strength`` is not a positive number.
    """

    term = "rank_sum"

    def __init__(
        self,
        *,
        strength: float = 2.0,
        normalise: bool = True,
        sigmoid: bool = True,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if not 0 < strength < math.inf:
            raise EmerError(f"method.objective.strength is {strength}; it must be positive and finite, 2 for example")
        self.strength, self.normalise, self.sigmoid = strength, normalise, sigmoid

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Loss and positives of each label, in the order of ``schema.feedback``, and ``skipped``."""
        return (*super().term_names(schema), *(f"positives/{name}" for name in schema.feedback_names), "skipped")

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """sum_m lambda_m L_m of terms that were averaged over many batches."""
        return super().total({name: value for name, value in terms.items() if name.startswith(f"{self.term}/")})

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) before the sigmoid; ``previous_scores`` are not used."""
        lists = exposed_lists(scores, batch, self.scope)
        loss = rank_sum_auc_loss(
            lists.scores,
            lists.labels,
            where=lists.where,
            strength=self.strength,
            squash=self.sigmoid,
            normalise=self.normalise,
            reduction="per_objective",
        )
        weights = loss.new_tensor(self.weights(batch.schema))
        means, counts = self.average(loss, lists.pairs())
        names = self.term_names(batch.schema)
        values = torch.cat([means.detach(), _label_counts(lists)])
        return ObjectiveOutput(
            (weights * means).sum(),
            dict(zip(names, values.unbind(), strict=True)),
            dict(zip(names[: len(counts)], counts.unbind(), strict=True)),
        )


def _label_counts(lists: ExposedLists) -> Tensor:
    """(M + 1,) float32 means over the lists: the positives of each label, and the labels without both classes."""
    positives = (lists.labels & lists.where.unsqueeze(-1)).sum(dim=1).float().mean(dim=0)
    skipped = (lists.pairs() == 0).sum(dim=1).float().mean()
    return torch.cat([positives, skipped.unsqueeze(0)])
