"""Metrics of the first k places: DCG@k, MEAN@k and HitRate@k of values, NDCG@k and MAP@k of labels.

Conventions, for all of them:

- k is clamped to the request's number of valid candidates n: k' = min(k, n).
- Ties, in the score as in the values, are broken by position in the request: the earlier candidate comes
  first.
- The discount of place r (1 = best) is 1 / log2(r + 1).
- The gain of a value is the value itself (EMER eq. 11-13), also for labels, where 0/1 makes it the usual
  gain.
- A request without a valid candidate gives NaN; so do NDCG and MAP where there is no positive. Such requests are
  dropped from averages.
- Scores and values are without NaN at valid candidates, and not read elsewhere.

No gradient flows: the metrics are piecewise constant in the scores. Where several are needed for one score, find its
first places once (:func:`emer.metrics.places.first_places`) and use the functions ``*_of_top``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.metrics.places import first_places, float_of, values_at
from emer.ranking import valid_or_all


@torch.no_grad()
def dcg_at_k(scores: Tensor, values: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """DCG@k = sum_{r <= k'} p_(r) / log2(r + 1), with p_(r) the value at rank r of the score (EMER eq. 13).

    Args:
        scores: (B, N).
        values: (B, N, K), larger is better.
        k: length of the list, at least 1.
        where: (B, N) bool, the valid candidates; all if None.

    Returns:
        (B, K), type of ``values``; NaN where a request has no valid candidate.

    Raises:
        ValueError: ``k`` is below 1, a shape does not fit, or ``where`` is not bool.
    """
    position, placed = first_places(scores.unsqueeze(-1), k, _valid(scores, values, where))
    return dcg_of_top(values_at(values, position, placed), placed)


@torch.no_grad()
def mean_at_k(scores: Tensor, values: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """MEAN@k = (1 / k') sum_{r <= k'} p_(r) (EMER eq. 12). Arguments and result as in :func:`dcg_at_k`."""
    position, placed = first_places(scores.unsqueeze(-1), k, _valid(scores, values, where))
    return mean_of_top(values_at(values, position, placed), placed)


@torch.no_grad()
def hit_rate_at_k(scores: Tensor, values: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """HitRate@k = |top k' by value ∩ top k' by score| / k' (EMER eq. 11). Arguments as in
    :func:`dcg_at_k`.
    """
    where = _valid(scores, values, where)
    chosen, placed = first_places(scores.unsqueeze(-1), k, where)
    wanted, _ = first_places(values, k, where)
    return hit_rate_of_top(chosen, wanted, placed, where).to(float_of(values))


@torch.no_grad()
def ndcg_at_k(scores: Tensor, labels: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """NDCG@k = DCG@k / DCG@k of the best order.

    Args:
        scores, k: as in :func:`dcg_at_k`.
        labels: (B, N, M), non-negative gains, usually 0 / 1.
        where: (B, N) bool, the candidates whose label is known; all if None.

    Returns:
        (B, M); NaN where a request has no positive label, since every order of it is as good.
    """
    where = _valid(scores, labels, where)
    ideal = ideal_dcg_at_k(labels, k, where)
    return _drop(dcg_at_k(scores, labels, k, where=where) / ideal, ideal > 0)


@torch.no_grad()
def map_at_k(scores: Tensor, labels: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """AP@k = 1 / min(k', n₊) sum_{r <= k'} y_(r) Precision@r, whose mean over requests is MAP@k.

    y_(r) is the label at rank r, Precision@r = (1 / r) sum_{s <= r} y_(s), and n₊ the number of positives among the n
    valid candidates. Dividing by min(k', n₊) makes 1 the best value for every k; others divide by n₊, or by the
    positives among the first k. With k >= n all three are scikit-learn's ``average_precision_score`` without ties.

    Args:
        scores, k, where: as in :func:`ndcg_at_k`.
        labels: (B, N, M) bool or 0 / 1.

    Returns:
        (B, M); NaN where a request has no positive label.
    """
    where = _valid(scores, labels, where)
    position, placed = first_places(scores.unsqueeze(-1), k, where)
    positive = labels != 0
    hit = values_at(positive, position, placed).to(float_of(labels))
    place = torch.arange(1, hit.shape[1] + 1, device=hit.device, dtype=hit.dtype).unsqueeze(-1)
    reachable = (positive & where.unsqueeze(-1)).sum(dim=1).clamp(max=k)
    return ordered_sum(hit * hit.cumsum(dim=1) / place) / reachable


def dcg_of_top(top: Tensor, placed: Tensor) -> Tensor:
    """DCG (B, K) of the values (B, k, K) in the first places; NaN where nothing is placed (B, k, 1)."""
    place = torch.arange(1, top.shape[1] + 1, device=top.device, dtype=top.dtype).unsqueeze(-1)
    return _drop(ordered_sum(top * (1 / torch.log2(place + 1))), placed.any(dim=1))


def mean_of_top(top: Tensor, placed: Tensor) -> Tensor:
    """Mean (B, K) of the values (B, k, K) in the first places; NaN where nothing is placed (B, k, 1)."""
    return ordered_sum(top) / placed.sum(dim=1)


def hit_rate_of_top(chosen: Tensor, wanted: Tensor, placed: Tensor, where: Tensor) -> Tensor:
    """Fraction (B, K), float64, of the first places by value that are first places by score.

    Args:
        chosen: (B, k, 1) positions by score.
        wanted: (B, k, K) positions by value.
        placed: (B, k, 1) bool, of both.
        where: (B, N) bool.
    """
    # Past the last candidate a position means nothing, so it is not written.
    request, place = placed.squeeze(-1).nonzero(as_tuple=True)
    is_chosen = torch.zeros_like(where)
    is_chosen[request, chosen[request, place, 0]] = True
    hit = is_chosen.unsqueeze(-1).expand(-1, -1, wanted.shape[-1]).gather(1, wanted) & placed
    return hit.sum(dim=1).double() / placed.sum(dim=1)


def ideal_dcg_at_k(values: Tensor, k: int, where: Tensor) -> Tensor:
    """DCG@k (B, K) of ranking by each objective itself."""
    position, placed = first_places(values, k, where)
    return dcg_of_top(values_at(values, position, placed), placed)


def ordered_sum(values: Tensor) -> Tensor:
    """Sum of (B, N, K) over the candidates, one after the other.

    ``Tensor.sum`` groups its terms by the shape of the tensor, so that a request's result would change in the
    last bit with the batch around it and its padding.
    """
    return values.cumsum(dim=1)[:, -1] if values.shape[1] else values.sum(dim=1)


def _valid(scores: Tensor, values: Tensor, where: Tensor | None) -> Tensor:
    """``where`` or all True; raise ValueError unless ``values`` is (B, N, K) for ``scores`` (B, N)."""
    if scores.dim() != 2 or values.dim() != 3 or values.shape[:2] != scores.shape:
        raise ValueError(f"values of shape {tuple(values.shape)} do not fit scores of shape {tuple(scores.shape)}")
    return valid_or_all(scores, where)


def _drop(metric: Tensor, keep: Tensor) -> Tensor:
    return metric.masked_fill(~keep, torch.nan)
