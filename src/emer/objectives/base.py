"""What every objective gives back to the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from emer.requests import RequestBatch, Schema


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss to minimise and what to log of it.

    Attributes:
        loss: scalar.
        terms: detached scalars, by name; the same names, in the same order, for every batch.
        counts: how many requests a term is the mean of, where that is not all of the batch.
        weights: (B, K) per-request weight of each named target, if the objective has such; else None.
        weight_names: the K target names.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    weight_names: tuple[str, ...] = ()


class Objective(Protocol):
    """Combines losses for one batch of requests; knows no network."""

    needs_previous: bool

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss that terms averaged over many batches amount to, at fixed weights."""

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the terms, in order."""

    def __call__(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N); ``previous_scores`` (B, N) of the previous model, or None for fixed weights."""
