"""UMRE's objective (arXiv 2508.07613): regression on weighted labels, the weights following each label's GAUC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.label_aggregation import label_aggregation_loss
from emer.metrics.summary import enough_requests
from emer.objectives.base import ObjectiveOutput
from emer.objectives.exposed import LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch, Schema


@dataclass
class UmreObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/umre.yaml."""

    _target_: str = "emer.objectives.umre.UmreObjective"
    reweight: bool = MISSING
    step_size: float = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING


class UmreObjective(LabelObjective):
    """L = mean_i (s_i - sum_m omega_m y_im)^2 over the exposed candidates (UMRE, docs/rivals.md); one term, ``mse``.

    After every epoch omega_m <- omega_m exp(-eta dGAUC_m), dGAUC_m being the change of the label's validation GAUC
    since it was last known: what got worse weighs more. Then the omega are scaled back to their mean, 1. A label whose
    GAUC is not known now, or was not before, keeps its omega, and the others share what they had together. Nor does a
    GAUC count as known that rests on too few requests for ``label_gauc/mean``
    (:func:`emer.metrics.summary.enough_requests`): the weight would follow noise.

    So training reads the validation requests, though no more of them than one number for each label and epoch. They
    also choose the checkpoint: UMRE's validation score is slightly optimistic beside that of a method which never
    learns from them. The test score is not, as no test request is read.

    Outside training, the omega are those of the start, so that epochs can be compared.

    Args:
        reweight: False is an ablation: omega stays as it starts.
        step_size: eta. With 5, a loss of 0.01 in GAUC raises a weight by 5 %.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`; omega starts at the label weights,
            scaled to mean 1.

    Raises:
        EmerError: as there, or ``step_size`` is negative or not finite.
    """

    term = "mse"
    omega: Tensor
    start: Tensor
    gauc: Tensor

    def __init__(
        self,
        *,
        reweight: bool = True,
        step_size: float = 5.0,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if not 0 <= step_size < math.inf:
            raise EmerError(f"method.objective.step_size is {step_size}; it must be finite and not negative")
        self.reweight, self.step_size = reweight, step_size
        self.labels: tuple[str, ...] = ()

    def build(self, schema: Schema) -> None:
        """Make the weights of the labels of ``schema``, as buffers: omega, its start, and the last known GAUCs.

        Raises:
            EmerError: as :meth:`emer.objectives.exposed.LabelObjective.weights`.
        """
        weights = torch.tensor(self.weights(schema), dtype=torch.float64)
        self.labels = schema.feedback_names
        start = weights / weights.mean()
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("omega", start.clone())
        self.register_buffer("gauc", torch.full_like(start, torch.nan))

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """The one term."""
        return (self.term,)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms[self.term]

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) as they are; ``previous_scores`` are not used.

        Raises:
            EmerError: the weights were not built for the batch's labels.
        """
        if batch.schema.feedback_names != self.labels:
            raise EmerError(
                f"method.objective was built for the labels {', '.join(self.labels) or '(none)'}, and the request "
                f"log has {', '.join(batch.schema.feedback_names)}; call build(schema) with the log's schema first"
            )
        lists = exposed_lists(scores, batch, self.scope)
        omega = (self.omega if self.training else self.start).to(torch.float32)
        loss = label_aggregation_loss(lists.scores, lists.labels, weights=omega, where=lists.where, reduction="none")
        mean, count = (x.squeeze(0) for x in self.average(loss.unsqueeze(1), lists.where.sum(dim=1, keepdim=True)))
        return ObjectiveOutput(
            mean, {self.term: mean.detach()}, {self.term: count}, omega.expand(len(batch), -1), self.labels
        )

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Move the weights by the GAUCs of an epoch.

        Args:
            metrics: ``val/label_gauc/<label>`` of each label that has one, and ``val/groups/label_gauc/<label>``, the
                requests that it rests on; others are not read.

        Raises:
            EmerError: no label has a GAUC, or one comes without its number of requests.
        """
        if not self.reweight:
            return
        names = [f"label_gauc/{name}" for name in self.labels]
        there = [name for name in names if f"val/{name}" in metrics]
        if not there:
            raise EmerError(
                f"method.objective.reweight follows the labels' GAUCs, and the validation has none of "
                f"{', '.join(f'val/{name}' for name in names)}: none of its requests shows candidates with and without "
                "one and the same label; validate on more requests, or set method.objective.reweight=false"
            )
        for name in there:
            if f"val/groups/{name}" not in metrics:
                raise EmerError(
                    f"method.objective.reweight needs val/groups/{name}, the requests that val/{name} rests on, among "
                    "the validation's numbers; give after_validation both, or set method.objective.reweight=false"
                )
        now = self.gauc.new_tensor([metrics.get(f"val/{name}", math.nan) for name in names])
        requests = [int(metrics.get(f"val/groups/{name}", 0)) for name in names]
        known = now.isfinite() & (torch.tensor(requests, device=now.device) >= enough_requests(requests))
        moves = known & self.gauc.isfinite()
        # 0 where a label does not move, not NaN.
        raised = self.omega * torch.exp(-self.step_size * torch.where(moves, now - self.gauc, 0.0))
        before, after = (x[moves].sum() for x in (self.omega, raised))
        if bool(after > 0):
            self.omega.copy_(torch.where(moves, raised * (before / after), self.omega))
        self.gauc.copy_(torch.where(known, now, self.gauc))
