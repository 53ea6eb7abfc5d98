"""EMER's advantage evaluator: how much each objective lost since the previous model (eq. 7-9, 11-13)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from emer.metrics.topk import dcg_at_k, hit_rate_at_k, mean_at_k

Metric = Literal["dcg", "mean", "hit_rate"]
Normalise = Literal["none", "mean1"]
Scope = Literal["request", "batch_mean"]


@torch.no_grad()
def advantage_weights(
    scores: Tensor,
    previous_scores: Tensor,
    targets: Tensor,
    *,
    where: Tensor,
    metric: Metric = "dcg",
    k: int = 10,
    clip: float | None = None,
    normalise: Normalise = "none",
    scope: Scope = "request",
) -> Tensor:
    """Weight of each objective in each request: metric of the previous model / metric of the current one.

    Above 1 where the current model ranks worse for that objective than the previous one did. The ideal value
    cancels, so DCG and NDCG give the same weights, and so do seconds and milliseconds. No gradient: the metric
    is piecewise constant in the scores (A14).

    Args:
        scores, previous_scores: (B, N) of the model in training and of the previous one.
        targets: (B, N, K) non-negative pxtrs (IPUT targets where IPUT is on).
        where: (B, N) bool.
        metric: ``dcg`` (the paper's best), ``mean`` or ``hit_rate``, at ``k``.
        k: length of the list that is looked at; clamped to the request's candidates (A16).
        clip: limit the weights to [1/clip, clip] (A18); None leaves them.
        normalise: ``mean1`` rescales each request's weights to mean 1 (A18).
        scope: ``request``, or ``batch_mean`` for one weight per objective and batch (A15).

    Returns:
        (B, K) float32, strictly positive; exactly 1 where both models rank alike.

    Raises:
        ValueError: ``metric``, ``normalise`` or ``scope`` is unknown.
    """
    if metric == "hit_rate":
        current = hit_rate_at_k(scores, targets, k, where=where)
        previous = hit_rate_at_k(previous_scores, targets, k, where=where)
        delta = torch.full_like(current, 1.0 / k)
    elif metric in ("dcg", "mean"):
        function = dcg_at_k if metric == "dcg" else mean_at_k
        current = function(scores, targets, k, where=where)
        previous = function(previous_scores, targets, k, where=where)
        # Ranking each objective by itself is its ideal.
        ideal = torch.cat(
            [function(targets[..., i], targets[..., i : i + 1], k, where=where) for i in range(targets.shape[-1])],
            dim=-1,
        )
        delta = (1e-6 * ideal).clamp(min=torch.finfo(ideal.dtype).tiny)
    else:
        raise ValueError(f"evaluator_metric must be 'dcg', 'mean' or 'hit_rate', not {metric!r}")
    if scope == "batch_mean":
        current, previous, delta = (x.mean(dim=0, keepdim=True).expand_as(x) for x in (current, previous, delta))
    elif scope != "request":
        raise ValueError(f"weight_scope must be 'request' or 'batch_mean', not {scope!r}")
    weights = (previous + delta) / (current + delta)
    if clip is not None:
        weights = weights.clamp(1 / clip, clip)
    if normalise == "mean1":
        weights = weights / weights.mean(dim=-1, keepdim=True)
    elif normalise != "none":
        raise ValueError(f"weight_normalise must be 'none' or 'mean1', not {normalise!r}")
    return weights
