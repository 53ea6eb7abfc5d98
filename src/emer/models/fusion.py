"""The fusion formula: a product over objectives of (a + b p)^c, the hand-made ranker that EMER replaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import Objective, RequestBatch, Role, Schema, Unit

TYPICAL_SECONDS = 10.0
TYPICAL_CONSUMPTION = 0.3
TYPICAL_INTERACTION = 0.01
"""Round magnitudes of a predicted watch time, of a viewing and of an interaction probability, for
:meth:`FusionFormula.hand_set`."""

_LARGEST_PARAMETER = 100.0


class FusionFormula(nn.Module):
    """Power-affine fusion formula (docs/rivals.md), evaluated in log space:

        log prod_k (a_k + b_k p_k)^{c_k} = sum_k c_k log(1 + e^{u_k} p_k) + constant,   u_k = log(b_k / a_k).

    Only u and the ratios of c matter for the order: scaling (a_k, b_k) together shifts all scores by a
    constant, scaling c scales them. With large e^u p a factor is a power of the pxtr, with small e^u p nearly
    linear in it. The product itself underflows in half precision; the sum does not.

    The parameters are float64 buffers, since no gradient trains them, and so are the scores.

    Args:
        objectives: names of the K objectives, in the order of the parameters.
        log_ratio: K values u.
        exponent: K values c; negative for an objective that counts against an item.

    Raises:
        EmerError: the numbers of names and parameters differ, or a parameter is not finite or far out of
        range.
    """

    reads_ranks = False
    log_ratio: Tensor
    exponent: Tensor

    def __init__(self, objectives: Sequence[str], log_ratio: Sequence[float], exponent: Sequence[float]) -> None:
        super().__init__()
        self.objectives = tuple(objectives)
        self.register_buffer("log_ratio", torch.zeros(len(self.objectives), dtype=torch.float64))
        self.register_buffer("exponent", torch.zeros(len(self.objectives), dtype=torch.float64))
        self.set_parameters(log_ratio, exponent)

    @classmethod
    def hand_set(cls, schema: Schema) -> Self:
        """Equal exponents 1, and a / b the typical magnitude of each kind of objective.

        So each factor is 1 + p / typical: it counts how far an item stands out, and an objective that is
        negligible for a user (who never comments, say) hardly moves the product. Needs no data, so that it
        can stand in before anything was tuned or trained.
        """
        log_ratio = [-math.log(_typical(objective)) for objective in schema.objectives]
        return cls(schema.objective_names, log_ratio, [1.0] * len(log_ratio))

    @classmethod
    def from_affine(cls, objectives: Sequence[str], a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> Self:
        """The formula prod_k (a_k + b_k p_k)^{c_k}, as it is usually written.

        Raises:
            EmerError: a or b is not positive; to leave an objective out, set its c to 0.
        """
        if len(a) != len(b) or any(not (x > 0 and y > 0) for x, y in zip(a, b, strict=True)):
            raise EmerError(
                f"a fusion formula needs as many positive a as b, not a = {list(a)}, b = {list(b)}; "
                "to leave an objective out, set its exponent c to 0"
            )
        return cls(objectives, [math.log(y) - math.log(x) for x, y in zip(a, b, strict=True)], c)

    def set_parameters(self, log_ratio: Sequence[float], exponent: Sequence[float]) -> None:
        """Replace the parameters in place. Raises as the class does."""
        for name, values in (("log_ratio", log_ratio), ("exponent", exponent)):
            if len(values) != len(self.objectives):
                raise EmerError(
                    f"the fusion formula has {len(self.objectives)} objectives "
                    f"({', '.join(self.objectives)}) but {len(values)} values of {name}"
                )
            if not all(math.isfinite(v) and abs(v) <= _LARGEST_PARAMETER for v in values):
                raise EmerError(
                    f"{name} of the fusion formula must be finite and within ±{_LARGEST_PARAMETER:g}, "
                    f"not {list(values)}"
                )
            getattr(self, name).copy_(torch.tensor(list(values), dtype=torch.float64))

    @property
    def parameter_vectors(self) -> dict[str, Tensor]:
        """Parameter -> (K,) float64."""
        return {"log_ratio": self.log_ratio, "exponent": self.exponent}

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """:func:`fusion_scores` of pxtrs (..., K) with ``parameters`` (K,) or (P, K) in place of its own."""
        return fusion_scores(values, parameters["log_ratio"], parameters["exponent"])

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float64 scores, 0 on padding.

        Raises:
            EmerError: the request log has other objectives.
        """
        if batch.schema.objective_names != self.objectives:
            raise EmerError(
                f"the fusion formula is for the objectives {', '.join(self.objectives)}, "
                f"but the request log has {', '.join(batch.schema.objective_names)}"
            )
        scores = self.scores(batch.pxtr, self.parameter_vectors)
        return scores.masked_fill(~batch.mask, 0.0)


def fusion_scores(pxtr: Tensor, log_ratio: Tensor, exponent: Tensor) -> Tensor:
    """sum_k c_k log(1 + e^{u_k} p_k), for one formula or a population of P.

    Args:
        pxtr: (..., K) non-negative.
        log_ratio, exponent: (K,) or (P, K).

    Returns:
        (...) or (P, ...) float64. Summed objective by objective, so that a candidate's score has the same
        bits whatever stands around it.
    """
    pxtr = pxtr.to(torch.float64)
    ratio = log_ratio.to(torch.float64).exp()
    power = exponent.to(torch.float64)
    total: Tensor | None = None
    for p, b, c in zip(pxtr.unbind(-1), ratio.unbind(-1), power.unbind(-1), strict=True):
        shape = (*b.shape, *(1,) * p.dim())
        term = (b.view(shape) * p).log1p_().mul_(c.view(shape))
        total = term if total is None else total.add_(term)
    assert total is not None  # a schema has at least one objective
    return total


def _typical(objective: Objective) -> float:
    if objective.unit is Unit.SECONDS:
        return TYPICAL_SECONDS
    return TYPICAL_INTERACTION if objective.role is Role.INTERACTION else TYPICAL_CONSUMPTION
