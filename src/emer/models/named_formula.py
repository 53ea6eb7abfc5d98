"""What the hand-made formulas share: parameters by the name of the objective, checked, in float64 buffers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.rank_aggregation import average_ranks
from emer.requests import RequestBatch, Schema


class NamedFormula(nn.Module, ABC):
    """A formula whose parameters are K numbers each, given by objective; float64 buffers, as no gradient trains them.

    Args:
        schema: names the objectives.
        hand_set: parameter -> K values, which stand where an objective is not named.
        given: parameter -> {objective: value}, or None for the hand-set values.
        limits: parameter -> smallest and largest value allowed.

    Raises:
        EmerError: an objective is unknown, or a value is out of its limits or not a number.
    """

    reads_ranks = False
    """Whether :meth:`scores` is a function of average ranks, not of pxtrs."""

    def __init__(
        self,
        schema: Schema,
        *,
        hand_set: Mapping[str, Sequence[float]],
        given: Mapping[str, Mapping[str, float] | None],
        limits: Mapping[str, tuple[float, float]],
    ) -> None:
        super().__init__()
        self.objectives, self.limits = schema.objective_names, dict(limits)
        values = {}
        for name, default in hand_set.items():
            named = given[name] or {}
            if unknown := sorted(set(named) - set(self.objectives)):
                raise EmerError(
                    f"method.model.{name} names {', '.join(unknown)}; the objectives are {', '.join(self.objectives)}"
                )
            values[name] = [named.get(k, v) for k, v in zip(self.objectives, default, strict=True)]
            self.register_buffer(name, torch.zeros(len(self.objectives), dtype=torch.float64))
        self.set_parameters(values)

    @property
    def parameter_vectors(self) -> dict[str, Tensor]:
        """Parameter -> (K,) float64, in the order of :attr:`objectives`."""
        return {name: getattr(self, name) for name in self.limits}

    def set_parameters(self, values: Mapping[str, Sequence[float]]) -> None:
        """Replace parameters in place, each by K values in the order of :attr:`objectives`.

        Raises:
            EmerError: a parameter is unknown, the number of values is not K, or one is out of its limits.
        """
        for name, vector in values.items():
            if name not in self.limits:
                raise EmerError(f"{type(self).__name__} has no parameter {name}; it has {', '.join(self.limits)}")
            if len(vector) != len(self.objectives):
                raise EmerError(
                    f"method.model.{name} has {len(vector)} values for {len(self.objectives)} objectives "
                    f"({', '.join(self.objectives)})"
                )
            low, high = self.limits[name]
            for objective, value in zip(self.objectives, vector, strict=True):
                if not low <= value <= high:  # NaN too
                    raise EmerError(
                        f"method.model.{name}.{objective} is {value}; it must be between {low:g} and {high:g}"
                    )
        for name, vector in values.items():
            getattr(self, name).copy_(torch.tensor(list(vector), dtype=torch.float64))

    @abstractmethod
    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """(...) or (P, ...) float64 scores with ``parameters`` (K,) or (P, K) in place of its own.

        Args:
            values: (..., K) pxtrs, or average ranks if :attr:`reads_ranks`.
            parameters: all of :attr:`parameter_vectors`.
        """

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float64 scores, 0 on padding.

        Raises:
            EmerError: the request log has other objectives.
        """
        if batch.schema.objective_names != self.objectives:
            raise EmerError(
                f"the formula is for the objectives {', '.join(self.objectives)}, "
                f"but the request log has {', '.join(batch.schema.objective_names)}"
            )
        values = average_ranks(batch.rank_gap, batch.mask) if self.reads_ranks else batch.pxtr
        return self.scores(values, self.parameter_vectors).masked_fill(~batch.mask, 0.0)
