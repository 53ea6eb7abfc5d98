"""How the two candidates of a pair are compared: by the difference of their scores, or as Gaussians."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.gaussian_pairs import gaussian_pair_losses, gaussian_pairwise_terms
from emer.losses.graded import graded_pairwise_terms
from emer.losses.pairwise import Ties, pair_count, pairwise_logistic_terms
from emer.ranking import rank_gap


class PairLink(Protocol):
    """The losses -log P(i before j) that EMER's two terms are made of."""

    def prior(self, ranks: Tensor, weights: Tensor, where: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
        """(B,) weighted mean over objectives of the pair means, and (B, K) the plain ones, by ``ranks`` (B, N, K)."""

    def graded(self, level: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) means over the pairs of candidates ``where`` (B, N) with different ``level`` (B, N); their numbers."""

    def chosen(self, where: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Mean loss of pairs whose better is i, 0 without pairs; i, j (P,) count the candidates ``where``."""


class LogisticPairs:
    """P(i before j) = sigma(s_i - s_j), EMER's own. ``scores`` (B, N)."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def prior(self, ranks: Tensor, weights: Tensor, where: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
        return pairwise_logistic_terms(self.scores, None, weights=weights, ranks=ranks, where=where, ties=ties)

    def graded(self, level: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        return graded_pairwise_terms(self.scores, level, where=where)

    def chosen(self, where: Tensor, i: Tensor, j: Tensor) -> Tensor:
        s = self.scores[where].float()
        return F.softplus(s[j] - s[i]).sum() / max(len(i), 1)


class GaussianPairs:
    """P(i before j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)), a pair weighing a_i a_j (UAME).

    Args:
        mean: mu (B, N).
        log_variance: log sigma^2 (B, N).
        candidate_weights: a (B, N), constant to the gradient; None for 1.
    """

    def __init__(self, mean: Tensor, log_variance: Tensor, candidate_weights: Tensor | None = None) -> None:
        self.mean, self.log_variance = mean, log_variance
        self.weights = torch.ones_like(mean) if candidate_weights is None else candidate_weights.detach()

    def prior(self, ranks: Tensor, weights: Tensor, where: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
        return gaussian_pairwise_terms(
            self.mean, self.log_variance, ranks, self.weights, weights=weights, where=where, ties=ties
        )

    def graded(self, level: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        # Few candidates have a level: the others are dropped before pairs are formed.
        first = where.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        first = first[:, : int(where.sum(dim=1).max()) if where.numel() else 0]
        valid, level, mean, log_variance, a = (
            x.gather(1, first) for x in (where, level, self.mean, self.log_variance, self.weights)
        )
        ranks = rank_gap(level.unsqueeze(-1), valid)
        loss, _ = gaussian_pairwise_terms(mean, log_variance, ranks, a, where=valid)
        return loss, pair_count(ranks, valid).squeeze(-1)

    def chosen(self, where: Tensor, i: Tensor, j: Tensor) -> Tensor:
        mean, log_variance, a = self.mean[where], self.log_variance[where], self.weights[where]
        losses = gaussian_pair_losses(mean[i], mean[j], log_variance[i], log_variance[j])
        weights = (a[i] * a[j]).to(losses.dtype)
        return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
