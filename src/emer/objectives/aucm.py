"""AUC margin loss as an objective, its inner problem solved per batch or by descent and ascent (docs/rivals.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.losses.aucm import aucm_loss, aucm_min_max_loss
from emer.objectives.base import ObjectiveOutput
from emer.objectives.exposed import ExposedLists, LabelObjective, Scope, exposed_lists
from emer.requests import RequestBatch, Schema

Mode = Literal["closed", "min_max"]


@dataclass
class AucmConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.aucm.Aucm"
    mode: str = MISSING
    margin: float = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING


class Aucm(LabelObjective):
    """L = sum_m lambda_m F_m, the AUC margin loss of Yuan et al. 2021 in its form free of the prior, h = sigmoid(s):

        F(h, a, b, alpha) = E+ (h - a)^2 + E- (h - b)^2 + 2 alpha (margin + E- h - E+ h) - alpha^2,

    min over the scorer, a and b, max over alpha >= 0. Terms ``aucm/<label>``.

    With ``closed`` and a margin of at least 1 this is :class:`emer.objectives.auc_surrogates.PairwiseSquare`, number by
    number. With ``min_max``, :meth:`build` makes a, b and alpha (M,), one per label, which belong into the optimiser
    beside the scorer's parameters: alpha's gradient comes negated, so that any optimiser descends in the one and
    ascends in the other, and alpha is projected onto alpha >= 0 before each use. They start at the inner solution for
    a scorer that tells nothing apart (h = 1/2): a = b = 1/2, alpha = margin.

    Outside training both modes give the value at the inner solution: F at the running a, b and alpha is low, too,
    where alpha lags behind, and says little about the scorer.

    Args:
        mode: ``closed``: a, b and alpha at each batch's inner solution; ``min_max``: parameters that remember.
        margin: > 0, in units of h; the paper has 1. Only below 1 can the hinge be inactive.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`.

    Raises:
        EmerError: as there; the mode is unknown, or the margin not a positive number.
    """

    term = "aucm"

    a: nn.Parameter | None
    b: nn.Parameter | None
    alpha: nn.Parameter | None

    def __init__(
        self,
        *,
        mode: Mode = "closed",
        margin: float = 1.0,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if mode not in get_args(Mode):
            raise EmerError(f"method.objective.mode is {mode!r}; it must be one of {', '.join(get_args(Mode))}")
        if not 0 < margin < math.inf:
            raise EmerError(f"method.objective.margin is {margin}; it must be above 0 (1 in the paper)")
        self.mode, self.margin = mode, margin
        for name in ("a", "b", "alpha"):
            self.register_parameter(name, None)

    def build(self, schema: Schema) -> None:
        """Make the parameters, one per label; to be called before the optimiser is made and a checkpoint is loaded.

        Raises:
            EmerError: as :meth:`weights`.
        """
        M = len(self.weights(schema))
        if self.mode == "min_max":
            self.a, self.b = (nn.Parameter(torch.full((M,), 0.5)) for _ in range(2))
            self.alpha = nn.Parameter(torch.full((M,), float(self.margin)))

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) before the sigmoid; ``previous_scores`` are not used.

        Raises:
            ValueError: training with ``min_max`` before :meth:`build`.
        """
        lists = exposed_lists(scores, batch, self.scope)
        if self.mode == "min_max" and self.training:
            loss = self._min_max(lists)
        else:
            loss = aucm_loss(
                lists.scores, lists.labels, where=lists.where, margin=self.margin, reduction="per_objective"
            )
        return self.output(loss, lists.pairs(), batch.schema)

    def _min_max(self, lists: ExposedLists) -> Tensor:
        """F (L, M) at the parameters."""
        if self.a is None or self.b is None or self.alpha is None:
            raise ValueError("mode 'min_max' has parameters for each label: call build(schema) before training")
        with torch.no_grad():
            self.alpha.clamp_(min=0)
        # The same value with the opposite gradient.
        ascending = 2 * self.alpha.detach() - self.alpha
        return aucm_min_max_loss(
            lists.scores, lists.labels, self.a, self.b, ascending, where=lists.where, margin=self.margin,
            reduction="per_objective",
        )  # fmt: skip
