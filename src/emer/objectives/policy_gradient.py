"""The AUC itself as a reward: a policy gradient with group-relative advantages (docs/rivals.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.arguments import at_least_float32
from emer.objectives.base import ObjectiveOutput
from emer.objectives.draws import Draws
from emer.objectives.exposed import ExposedLists, LabelObjective, Scope, exposed_lists
from emer.ranking import rank_gap
from emer.requests import RequestBatch

SPREAD_FLOOR = 1e-3
"""Least standard deviation of the scores that the noise is scaled by: equal scores need some noise to be explored."""


@dataclass
class PolicyGradientConfig:
    """Schema of ``method.objective``."""

    _target_: str = "emer.objectives.policy_gradient.PolicyGradient"
    group_size: int = MISSING
    rho: float = MISSING
    scope: str = MISSING
    label_weights: Any = MISSING
    seed: int = MISSING


class PolicyGradient(LabelObjective):
    """Reinforcement learning on the AUC sum (Pei et al. 2019, as HarmonRank compares with it, arXiv 2601.02955).

    A Gaussian policy around the scores s of a list of n exposed candidates, sampled G times in antithetic pairs:

        a_g = s + sigma xi_g,    xi_{g + G/2} = -xi_g,    sigma = rho sd(s),    R_g = sum_m lambda_m AUC_m(a_g),
        A_g = (R_g - mean R) / (sd R + 1e-8),    L = -(1 / sqrt n) mean_g A_g sum_i log N(a_gi; s_i, sigma^2),

    with a_g, sigma and A_g held constant, so that dL/ds_i = -mean_g A_g xi_gi / (sigma sqrt n). Neither paper gives the
    algorithm; this one is the project's. Standard deviations are those of the population. One reward for n actions has
    a high variance, so a result should state G.

    The number that L amounts to says nothing of the ranking. The output therefore has L's gradient, and for its value
    sum_m lambda_m (1 - AUC_m(s)), which the policy is to lower; the terms ``auc_loss/<label>`` are 1 - AUC_m(s),
    ties counting half. Outside training nothing is drawn.

    Args:
        group_size: G, even.
        rho: noise in units of the scores' standard deviation.
        scope, label_weights: as in :class:`emer.objectives.exposed.LabelObjective`; each list is an episode.
        seed: of the noise, which goes on where a checkpoint stopped.

    Raises:
        EmerError: as there; G is not an even number of at least 2, rho not positive, or the seed negative.
    """

    term = "auc_loss"

    def __init__(
        self,
        *,
        group_size: int = 32,
        rho: float = 0.3,
        scope: Scope = "batch",
        label_weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(scope=scope, label_weights=label_weights)
        if group_size < 2 or group_size % 2:
            raise EmerError(f"method.objective.group_size is {group_size}; it must be an even number of at least 2")
        if not 0 < rho < math.inf:
            raise EmerError(f"method.objective.rho is {rho}; it must be above 0")
        self.group_size, self.rho = group_size, rho
        self.draws = Draws(seed)

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N) as they are; ``previous_scores`` are not used."""
        lists = exposed_lists(at_least_float32(scores), batch, self.scope)
        s = torch.where(lists.where, lists.scores, 0)
        pairs = lists.pairs()
        loss = (1 - _auc(s.detach().unsqueeze(-1), lists, pairs).squeeze(1)).masked_fill(pairs == 0, 0)
        output = self.output(loss.to(s.dtype), pairs, batch.schema)
        if not self.training:
            return output
        weights = loss.new_tensor(self.weights(batch.schema))
        slope = self._slope(s.detach(), lists, pairs, weights)
        with_reward = (pairs * weights > 0).any(dim=1).sum().clamp(min=1)
        # 0 in value, and NaN where a score is, as every loss is.
        surrogate = (slope * (s - s.detach())).sum() / with_reward
        return replace(output, loss=output.loss + surrogate)

    def _slope(self, s: Tensor, lists: ExposedLists, pairs: Tensor, weights: Tensor) -> Tensor:
        """dL/ds (L, N) of each list."""
        valid = lists.where
        n = valid.sum(dim=1, keepdim=True).clamp(min=1)
        centred = (s.double() - s.double().sum(dim=1, keepdim=True) / n).masked_fill(~valid, 0)
        spread = (centred.square().sum(dim=1, keepdim=True) / n).sqrt().clamp(min=SPREAD_FLOOR)
        sigma = self.rho * spread
        noise = s.new_zeros(*s.shape, self.group_size // 2)
        # Drawn for the exposed candidates alone, so that padding does not change what the others get.
        generator = self.draws.next(s.device)
        noise[valid] = torch.randn(int(valid.sum()), noise.shape[-1], generator=generator, device=s.device).to(s.dtype)
        # The actions' order is that of (a - mean s) / sigma, which float32 holds without rounding away the noise.
        z = (centred / sigma).to(s.dtype).unsqueeze(-1)
        reward = _auc(torch.cat([z + noise, z - noise], dim=-1), lists, pairs) @ weights
        deviation = reward - reward.mean(dim=1, keepdim=True)
        advantage = deviation / (deviation.square().mean(dim=1, keepdim=True).sqrt() + 1e-8)
        up, down = advantage.chunk(2, dim=1)
        mean = (noise * (up - down).unsqueeze(1)).sum(dim=-1) / self.group_size
        return (-mean / (sigma * n.sqrt())).to(s.dtype)


def _auc(actions: Tensor, lists: ExposedLists, pairs: Tensor) -> Tensor:
    """(L, G, M) float64 AUC of actions (L, N, G), 0 where a label has one class only.

    Over the positives, whose comparisons with each other cancel, rank gaps add up to (2 AUC - 1) n+ n-.
    """
    gaps = rank_gap(actions, lists.where).transpose(1, 2).double()
    positive = (lists.labels & lists.where.unsqueeze(-1)).double()
    auc = 0.5 + gaps @ positive / (2 * pairs.clamp(min=1).unsqueeze(1))
    return auc.masked_fill((pairs == 0).unsqueeze(1), 0)
