"""EMER's advantage evaluator: how much each objective lost since the previous model (eq. 7-9, 11-13)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from emer.metrics.places import first_places, values_at
from emer.metrics.topk import dcg_of_top, hit_rate_of_top, mean_of_top

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
    if metric not in get_args(Metric):
        raise ValueError(f"evaluator_metric must be 'dcg', 'mean' or 'hit_rate', not {metric!r}")
    (chosen, placed), (chosen_before, _) = (first_places(s.unsqueeze(-1), k, where) for s in (scores, previous_scores))
    wanted, _ = first_places(targets, k, where)
    if metric == "hit_rate":
        current, previous = (
            hit_rate_of_top(p, wanted, placed, where).to(targets.dtype) for p in (chosen, chosen_before)
        )
        delta = torch.full_like(current, 1.0 / k)
    else:
        function = dcg_of_top if metric == "dcg" else mean_of_top
        # Ranking each objective by itself is its ideal.
        current, previous, ideal = (
            function(values_at(targets, p, placed), placed) for p in (chosen, chosen_before, wanted)
        )
        delta = (1e-6 * ideal).clamp(min=torch.finfo(ideal.dtype).tiny)
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
