"""What a uniformly random order of the candidates is expected to reach: the floor under every metric.

Concordance and pooled AUC have the floor 1/2 (:data:`AUC`). The others depend on the request; conventions and
arguments are those of :mod:`emer.metrics.topk`, with k' = min(k, n) and D(m) = sum_{r <= m} 1 / log2(r + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.metrics.places import float_of
from emer.metrics.topk import ordered_sum

AUC = 0.5
"""Every pair is concordant with probability 1/2."""


@torch.no_grad()
def random_dcg_at_k(values: Tensor, k: int, *, where: Tensor) -> Tensor:
    """E[DCG@k] = mean value x D(k'). ``values`` (B, N, K), ``where`` (B, N); returns (B, K), NaN if none
    valid.
    """
    return random_mean_at_k(values, where=where) * expected_discounts(k, where=where, like=values)


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


@torch.no_grad()
def random_map_at_k(labels: Tensor, k: int, *, where: Tensor) -> Tensor:
    """E[AP@k] for 0 / 1 labels (B, N, M), with n candidates, n₊ of them positive, and H = sum_{r <= k'} 1 / r:

        E[AP@k] = n₊ / (n min(k', n₊)) (H + (n₊ - 1) / (n - 1) (k' - H)).

    The place r holds a positive with probability n₊ / n, and then each of the r - 1 places above it does with
    probability (n₊ - 1) / (n - 1), so y_(r) Precision@r is expected to be n₊ / n (1 + (r - 1)(n₊ - 1) / (n - 1)) / r.

    Returns:
        (B, M); NaN without a positive.
    """
    dtype = float_of(labels)
    n = where.sum(dim=-1, keepdim=True)
    placed = n.clamp(max=k)
    positive = ((labels != 0) & where.unsqueeze(-1)).sum(dim=1)
    place = torch.arange(1, _longest(placed) + 1, device=labels.device, dtype=dtype)
    harmonic = _up_to(1 / place)[placed]
    also = (positive - 1) / (n - 1).clamp(min=1)
    return positive / (n * positive.clamp(max=k)) * (harmonic + also * (placed - harmonic))


def expected_discounts(k: int, *, where: Tensor, like: Tensor) -> Tensor:
    """D(k') (B, 1), in the float type of ``like``: what a value is worth in DCG@k for each time it is the mean."""
    return _discount_sum(where.sum(dim=-1, keepdim=True).clamp(max=k), like)


def _discount_sum(places: Tensor, like: Tensor) -> Tensor:
    """D(places), elementwise, in the float type of ``like``."""
    place = torch.arange(1, _longest(places) + 1, device=places.device, dtype=float_of(like))
    return _up_to(1 / torch.log2(place + 1))[places]


def _longest(places: Tensor) -> int:
    return int(places.max()) if places.numel() else 0


def _up_to(terms: Tensor) -> Tensor:
    """Sums of the first 0, 1, 2 ... terms."""
    return torch.cat([terms.new_zeros(1), terms.cumsum(0)])
