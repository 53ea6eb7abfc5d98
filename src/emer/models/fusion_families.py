"""Hand-made formulas beside :mod:`emer.models.fusion`: power, log-sum, rank-reciprocal, linear (docs/rivals.md).

The functions evaluate one formula, parameters (K,), or a population of P, parameters (P, K). They compute in
float64 and add objective by objective, so that a candidate's score has the same bits whatever stands around it and
however many formulas are evaluated with it. A mismatch of K raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.models.named_formula import NamedFormula
from emer.requests import Schema

_LARGEST = 1e6
_SIGNED = (-_LARGEST, _LARGEST)
_SMALLEST_BIAS = 1e-12


class PowerFormula(NamedFormula):
    """F2, :func:`power_scores`. Hand-set: every exponent 1, the plain product.

    Args:
        schema: names the objectives.
        exponent: objective -> c; negative for an objective that counts against a candidate, 0 leaves it out.
        floor: smaller pxtrs count as this; above 0.
    """

    def __init__(self, schema: Schema, *, exponent: Mapping[str, float] | None = None, floor: float = 1e-6) -> None:
        ones = [1.0] * len(schema.objectives)
        super().__init__(
            schema, hand_set={"exponent": ones}, given={"exponent": exponent}, limits={"exponent": _SIGNED}
        )
        if not 0 < floor < math.inf:
            raise EmerError(f"method.model.floor is {floor}; it must be above 0, as the logarithm of 0 has no value")
        self.floor = floor

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        return power_scores(values, parameters["exponent"], floor=self.floor)


class LogSumFormula(NamedFormula):
    """F3, :func:`log_sum_scores`. Hand-set: :meth:`emer.models.fusion.FusionFormula.hand_set` up to a constant.

    Args:
        schema: names the objectives.
        weight: objective -> alpha.
        bias: objective -> beta, above 0, in the pxtr's unit.
    """

    def __init__(
        self, schema: Schema, *, weight: Mapping[str, float] | None = None, bias: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(
            schema,
            hand_set={"weight": [1.0] * len(schema.objectives), "bias": _typical(schema)},
            given={"weight": weight, "bias": bias},
            limits={"weight": _SIGNED, "bias": (_SMALLEST_BIAS, _LARGEST)},
        )

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        return log_sum_scores(values, parameters["weight"], parameters["bias"])


class RankReciprocalFormula(NamedFormula):
    """F4, :func:`rank_reciprocal_scores`. Hand-set: reciprocal rank fusion, w = 1, alpha = 1, beta = 60.

    Args:
        schema: names the objectives.
        weight: objective -> w.
        power: objective -> alpha, 0 or more.
        bias: objective -> beta, 0 or more, in ranks.
    """

    reads_ranks = True

    def __init__(
        self,
        schema: Schema,
        *,
        weight: Mapping[str, float] | None = None,
        power: Mapping[str, float] | None = None,
        bias: Mapping[str, float] | None = None,
    ) -> None:
        ones = [1.0] * len(schema.objectives)
        super().__init__(
            schema,
            hand_set={"weight": ones, "power": ones, "bias": [60.0] * len(ones)},
            given={"weight": weight, "power": power, "bias": bias},
            limits={"weight": _SIGNED, "power": (0.0, _LARGEST), "bias": (0.0, _LARGEST)},
        )

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        return rank_reciprocal_scores(values, parameters["weight"], parameters["power"], parameters["bias"])


class LinearFormula(NamedFormula):
    """F5, :func:`linear_scores`, or :func:`gated_linear_scores` with a gate.

    Hand-set: 1 / typical magnitude of each kind of objective, and 0 for the gate, which is a factor already.

    Args:
        schema: names the objectives.
        weight: objective -> w, per unit of the pxtr.
        gate: objective that multiplies the rest, such as the click; None for the plain sum.
    """

    def __init__(self, schema: Schema, *, weight: Mapping[str, float] | None = None, gate: str | None = None) -> None:
        if gate is not None and gate not in schema.objective_names:
            raise EmerError(f"method.model.gate is {gate}; the objectives are {', '.join(schema.objective_names)}")
        hand_set = [
            0.0 if k == gate else 1 / typical
            for k, typical in zip(schema.objective_names, _typical(schema), strict=True)
        ]
        super().__init__(schema, hand_set={"weight": hand_set}, given={"weight": weight}, limits={"weight": _SIGNED})
        self.gate = None if gate is None else schema.objective_names.index(gate)

    def scores(self, values: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        if self.gate is None:
            return linear_scores(values, parameters["weight"])
        return gated_linear_scores(values, parameters["weight"], self.gate)


def power_scores(pxtr: Tensor, exponent: Tensor, *, floor: float = 1e-6) -> Tensor:
    """log prod_k p_k^{c_k} = sum_k c_k log max(p_k, floor)  (F2).

    The limit of :func:`emer.models.fusion.fusion_scores` for large e^u p. A pxtr of 0 would veto a candidate, hence
    the floor.

    Args:
        pxtr: (..., K) non-negative.
        exponent: c, (K,) or (P, K).
        floor: above 0.

    Returns:
        (...) or (P, ...) float64.
    """
    logs = [p.clamp(min=floor).log_() for p in _columns(pxtr)]
    return _sum(c * log for c, log in zip(_columns(exponent, pxtr), logs, strict=True))


def log_sum_scores(pxtr: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """sum_k alpha_k log(p_k + beta_k)  (F3): F1 with u = -log beta and c = alpha, up to a constant.

    Args:
        pxtr: (..., K) non-negative.
        weight: alpha, (K,) or (P, K).
        bias: beta > 0, shaped like ``weight``.

    Returns:
        (...) or (P, ...) float64.
    """
    columns = zip(_columns(pxtr), _columns(weight, pxtr), _columns(bias, pxtr), strict=True)
    return _sum((p + b).log_().mul_(a) for p, a, b in columns)


def rank_reciprocal_scores(ranks: Tensor, weight: Tensor, power: Tensor, bias: Tensor) -> Tensor:
    """sum_k w_k / (r_k^{alpha_k} + beta_k)  (F4, "ensemble sort"), with r^alpha = e^{alpha log r}.

    Args:
        ranks: (..., K) average ranks, 1 for the best (:func:`emer.models.rank_aggregation.average_ranks`).
        weight: w, (K,) or (P, K).
        power, bias: alpha >= 0 and beta >= 0, shaped like ``weight``.

    Returns:
        (...) or (P, ...) float64.
    """
    # Not Tensor.pow: its last elements, too few for a vector, may differ in the last bit from the others.
    logs = [r.log() for r in _columns(ranks)]
    columns = zip(logs, *(_columns(x, ranks) for x in (weight, power, bias)), strict=True)
    # Nor add_: the gradient of exp reads its result.
    return _sum(w / ((log * a).exp() + b) for log, w, a, b in columns)


def linear_scores(pxtr: Tensor, weight: Tensor) -> Tensor:
    """sum_k w_k p_k  (F5).

    Args:
        pxtr: (..., K).
        weight: w, (K,) or (P, K).

    Returns:
        (...) or (P, ...) float64.
    """
    return _sum(w * p for p, w in zip(_columns(pxtr), _columns(weight, pxtr), strict=True))


def gated_linear_scores(pxtr: Tensor, weight: Tensor, gate: int) -> Tensor:
    """p_gate (1 + sum_k w_k p_k)  (F5): what follows a click counts only if there is one.

    The sum is over all K; weight 0 leaves the gate itself out of it. Arguments and result as in
    :func:`linear_scores`, with ``gate`` the column of the gate.
    """
    return linear_scores(pxtr, weight).add_(1).mul_(pxtr[..., gate])


def _typical(schema: Schema) -> list[float]:
    """K magnitudes a / b of the hand-set formula."""
    return (-FusionFormula.hand_set(schema).log_ratio).exp().tolist()


def _columns(values: Tensor, like: Tensor | None = None) -> list[Tensor]:
    """The K columns in contiguous float64; those of a parameter with axes to broadcast over the columns of ``like``."""
    columns = [c.contiguous() for c in values.to(torch.float64).unbind(-1)]
    return columns if like is None else [c.view(*c.shape, *(1,) * (like.dim() - 1)) for c in columns]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """The sum, from the first term to the last, of which one is in memory at a time; the first is overwritten."""
    following = iter(terms)
    total = next(following)  # a schema has at least one objective
    for term in following:
        total.add_(term)
    return total
