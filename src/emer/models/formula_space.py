"""The parameters of a fusion formula as a point of a unit cube: what every tuner searches, whatever the family."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.models.fusion_families import LinearFormula, LogSumFormula, PowerFormula, RankReciprocalFormula
from emer.models.rank_aggregation import average_ranks
from emer.requests import Objective, RequestBatch, Role, Schema, Unit

LOG_RATIO_RANGE = math.log(100.0)
"""A parameter with a unit, or the log ratio u of F1, is searched within this factor of its hand-set value on either
side: for u from nearly linear to nearly a pure power."""

LARGEST_EXPONENT = 2.0
"""An exponent or weight without a unit is searched in [0, this] around its hand-set 1; 0 leaves an objective out."""


class Formula(Protocol):
    """What a family's module offers; :class:`emer.models.named_formula.NamedFormula` says what each is."""

    reads_ranks: bool

    @property
    def parameter_vectors(self) -> dict[str, Tensor]: ...

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class _Family:
    """``build`` makes the hand-set formula; ``factors`` names the parameters that are searched by their logarithm and
    ``logs`` those that are logarithms already, both within LOG_RATIO_RANGE. Others have [0, LARGEST_EXPONENT].
    """

    build: Callable[[Schema], nn.Module]
    logs: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()


FAMILIES: Mapping[str, _Family] = {
    "power_affine": _Family(FusionFormula.hand_set, logs=("log_ratio",)),
    "power": _Family(PowerFormula),
    "log_sum": _Family(LogSumFormula, factors=("bias",)),
    "rank_reciprocal": _Family(RankReciprocalFormula, factors=("bias",)),
    "linear": _Family(LinearFormula, factors=("weight",)),
    "gated_linear": _Family(lambda schema: LinearFormula(schema, gate=_gate(schema)), factors=("weight",)),
}


class FormulaSpace:
    """Every parameter vector of one family, as the D-dimensional unit cube with the hand-set formula at its centre.

    A hand-set value of 0 (the gate's own weight) is not searched. Scores are differentiable in the points.

    Args:
        schema: names the objectives and gives the hand-set formula.
        formula: one of :data:`FAMILIES` (docs/rivals.md).

    Raises:
        EmerError: the family is unknown, or has no gate or nothing to search in this schema.
    """

    def __init__(self, schema: Schema, formula: str = "power_affine") -> None:
        if formula not in FAMILIES:
            raise EmerError(f"method.formula is {formula!r}; it must be one of {', '.join(FAMILIES)}")
        self.name, self.schema, self._family = formula, schema, FAMILIES[formula]
        self._hand_set = self._family.build(schema)
        self.free = {name: vector != 0 for name, vector in self._of(self._hand_set).parameter_vectors.items()}
        self.D = sum(int(free.sum()) for free in self.free.values())
        if self.D == 0:
            raise EmerError(f"method.formula {formula} has nothing to tune with one objective; choose power_affine")

    @property
    def names(self) -> tuple[str, ...]:
        """``parameter.objective`` of each of the D coordinates."""
        return tuple(
            f"{parameter}.{objective}"
            for parameter, free in self.free.items()
            for objective, searched in zip(self.schema.objective_names, free.tolist(), strict=True)
            if searched
        )

    @property
    def centre(self) -> Tensor:
        """(D,) float64: the hand-set formula."""
        return torch.full((self.D,), 0.5, dtype=torch.float64)

    @property
    def reads_ranks(self) -> bool:
        """Whether :meth:`scores` takes average ranks, not pxtrs."""
        return self._of(self._hand_set).reads_ranks

    def parameters(self, points: Tensor) -> dict[str, Tensor]:
        """Parameter -> (K,) or (P, K) float64 of ``points`` (D,) or (P, D) in [0, 1]."""
        found, used = {}, 0
        for name, hand_set in self._of(self._hand_set).parameter_vectors.items():
            hand_set, free = hand_set.to(points.device), self.free[name].to(points.device)
            start = hand_set[free]
            step = 2 * points[..., used : used + len(start)].to(torch.float64) - 1
            used += len(start)
            if name in self._family.factors:
                value = start * (LOG_RATIO_RANGE * step).exp()
            elif name in self._family.logs:
                value = start + LOG_RATIO_RANGE * step
            else:
                value = start + LARGEST_EXPONENT / 2 * step
            full = hand_set.expand(*points.shape[:-1], -1).clone()
            full[..., free] = value
            found[name] = full
        return found

    def scores(self, values: Tensor, points: Tensor) -> Tensor:
        """(...) float64 scores of one point (D,), or (P, ...) of a population (P, D).

        Args:
            values: (..., K) pxtrs, or average ranks if :attr:`reads_ranks`.
            points: in [0, 1].
        """
        return self._of(self._hand_set).scores(values, self.parameters(points))

    def formula(self, point: Tensor) -> nn.Module:
        """The formula at ``point`` (D,): RequestBatch -> (B, N) float64 scores."""
        model = copy.deepcopy(self._hand_set)
        vectors = self._of(model).parameter_vectors
        for name, vector in self.parameters(point).items():
            vectors[name].copy_(vector)
        return model

    @staticmethod
    def _of(model: nn.Module) -> Formula:
        return cast(Formula, model)


class SegmentedFormula(nn.Module):
    """A formula whose parameters are those of the user's segment: an id of one user category (docs/rivals.md).

    Args:
        space: the family.
        category: name of the user category.

    Raises:
        EmerError: the schema has no such user category.
    """

    points: Tensor

    def __init__(self, space: FormulaSpace, *, category: str) -> None:
        super().__init__()
        self.space = space
        self.column = segment_column(space.schema, category)
        size = space.schema.user_categories[self.column].size
        self.register_buffer("points", torch.full((size, space.D), 0.5, dtype=torch.float64))

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float64 scores, 0 on padding.

        Raises:
            EmerError: the request log has other objectives or user categories.
        """
        own, other = self.space.schema, batch.schema
        if (own.objective_names, own.user_categories) != (other.objective_names, other.user_categories):
            raise EmerError(
                "the formula was tuned for a log with other objectives or user categories; tune it on this one"
            )
        values = average_ranks(batch.rank_gap, batch.mask) if self.space.reads_ranks else batch.pxtr
        segment = batch.user_categories[:, self.column]
        scores = torch.zeros(batch.mask.shape, dtype=torch.float64, device=batch.mask.device)
        for s in segment.unique().tolist():
            scores[segment == s] = self.space.scores(values[segment == s], self.points[s])
        return scores.masked_fill(~batch.mask, 0.0)


def segment_column(schema: Schema, category: str) -> int:
    """Column of the user category ``category``.

    Raises:
        EmerError: there is none of that name.
    """
    names = [c.name for c in schema.user_categories]
    if category not in names:
        known = f"one of {', '.join(names)}" if names else "null: the log has no user categories"
        raise EmerError(f"method.tuner.segment is {category!r}; it must be {known}")
    return names.index(category)


def _gate(schema: Schema) -> str:
    """The first probability of consumption, such as the click: what comes after it counts only if it happens."""

    def opens(objective: Objective) -> bool:
        return objective.unit is Unit.PROBABILITY and objective.role is Role.CONSUMPTION

    found = next((o.name for o in schema.objectives if opens(o)), None)
    if found is None:
        raise EmerError("method.formula gated_linear needs a consumption objective in probability; choose linear")
    return found
