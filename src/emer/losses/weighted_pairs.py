"""Pairwise logistic sums with any pair weights, in tiles: for what has no shortcut (LambdaRank, IntEL's BPR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 1 << 20
"""Pairs at a time: a few matrices of 4 MB in float32."""

PairWeight = Callable[[slice, slice, int], Tensor]
"""(requests, first candidates, objective) -> (r, f, N) weights of the pairs, of the scores' type, 0 where masked."""


def weighted_pair_sum(scores: Tensor, weight: PairWeight, K: int) -> Tensor:
    """(R, K) sum over all (i, j) of weight_kij softplus(-(s_i - s_j)).

    O(N^2) time for each objective, O(N K) memory beside one tile. Differentiable once, in the scores only.

    Args:
        scores: (R, N) finite everywhere.
        weight: see :data:`PairWeight`; constant to the gradient.
        K: number of objectives.
    """
    total: Tensor = _WeightedPairs.apply(scores, weight, K)
    return total


class _WeightedPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: Tensor, weight: PairWeight, K: int) -> Tensor:
        R, N = s.shape
        total = s.new_zeros(R, K)
        slope = s.new_zeros(R, K, N)
        some_requests = max(1, TILE // max(1, N * N))
        some_firsts = max(1, min(N, TILE // max(1, N)))
        for a in range(0, R, some_requests):
            for b in range(0, N, some_firsts):
                rows, firsts = slice(a, a + some_requests), slice(b, b + some_firsts)
                d = s[rows, firsts, None] - s[rows, None, :]
                soft = torch.log1p(torch.exp(-d.abs())) - d.clamp(max=0)
                wrong = torch.sigmoid(-d)
                for k in range(K):
                    w = weight(rows, firsts, k)
                    total[rows, k] += (w * soft).sum(dim=(1, 2))
                    w = w * wrong
                    slope[rows, k, firsts] -= w.sum(dim=2)
                    slope[rows, k] += w.sum(dim=1)
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * gradient.unsqueeze(-1)).sum(dim=1), None, None
