"""What every objective gives back to the training loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from emer.requests import RequestBatch


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss to minimise and what to log of it.

    Attributes:
        loss: scalar.
        terms: detached scalars, by name.
        weights: (B, K) per-request weight of each named target, if the objective has such; else None.
        weight_names: the K target names.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    weight_names: tuple[str, ...] = ()


class Objective(Protocol):
    """Combines losses for one batch of requests; knows no network."""

    needs_previous: bool

    def __call__(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N); ``previous_scores`` (B, N) of the previous model, or None for fixed weights."""
