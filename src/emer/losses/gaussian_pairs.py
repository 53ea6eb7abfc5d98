"""Pairs of Gaussian scores: -log Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)) over every objective (UAME).

The scale of a pair is its own, so the sum over pairs has no short cut by a sort (:mod:`emer.losses.pairwise`): all
pairs are formed, a tile at a time, and their losses are shared by the objectives.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from emer.losses.arguments import as_weights, at_least_float32, check_columns, check_rank_type
from emer.losses.pairwise import Ties
from emer.losses.weighted_pairs import TILE
from emer.ranking import valid_or_all


class GaussianPairwise(NamedTuple):
    """Attributes:
    loss: (B,) mean over objectives of weight x loss.
    per_objective: (B, K) loss of each objective without its weight; without gradient.
    """

    loss: Tensor
    per_objective: Tensor


def gaussian_pair_losses(better: Tensor, worse: Tensor, log_variance: Tensor, other: Tensor) -> Tensor:
    """-log Phi of pairs, (P,): means and log variances of the better candidate and of the worse one."""
    m, n, v, u = (at_least_float32(x) for x in (better, worse, log_variance, other))
    return -torch.special.log_ndtr((m - n) * torch.rsqrt(v.exp() + u.exp()))


def gaussian_pairwise_terms(
    mean: Tensor,
    log_variance: Tensor,
    ranks: Tensor,
    candidate_weights: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    ties: Ties = "exclude",
) -> GaussianPairwise:
    """The module's loss of a pair, averaged over the valid pairs of each objective, a pair weighing a_i a_j:

        L_k = sum_{g_ik > g_jk} a_i a_j (-log Phi(z_ij)) / sum_{g_ik > g_jk} a_i a_j.

    O(N^2 K) time, O(N K) memory beside a few tiles of pairs. The gradient is analytic, flows to ``mean`` and
    ``log_variance`` alone and cannot be differentiated again. An objective without a pair contributes exactly 0.

    Args:
        mean: mu (B, N).
        log_variance: log sigma^2 (B, N).
        ranks: (B, N, K) integer rank gaps g over ``where``.
        candidate_weights: a (B, N) >= 0.
        weights: (B, K) or (K,) factor of each objective's loss; 1 if None.
        where: (B, N) bool, the candidates that take part; all if None. What stands elsewhere is not read.
        ties: ``exclude`` drops pairs of equal rank, ``half`` gives them the label 1/2.

    Raises:
        ValueError: shapes do not fit, ``ranks`` are no integers, or ``ties`` is unknown.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be 'exclude' or 'half', not {ties!r}")
    where = valid_or_all(mean, where)
    check_columns(ranks, mean, "ranks")
    check_rank_type(ranks)
    for name, column in (("log_variance", log_variance), ("candidate_weights", candidate_weights)):
        if column.shape != mean.shape:
            raise ValueError(f"{name} has shape {tuple(column.shape)}, the means {tuple(mean.shape)}")
    with torch.autocast(mean.device.type, enabled=False):
        m = torch.where(where, at_least_float32(mean), 0)
        v = torch.where(where, log_variance.to(m.dtype), 0)
        a = torch.where(where, candidate_weights.to(m.dtype), 0)
        w = as_weights(weights, m, mean.shape[:1], ranks.shape[-1]).to(m.dtype)
        loss, per_objective = _GaussianPairs.apply(m, v, ranks, a, w, ties == "half")
    return GaussianPairwise(loss, per_objective)


class _GaussianPairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, m: Tensor, log_variance: Tensor, ranks: Tensor, a: Tensor, weights: Tensor, half: bool
    ) -> tuple[Tensor, Tensor]:
        B, N = m.shape
        K = ranks.shape[-1]
        variance = log_variance.exp()
        total, amount = m.new_zeros(2, B, K)
        of_mean, of_variance = m.new_zeros(2, B, K, N)
        some_requests = max(1, TILE // max(1, N * N))
        some_firsts = max(1, min(N, TILE // max(1, N)))
        place = torch.arange(N, device=m.device)
        for r in range(0, B, some_requests):
            for f in range(0, N, some_firsts):
                rows, firsts = slice(r, r + some_requests), slice(f, f + some_firsts)
                inverse = torch.rsqrt(variance[rows, firsts, None] + variance[rows, None])
                z = (m[rows, firsts, None] - m[rows, None]) * inverse
                loss = -torch.special.log_ndtr(z)
                # phi(z) / Phi(z), which neither overflows nor cancels: erfcx(x) = e^(x^2) erfc(x).
                slope = math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2)) * inverse
                by_variance = slope * z * inverse / 2
                both = (a[rows, firsts, None] * a[rows, None]).masked_fill(place[firsts, None] == place, 0)
                for k in range(K):
                    g, h = ranks[rows, firsts, None, k], ranks[rows, None, :, k]
                    w = both * (g > h)
                    if half:
                        w += both * (g == h) / 2
                    amount[rows, k] += w.sum(dim=(1, 2))
                    total[rows, k] += (w * loss).sum(dim=(1, 2))
                    push, spread = w * slope, w * by_variance
                    of_mean[rows, k, firsts] -= push.sum(dim=2)
                    of_mean[rows, k] += push.sum(dim=1)
                    of_variance[rows, k, firsts] += spread.sum(dim=2)
                    of_variance[rows, k] += spread.sum(dim=1)
        inverse_amount = torch.where(amount > 0, 1 / amount, 0)
        per_objective = total * inverse_amount
        factor = (weights * inverse_amount / max(1, K)).unsqueeze(-1)
        ctx.save_for_backward((of_mean * factor).sum(dim=1), (of_variance * factor).sum(dim=1) * variance)
        ctx.mark_non_differentiable(per_objective)
        return (per_objective * weights).sum(dim=1) / max(1, K), per_objective

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_mean, of_log_variance = ctx.saved_tensors
        of_loss = of_loss.unsqueeze(-1)
        return of_loss * of_mean, of_loss * of_log_variance, None, None, None, None
