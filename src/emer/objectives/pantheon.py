"""Pantheon's objective (arXiv 2505.13894): weighted cross-entropy of one score against every label, and the towers'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.bce import multi_objective_bce_loss, reconstruction_loss
from emer.objectives.base import ObjectiveOutput
from emer.objectives.exposed import LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch, Schema


@dataclass
class PantheonObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/pantheon.yaml."""

    _target_: str = "emer.objectives.pantheon.PantheonObjective"
    ippo: bool = MISSING
    tower_weight: float = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING


class PantheonObjective(LabelObjective):
    """L = sum_m w_m BCE(sigmoid(s), y_m) + tower_weight sum_m BCE(sigmoid(z_m), y_m) on the exposed candidates.

    The first sum trains the score s (docs/rivals.md), the second the towers' logits z (B, N, M); a model that stops the
    gradient between the two has two losses in one step. Terms ``bce/<label>`` and ``tower/<label>``; those of a model
    without towers (M = 0) are 0.

    w is the buffer ``w`` (M,). The training procedure moves it (:mod:`emer.training.ippo_module`). For the optimum only
    ratios matter, since the score and the towers share no parameters; where gradients are clipped, by one norm of both,
    a larger w also shortens the towers' steps. Outside training the weights are those of the start, so that epochs can
    be compared.

    Args:
        ippo: ask the training procedure to move w. False is an ablation: w stays as it starts.
        tower_weight: coefficient of the second sum, > 0; without it the towers would stay as they were drawn.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`; w starts at the label weights,
            which must be > 0 here.

    Raises:
        EmerError: as there, or a weight is not > 0.
    """

    term = "bce"
    needs = ("tower_logits",)
    needs_hint = "choose method=pantheon, or another objective=..."
    w: Tensor
    start: Tensor

    def __init__(
        self,
        *,
        ippo: bool = True,
        tower_weight: float = 1.0,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if not 0 < tower_weight < math.inf:
            raise EmerError(f"method.objective.tower_weight is {tower_weight}; it must be a number > 0")
        for name, weight in self.label_weights.items():
            if weight == 0:
                raise EmerError(f"method.objective.label_weights.{name} is 0; the weights of this objective are > 0")
        self.ippo, self.tower_weight = ippo, tower_weight
        self.labels: tuple[str, ...] = ()

    def build(self, schema: Schema) -> None:
        """Make the weights of the labels of ``schema``, as buffers.

        Raises:
            EmerError: as :meth:`emer.objectives.exposed.LabelObjective.weights`.
        """
        start = torch.tensor(self.weights(schema), dtype=torch.float64)
        self.labels = schema.feedback_names
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("w", start.clone())

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """The score's terms, then the towers'; each in the order of ``schema.feedback``."""
        return super().term_names(schema) + tuple(f"tower/{name}" for name in schema.feedback_names)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss at the weights of the start."""
        score = {name: value for name, value in terms.items() if name.startswith("bce/")}
        tower = torch.stack([value for name, value in terms.items() if name not in score]).sum()
        return super().total(score) + self.tower_weight * tower

    def forward(
        self,
        scores: Tensor,
        batch: RequestBatch,
        previous_scores: Tensor | None = None,
        details: Mapping[str, Tensor] | None = None,
    ) -> ObjectiveOutput:
        """``scores`` (B, N) are logits; ``details`` has ``tower_logits`` (B, N, M), M = 0 without towers.

        Raises:
            EmerError: the weights were not built for the batch's labels, or the towers are not of them.
        """
        schema = batch.schema
        M = len(schema.feedback)
        if schema.feedback_names != self.labels:
            raise EmerError(
                f"method.objective was built for the labels {', '.join(self.labels) or '(none)'}, and the request "
                f"log has {', '.join(schema.feedback_names)}; call build(schema) with the log's schema first"
            )
        logits = None if details is None else details.get("tower_logits")
        if logits is None or logits.shape[-1] not in (0, M):
            raise EmerError(
                f"method.objective needs tower_logits (B, N, {M}) of the model, or (B, N, 0) if it has no towers, "
                f"not {None if logits is None else tuple(logits.shape)}; {self.needs_hint}"
            )
        lists = exposed_lists(scores, batch, self.scope)
        loss = multi_objective_bce_loss(lists.scores, lists.labels, where=lists.where, reduction="per_objective")
        means, counts = self.average(loss, lists.rows())
        w = (self.w if self.training else self.start).to(means.dtype)
        tower, tower_counts = torch.zeros_like(means), torch.zeros_like(counts)
        if logits.shape[-1]:
            if self.scope == "batch":
                logits = logits[batch.exposed].unsqueeze(0)
            loss = reconstruction_loss(logits, lists.labels, where=lists.where, reduction="per_objective")
            tower, tower_counts = self.average(loss, lists.rows())
        values = torch.cat([means, tower])
        names = self.term_names(schema)
        return ObjectiveOutput(
            (w * means).sum() + self.tower_weight * tower.sum(),
            dict(zip(names, values.detach().unbind(), strict=True)),
            dict(zip(names, torch.cat([counts, tower_counts]).unbind(), strict=True)),
        )
