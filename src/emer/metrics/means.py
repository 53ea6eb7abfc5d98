"""Metrics of requests averaged over batches and processes, as torchmetrics classes of any loop.

Each keeps two sums per objective and returns

    sum_b w_b x_b / sum_b w_b   over the requests b where the metric exists (x_b is not NaN),

so a request without a pair, a positive or a candidate leaves numerator and denominator.

:class:`emer.metrics.request_metrics.RequestMetrics`, which the jobs of this project use, instead keeps every request's
values, orders them by row and counts a repeated request once. Here memory is constant, a request that a padding sampler
shows twice counts twice, and the last bits depend on how the requests were dealt out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, get_args

import torch
import torchmetrics
from torch import Tensor

from emer.metrics.concordance import concordance_auc
from emer.metrics.topk import dcg_at_k, hit_rate_at_k, map_at_k, mean_at_k, ndcg_at_k

WeighBy = Literal["candidates", "requests"]


class RequestMean(torchmetrics.Metric):
    """Weighted mean over requests of :meth:`request_values`, for each of ``num_outputs`` objectives or labels.

    States: ``total`` and ``weight``, (num_outputs,) float64, summed over processes.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    weight: Tensor

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_outputs < 1:
            raise ValueError(f"num_outputs is {num_outputs}; there is at least one objective")
        self.num_outputs = num_outputs
        for name in ("total", "weight"):
            self.add_state(name, default=torch.zeros(num_outputs, dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        """(B, K) metric of each request, NaN where it has none."""

    def request_weights(self, where: Tensor) -> Tensor:
        """Weights of the requests where none are given, broadcastable to (B, K)."""
        return where.new_ones((len(where), 1), dtype=torch.float64)

    def update(
        self, scores: Tensor, targets: Tensor, where: Tensor | None = None, weights: Tensor | None = None
    ) -> None:
        """Add B requests.

        Args:
            scores: (B, N), larger is better.
            targets: (B, N, K) with K = ``num_outputs``.
            where: (B, N) bool, the valid candidates; all if None.
            weights: (B,) or (B, K), of the requests, non-negative; the metric's own if None.

        Raises:
            ValueError: a shape does not fit, or a weight is negative, infinite or NaN.
        """
        if scores.dim() != 2 or targets.shape != (*scores.shape, self.num_outputs):
            raise ValueError(
                f"scores have shape {tuple(scores.shape)} and targets {tuple(targets.shape)}; "
                f"needed are (B, N) and (B, N, {self.num_outputs})"
            )
        where = torch.ones_like(scores, dtype=torch.bool) if where is None else where
        if where.shape[:2] != scores.shape:
            raise ValueError(f"where has shape {tuple(where.shape)}, the scores have {tuple(scores.shape)}")
        values = self.request_values(scores, targets, where).double()
        w = self.request_weights(where) if weights is None else _checked(weights, len(scores), self.num_outputs)
        w = w.double().expand_as(values).masked_fill(values.isnan(), 0)
        self.total += (w * values.nan_to_num()).sum(dim=0)
        self.weight += w.sum(dim=0)

    def compute(self) -> Tensor:
        """(K,) float64; NaN where no request has a value."""
        return self.total / self.weight


class GAUC(RequestMean):
    """Group AUC, each request a group: sum_b n_b AUC_b / sum_b n_b (DIN; Zhou et al. 2018, eq. 7).

    AUC_b is :func:`emer.metrics.concordance.concordance_auc`, so targets may be labels or continuous, and ``where``
    may also be (B, N, K), for candidates whose target is known.

    Args:
        num_outputs: number of objectives or labels.
        weigh_by: "candidates": n_b is the number of valid candidates; "requests": n_b = 1.
    """

    def __init__(self, num_outputs: int = 1, weigh_by: WeighBy = "candidates", **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        if weigh_by not in get_args(WeighBy):
            raise ValueError(f"weigh_by must be one of {', '.join(get_args(WeighBy))}, not {weigh_by!r}")
        self.weigh_by = weigh_by

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return concordance_auc(scores, targets, where=where)

    def request_weights(self, where: Tensor) -> Tensor:
        if self.weigh_by == "requests":
            return super().request_weights(where)
        return (where if where.dim() == 3 else where.unsqueeze(-1)).sum(dim=1)


class _AtK(RequestMean):
    """A metric of the first k places.

    Args:
        num_outputs: number of objectives or labels.
        k: length of the list; clamped to a request's candidates.
    """

    def __init__(self, num_outputs: int = 1, k: int = 10, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        if k < 1:
            raise ValueError(f"k is {k}; a list has at least 1 place")
        self.k = k


class DCG(_AtK):
    """Mean over requests of :func:`emer.metrics.topk.dcg_at_k`."""

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return dcg_at_k(scores, targets, self.k, where=where)


class NDCG(_AtK):
    """Mean over requests of :func:`emer.metrics.topk.ndcg_at_k`."""

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return ndcg_at_k(scores, targets, self.k, where=where)


class MAP(_AtK):
    """Mean over requests of :func:`emer.metrics.topk.map_at_k`."""

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return map_at_k(scores, targets, self.k, where=where)


class HitRate(_AtK):
    """Mean over requests of :func:`emer.metrics.topk.hit_rate_at_k`."""

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return hit_rate_at_k(scores, targets, self.k, where=where)


class MeanAtK(_AtK):
    """Mean over requests of :func:`emer.metrics.topk.mean_at_k`."""

    def request_values(self, scores: Tensor, targets: Tensor, where: Tensor) -> Tensor:
        return mean_at_k(scores, targets, self.k, where=where)


def _checked(weights: Tensor, B: int, K: int) -> Tensor:
    """``weights`` as (B, 1) or (B, K)."""
    if weights.shape not in ((B,), (B, 1), (B, K)):
        raise ValueError(f"weights have shape {tuple(weights.shape)}; {B} requests need {(B,)} or {(B, K)}")
    wrong = ~torch.isfinite(weights) | (weights < 0)
    if bool(wrong.any()):
        raise ValueError(f"weights[{', '.join(str(i) for i in wrong.nonzero()[0].tolist())}] is no weight")
    return weights.unsqueeze(-1) if weights.dim() == 1 else weights
