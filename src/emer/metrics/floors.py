"""What a uniformly random order of the candidates is expected to reach: the floor under every metric.

Concordance and pooled AUC have the floor 1/2 (:data:`AUC`). The others depend on the request; conventions and
arguments are those of :mod:`emer.metrics.topk`, with k' = min(k, n) and D(m) = sum_{r <= m} 1 / log2(r + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.metrics.topk import ordered_sum

AUC = 0.5
"""Every pair is concordant with probability 1/2."""


@torch.no_grad()
def random_dcg_at_k(values: Tensor, k: int, *, where: Tensor) -> Tensor:
    """E[DCG@k] = mean value x D(k'). ``values`` (B, N, K), ``where`` (B, N); returns (B, K), NaN if none
    valid.
    """
    placed = where.sum(dim=-1).clamp(max=k)
    return random_mean_at_k(values, where=where) * _discount_sum(placed, values).unsqueeze(-1)


@torch.no_grad()
def random_mean_at_k(values: Tensor, *, where: Tensor) -> Tensor:
    """E[MEAN@k] = mean value, whatever k. Shapes as in :func:`random_dcg_at_k`."""
    total = ordered_sum(values.masked_fill(~where.unsqueeze(-1), 0))
    return total / where.sum(dim=-1, keepdim=True)


@torch.no_grad()
def random_hit_rate_at_k(k: int, *, where: Tensor) -> Tensor:
    """E[HitRate@k] = k' / n: each of the k' wanted candidates is chosen with that probability. Returns (B,
    1).
    """
    n = where.sum(dim=-1, keepdim=True)
    return n.clamp(max=k) / n


@torch.no_grad()
def random_ndcg_at_k(labels: Tensor, k: int, *, where: Tensor) -> Tensor:
    """E[NDCG@k] = (n₊ / n) D(k') / D(min(k', n₊)) for 0 / 1 labels (B, N, M); (B, M), NaN without a
    positive.
    """
    n = where.sum(dim=-1, keepdim=True)
    positive = (labels.bool() & where.unsqueeze(-1)).sum(dim=1)
    dcg = positive / n * _discount_sum(n.clamp(max=k), labels)
    return dcg / _discount_sum(positive.clamp(max=k), labels)


def _discount_sum(places: Tensor, like: Tensor) -> Tensor:
    """D(places), elementwise, in the float type of ``like``."""
    dtype = like.dtype if like.is_floating_point() else torch.float32
    longest = int(places.max()) if places.numel() else 0
    place = torch.arange(1, longest + 1, device=places.device, dtype=dtype)
    sums = torch.cat([place.new_zeros(1), (1 / torch.log2(place + 1)).cumsum(0)])
    return sums[places]
