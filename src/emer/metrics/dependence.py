"""How much a final score goes with each objective that went into it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from emer.metrics.concordance import kendall_tau
from emer.requests import RequestBatch


class ObjectiveDependence(NamedTuple):
    """``per_request`` (B, K) float64, NaN where a request has no order; ``mean`` (K,) over the others, NaN if none."""

    per_request: Tensor
    mean: Tensor


def objective_dependence(scores: Tensor, batch: RequestBatch) -> ObjectiveDependence:
    """Kendall's tau-b of ``scores`` (B, N) and each raw pxtr within each request (Pantheon's analysis, docs/rivals.md).

    Over all candidates, exposed or not. 1 says that the score orders a request by that pxtr alone, 0 that it ignores
    it. Requests weigh alike. A request whose scores or pxtrs are all equal has no value.
    """
    # Rank gaps order as the pxtrs do, and are counted faster.
    tau = kendall_tau(scores, batch.rank_gap, where=batch.mask)
    return ObjectiveDependence(tau, tau.nanmean(dim=0))
