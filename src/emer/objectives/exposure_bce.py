"""Cross-entropy of the score with having been shown or clicked: a term of UREM, and what UREM is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.losses.arguments import at_least_float32
from emer.objectives.base import ObjectiveOutput
from emer.requests import RequestBatch, Schema


@dataclass
class ExposureBceConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/exposure.yaml."""

    _target_: str = "emer.objectives.exposure_bce.ExposureBce"
    target: str | None = MISSING
    among: str | None = MISSING
    label_factor: float = MISSING


class ExposureBce(nn.Module):
    """L = mean_i w_i BCE(sigmoid(s_i), y_i), w_i = 1 + label_factor * (number of i's positive labels).

    The mean is over a request's candidates, then over the requests that have any. UREM's public code (Yu et al.,
    KDD 2024) compares with three of these: *click* is y = click, *multi-obj* the same with ``label_factor`` 1, and
    *primary* is y = long view ``among`` the clicked.

    Args:
        target: feedback label y of the exposed candidates. None: y is exposure itself, of all candidates.
        among: feedback label that a candidate must have to take part. None: all exposed, or all.
        label_factor: see above.

    Raises:
        EmerError: ``label_factor`` is not a number >= 0, or ``among`` is given without ``target``.
    """

    needs_previous = False

    def __init__(self, *, target: str | None = None, among: str | None = None, label_factor: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_factor < math.inf:
            raise EmerError(f"method.objective.label_factor is {label_factor}; it must be a number >= 0")
        if among is not None and target is None:
            raise EmerError(
                f"method.objective.among is {among}, but all candidates with a label were exposed, so that there is "
                "nothing to tell apart; name a label in method.objective.target, or set among to null"
            )
        self.target, self.among, self.label_factor = target, among, label_factor

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """The one term."""
        return ("exposure",)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms["exposure"]

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """The loss of ``scores`` (B, N), which are logits; ``previous_scores`` are not used.

        Raises:
            EmerError: the log lacks a label that is named.
        """
        y, where = exposure_target(batch, self.target, key="target")
        if self.among is not None:
            where = where & (feedback_column(batch, self.among, key="among") > 0)
        positive = batch.label[..., list(batch.schema.positive_indices)]
        weight = 1 + self.label_factor * positive.sum(dim=-1)
        loss, count = request_mean_bce(scores, y, where, weight)
        return ObjectiveOutput(loss, {"exposure": loss.detach()}, {"exposure": count})


def exposure_target(batch: RequestBatch, label: str | None, *, key: str) -> tuple[Tensor, Tensor]:
    """(B, N) target in {0, 1} and (B, N) bool candidates that have one: all of them their exposure, or with ``label``
    the exposed ones that label.

    Raises:
        EmerError: the log lacks the label; ``key`` is where ``method.objective`` names it.
    """
    if label is None:
        return batch.exposed.to(batch.label.dtype), batch.mask
    return feedback_column(batch, label, key=key), batch.exposed


def feedback_column(batch: RequestBatch, label: str, *, key: str) -> Tensor:
    """(B, N) feedback ``label``. Raises as :func:`exposure_target` does."""
    names = batch.schema.feedback_names
    if label not in names:
        raise EmerError(
            f"method.objective.{key} is {label!r}; the request log has the feedback {', '.join(names) or '(none)'}. "
            "Name one of these, or set it to null"
        )
    return batch.label[..., names.index(label)]


def request_mean_bce(
    scores: Tensor, target: Tensor, where: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean of weight * BCE over each request's candidates, then over the requests that have any.

    Args:
        scores, target, weight: (B, N) logits, targets in [0, 1], and factors (1 if None).
        where: (B, N) bool, the candidates that count.

    Returns:
        The mean, 0 if no request has a candidate, and how many have.
    """
    # The loss of masked places is dropped, but their gradient would be NaN if the score were.
    z = torch.where(where, at_least_float32(scores), 0)
    loss = F.binary_cross_entropy_with_logits(z, target.to(z.dtype).masked_fill(~where, 0), reduction="none")
    loss = loss if weight is None else loss * weight
    per_request = torch.where(where, loss, 0).sum(dim=-1) / where.sum(dim=-1).clamp(min=1)
    count = where.any(dim=-1).sum()
    return per_request.sum() / count.clamp(min=1), count
