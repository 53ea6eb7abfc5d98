"""Metrics of the first k places: DCG@k, MEAN@k and HitRate@k of values, and NDCG@k of labels.

Conventions, for all of them:

- k is clamped to the request's number of valid candidates n: k' = min(k, n).
- Ties, in the score as in the values, are broken by position in the request: the earlier candidate comes
  first.
- The discount of place r (1 = best) is 1 / log2(r + 1).
- The gain of a value is the value itself (EMER eq. 11-13), also for labels, where 0/1 makes it the usual
  gain.
- A request without a valid candidate gives NaN; so does NDCG where there is no positive. Such requests are
  dropped from averages.

No gradient flows: the metrics are piecewise constant in the scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.ranking import descending_order


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
        ValueError: ``k`` is below 1.
    """
    where = _valid(scores, k, where)
    top, _ = _top_values(scores, values, k, where)
    return _drop(ordered_sum(top * _discounts(top).unsqueeze(-1)), where.any(dim=-1, keepdim=True))


@torch.no_grad()
def mean_at_k(scores: Tensor, values: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """MEAN@k = (1 / k') sum_{r <= k'} p_(r) (EMER eq. 12). Arguments and result as in :func:`dcg_at_k`."""
    where = _valid(scores, k, where)
    top, placed = _top_values(scores, values, k, where)
    return ordered_sum(top) / placed.sum(dim=-1, keepdim=True)


@torch.no_grad()
def hit_rate_at_k(scores: Tensor, values: Tensor, k: int, *, where: Tensor | None = None) -> Tensor:
    """HitRate@k = |top k' by value ∩ top k' by score| / k' (EMER eq. 11). Arguments as in
    :func:`dcg_at_k`.
    """
    where = _valid(scores, k, where)
    chosen = _in_top(scores, k, where).unsqueeze(-1)
    wanted = _in_top(values.transpose(1, 2), k, where.unsqueeze(1)).transpose(1, 2)
    size = where.sum(dim=-1, keepdim=True).clamp(max=k)
    return (chosen & wanted).sum(dim=1).to(_float(values)) / size


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
    where = _valid(scores, k, where)
    gains = labels.to(_float(labels)).masked_fill(~where.unsqueeze(-1), 0)
    best = gains.sort(dim=1, descending=True).values[:, :k]
    ideal = ordered_sum(best * _discounts(best).unsqueeze(-1))
    return _drop(dcg_at_k(scores, gains, k, where=where) / ideal, ideal > 0)


def ordered_sum(values: Tensor) -> Tensor:
    """Sum of (B, N, K) over the candidates, one after the other.

    ``Tensor.sum`` groups its terms by the shape of the tensor, so that a request's result would change in the
    last bit with the batch around it and its padding.
    """
    return values.cumsum(dim=1)[:, -1] if values.shape[1] else values.sum(dim=1)


def _valid(scores: Tensor, k: int, where: Tensor | None) -> Tensor:
    if k < 1:
        raise ValueError(f"k is {k}; a list has at least 1 place")
    return torch.ones_like(scores, dtype=torch.bool) if where is None else where


def _top_values(scores: Tensor, values: Tensor, k: int, where: Tensor) -> tuple[Tensor, Tensor]:
    """Values (B, min(k, N), K) in rank order, 0 past the last candidate, and (B, min(k, N)) whether
    placed.
    """
    order = descending_order(scores, where)[:, :k]
    placed = where.gather(1, order)
    top = values.to(_float(values)).gather(1, order.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
    return top.masked_fill(~placed.unsqueeze(-1), 0), placed


def _in_top(values: Tensor, k: int, where: Tensor) -> Tensor:
    """(..., N) bool: among the k best valid candidates of ``values`` (..., N)."""
    top = descending_order(values, where)[..., :k]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, top, True) & where


def _discounts(top: Tensor) -> Tensor:
    place = torch.arange(1, top.shape[1] + 1, device=top.device, dtype=top.dtype)
    return 1 / torch.log2(place + 1)


def _float(values: Tensor) -> torch.dtype:
    return values.dtype if values.is_floating_point() else torch.float32


def _drop(metric: Tensor, keep: Tensor) -> Tensor:
    return metric.masked_fill(~keep, torch.nan)
