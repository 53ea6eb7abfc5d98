"""What the objectives of exposed candidates share: their lists, and one weighted term per feedback label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.objectives.base import ObjectiveOutput
from emer.requests import RequestBatch, Schema

Scope = Literal["batch", "request"]


OTHERS = "others"
"""In ``label_weights``: all labels that are not named."""


@dataclass(frozen=True)
class ExposedLists:
    """L lists of up to N candidates that are compared with each other, and with no other list's.

    Attributes:
        scores: (L, N).
        labels: (L, N, M) bool, in the order of ``Schema.feedback``.
        where: (L, N) bool, the exposed candidates.
    """

    scores: Tensor
    labels: Tensor
    where: Tensor

    def rows(self) -> Tensor:
        """(L, M) int64 exposed candidates of each list, the same for every label."""
        return self.where.sum(dim=1, keepdim=True).expand(-1, self.labels.shape[-1])

    def pairs(self) -> Tensor:
        """(L, M) int64 pairs n+ n- of a positive and a negative."""
        positives = (self.labels & self.where.unsqueeze(-1)).sum(dim=1)
        return positives * (self.rows() - positives)


def exposed_lists(scores: Tensor, batch: RequestBatch, scope: Scope) -> ExposedLists:
    """The exposed candidates of ``batch`` with their ``scores`` (B, N) and labels.

    ``batch`` gives one list of them all (HarmonRank's scope), ``request`` a list per request.
    """
    labels = batch.label > 0
    if scope == "request":
        return ExposedLists(scores, labels, batch.exposed)
    exposed = batch.exposed
    return ExposedLists(*(x[exposed].unsqueeze(0) for x in (scores, labels, exposed)))


class LabelObjective(nn.Module):
    """L = sum_m lambda_m L_m over the feedback labels m of the log, on the exposed candidates.

    L_m is the mean over the lists that have something to compare (a pair of both classes, or a row), and 0 if none has.

    Args:
        scope: ``batch`` is one list of all exposed candidates of a batch, ``request`` a list per request.
        label_weights: feedback label -> lambda, 0 leaves it out; those not named have the weight of ``others``, 1 if
            that is not named either.

    Raises:
        EmerError: the scope is unknown, or a weight is not a number >= 0.
    """

    needs_previous = False
    exposed_alone = True
    term = ""
    """What the terms are called, before the label."""

    def __init__(self, *, scope: Scope = "batch", label_weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if scope not in get_args(Scope):
            raise EmerError(f"method.objective.scope is {scope!r}; it must be one of {', '.join(get_args(Scope))}")
        for name, weight in (label_weights or {}).items():
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise EmerError(f"method.objective.label_weights.{name} is {weight!r}; it must be a number >= 0")
        self.scope: Scope = scope
        self.label_weights = dict(label_weights or {})

    def weights(self, schema: Schema) -> tuple[float, ...]:
        """lambda of each label, in the order of ``schema.feedback``.

        Raises:
            EmerError: the log has no labels, a weight is for none of them, or all are 0.
        """
        names = schema.feedback_names
        if not names:
            raise EmerError("method.objective learns from feedback labels, and this log has none; use another method")
        unknown = set(self.label_weights) - {*names, OTHERS}
        if unknown:
            raise EmerError(
                f"method.objective.label_weights names {', '.join(sorted(unknown))}; the labels are {', '.join(names)}"
            )
        weights = tuple(float(self._weight(name)) for name in names)
        if not any(weights):
            raise EmerError("method.objective.label_weights are all 0: nothing is left to train on")
        return weights

    def _weight(self, name: str) -> float:
        return self.label_weights.get(name, self.label_weights.get(OTHERS, 1.0))

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """One per label, in the order of ``schema.feedback``."""
        return tuple(f"{self.term}/{name}" for name in schema.feedback_names)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """sum_m lambda_m L_m of terms that were averaged over many batches."""
        prefix = f"{self.term}/"
        return torch.stack([self._weight(name.removeprefix(prefix)) * value for name, value in terms.items()]).sum()

    def average(self, per_list: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over the lists that have something to compare, and how much that mean counts beside other batches'.

        Args:
            per_list: (L, M), 0 where a list has nothing to compare.
            sizes: (L, M) int64, what a list's loss is the mean of: rows, or pairs.

        Returns:
            Both (M,). The counts are rows or pairs for the scope ``batch``, so that a short last batch, or one with few
            positives, counts for less in an average over batches; and for ``request`` the requests that have any.
        """
        filled = (sizes > 0).sum(dim=0)
        return per_list.sum(dim=0) / filled.clamp(min=1), sizes.sum(dim=0) if self.scope == "batch" else filled

    def output(self, per_label: Tensor, sizes: Tensor, schema: Schema) -> ObjectiveOutput:
        """Loss, terms and counts from each list's loss for each label; arguments as in :meth:`average`."""
        weights = per_label.new_tensor(self.weights(schema))
        means, counts = self.average(per_label, sizes)
        names = self.term_names(schema)
        return ObjectiveOutput(
            (weights * means).sum(),
            dict(zip(names, means.detach().unbind(), strict=True)),
            dict(zip(names, counts.unbind(), strict=True)),
        )
