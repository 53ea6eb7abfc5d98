"""GRADE-style objective (arXiv 2510.07919): a LambdaLoss warm start, then group-relative policy gradient on weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from omegaconf import MISSING
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence

from emer.errors import EmerError
from emer.losses.listwise import lambdarank_loss
from emer.metrics.places import first_places, values_at
from emer.metrics.topk import dcg_of_top
from emer.objectives.base import ObjectiveOutput
from emer.objectives.draws import Draws
from emer.objectives.satisfaction import satisfaction_level
from emer.ranking import rank_gap
from emer.requests import RequestBatch, Schema

log = logging.getLogger(__name__)


@dataclass
class GradeObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/grade.yaml."""

    _target_: str = "emer.objectives.grade.GradeObjective"
    warm_start_steps: int = MISSING
    group_size: int = MISSING
    auc_weight: float = MISSING
    dcg_weight: float = MISSING
    range_weight: float = MISSING
    kl_weight: float = MISSING
    weight_low: float = MISSING
    weight_high: float = MISSING
    k: int = MISSING
    seed: int = MISSING


class Rewards(NamedTuple):
    """What G weight vectors earn, (B, G) float64; ``compared`` (B,) bool has the requests that have an AUC (else 0)."""

    auc: Tensor
    dcg: Tensor
    outside: Tensor
    compared: Tensor


class GradeObjective(nn.Module):
    """Trains a Dirichlet policy over fusion weights; the algorithm's details are the project's (docs/rivals.md).

    1. For ``warm_start_steps`` training batches, LambdaLoss of the scores on the satisfaction levels of the exposed
       candidates.
    2. Then G weight vectors w_g are drawn from each request's Dirichlet(alpha), scored by s_g = sum_k w_gk v_k, and

           R_g = auc_weight AUC + dcg_weight NDCG@k - range_weight sum_k (max(0, low - w_gk) + max(0, w_gk - high)),
           A_g = (R_g - mean R) / (sd R + 1e-8),
           L = mean over requests of -(1 / G) sum_g A_g log Dir(w_g; alpha) + kl_weight KL(Dir(alpha) || Dir(anchor)),

       AUC being the mean over the request's feedback labels with both classes, NDCG@k that over the pxtrs of all
       candidates with the pxtr itself as gain. A_g is constant; sd is that of the population.

    The number that L amounts to says nothing of the ranking. In stage 2 and outside training the value is therefore

        auc_weight (1 - AUC) + dcg_weight (1 - NDCG@k) + range_weight x penalty

    of the served weights E[w], the terms ``label_auc_loss``, ``pxtr_dcg_loss`` and ``range_penalty``. ``kl`` is logged,
    but not in it: it is 0 in stage 1, whose checkpoints would then look better than all that follow. Outside training
    nothing is drawn.

    Args:
        warm_start_steps: see above; 0 is an ablation. The model fixes its anchor after as many. With 0 the anchor would
            be a network as it was drawn, so there is then no KL in the loss, whatever ``kl_weight`` is.
        group_size: G, at least 2.
        auc_weight, dcg_weight, range_weight: of the reward's parts.
        kl_weight: 0 is an ablation: nothing holds the policy to its warm start.
        weight_low, weight_high: the range in which a weight costs nothing, within [0, 1].
        k: length of the list in NDCG and LambdaLoss.
        seed: of the draws, which go on where a checkpoint stopped.

    Raises:
        EmerError: an option is out of range, or no part of the reward is left.
    """

    needs_previous = False
    needs = ("concentration", "values", "anchor_concentration")
    needs_hint = "take method=grade, or another objective"
    steps: Tensor

    def __init__(
        self,
        *,
        warm_start_steps: int = 200,
        group_size: int = 16,
        auc_weight: float = 1.0,
        dcg_weight: float = 0.5,
        range_weight: float = 1.0,
        kl_weight: float = 0.1,
        weight_low: float = 0.01,
        weight_high: float = 0.8,
        k: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key, number, least in (
            ("warm_start_steps", warm_start_steps, 0),
            ("group_size", group_size, 2),
            ("k", k, 1),
        ):
            if number < least:
                raise EmerError(f"method.objective.{key} is {number}; it must be at least {least}")
        self.term_weights = {
            "label_auc_loss": auc_weight,
            "pxtr_dcg_loss": dcg_weight,
            "range_penalty": range_weight,
        }
        self.kl_weight = kl_weight if warm_start_steps else 0.0
        named = {"auc_weight": auc_weight, "dcg_weight": dcg_weight, "range_weight": range_weight}
        for key, weight in (*named.items(), ("kl_weight", kl_weight)):
            if not 0 <= weight < math.inf:
                raise EmerError(f"method.objective.{key} is {weight}; it must be finite and not negative")
        if auc_weight == dcg_weight == 0:
            raise EmerError("method.objective.auc_weight and dcg_weight are both 0: no ranking is rewarded; raise one")
        if not 0 <= weight_low < weight_high <= 1:
            raise EmerError(
                f"method.objective.weight_low and weight_high are {weight_low} and {weight_high}; they must be a range "
                "within [0, 1]"
            )
        self.warm_start_steps, self.group_size, self.k = warm_start_steps, group_size, k
        self.weight_low, self.weight_high = weight_low, weight_high
        self.draws = Draws(seed)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def check_plan(self, batches: float) -> None:
        """Warn if a training of ``batches`` batches never comes to stage 2."""
        if batches <= self.warm_start_steps:
            log.warning(
                "method.objective.warm_start_steps is %d, and the training has %d batches: all of it is warm start, "
                "and no policy gradient is ever taken; lower it, or train for longer",
                self.warm_start_steps,
                batches,
            )

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the output's terms, in order."""
        return (*self.term_weights, "kl")

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss of terms that were averaged over many batches."""
        return torch.stack([weight * terms[name] for name, weight in self.term_weights.items()]).sum()

    def forward(
        self,
        scores: Tensor,
        batch: RequestBatch,
        previous_scores: Tensor | None = None,
        details: Mapping[str, Tensor] | None = None,
    ) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            scores: (B, N) of the weights' expectation.
            batch: the requests.
            previous_scores: not used.
            details: ``concentration`` alpha (B, K), ``values`` (B, N, K), and ``anchor_concentration`` (B, K).

        Raises:
            EmerError: ``details`` lack one of them.
        """
        if details is None or any(name not in details for name in self.needs):
            raise EmerError(f"the objective grade needs {', '.join(self.needs)} from the model; {self.needs_hint}")
        # In double precision: the densities of large concentrations are small differences of large numbers.
        policy = Dirichlet(details["concentration"].double())
        kl = kl_divergence(policy, Dirichlet(details["anchor_concentration"].double())).mean()
        served = self.rewards(scores.detach().unsqueeze(-1), policy.mean.detach().unsqueeze(1), batch)
        compared = served.compared.sum()
        values = (
            ((1 - served.auc.squeeze(1)) * served.compared).sum() / compared.clamp(min=1),
            1 - served.dcg.mean(),
            served.outside.mean(),
            kl.detach(),
        )
        terms = {name: value.float() for name, value in zip(self.term_names(batch.schema), values, strict=True)}
        counts = {"label_auc_loss": compared}
        total = self.total(terms)
        if not self.training:
            return ObjectiveOutput(total, terms, counts)
        warm = int(self.steps) < self.warm_start_steps
        self.steps += 1
        if warm:
            return ObjectiveOutput(self._lambda_loss(scores, batch), terms, counts)
        surrogate = self._policy_loss(policy, details["values"].detach(), batch) + self.kl_weight * kl
        # The gradient of the surrogate, 0 in value.
        return ObjectiveOutput(total + (surrogate - surrogate.detach()).to(total.dtype), terms, counts)

    @torch.no_grad()
    def rewards(self, scores: Tensor, weights: Tensor, batch: RequestBatch) -> Rewards:
        """The parts of the reward for ``scores`` (B, N, G) made with ``weights`` (B, G, K)."""
        positive = ((batch.label > 0) & batch.exposed.unsqueeze(-1)).double()
        n, n_positive = batch.exposed.sum(dim=1, keepdim=True), positive.sum(dim=1)
        pairs = n_positive * (n - n_positive)
        # Over the positives, whose comparisons with each other cancel, rank gaps add up to (2 AUC - 1) n+ n-.
        gaps = rank_gap(scores, batch.exposed).double().transpose(1, 2) @ positive
        auc = (0.5 + gaps / (2 * pairs.clamp(min=1)).unsqueeze(1)) * (pairs > 0).unsqueeze(1)
        labels = (pairs > 0).sum(dim=1)
        best, placed = first_places(batch.pxtr, self.k, batch.mask)
        ideal = dcg_of_top(values_at(batch.pxtr, best, placed), placed)
        position, _ = first_places(scores, self.k, batch.mask)
        dcg = torch.stack(
            [dcg_of_top(values_at(batch.pxtr, p, placed), placed) for p in position.split(1, dim=-1)], dim=1
        )
        # Where all pxtrs are 0, every order is ideal.
        share = torch.where(ideal.unsqueeze(1) > 0, dcg / ideal.unsqueeze(1), 1)
        outside = (self.weight_low - weights).clamp(min=0) + (weights - self.weight_high).clamp(min=0)
        return Rewards(
            auc.sum(dim=-1) / labels.clamp(min=1).unsqueeze(1),
            share.double().mean(dim=-1),
            outside.sum(dim=-1).double(),
            labels > 0,
        )

    def _policy_loss(self, policy: Dirichlet, values: Tensor, batch: RequestBatch) -> Tensor:
        """Mean over requests of -(1 / G) sum_g A_g log Dir(w_g; alpha)."""
        with torch.no_grad():
            weights = self.sample(policy)
            scores = values.double() @ weights.transpose(1, 2)
            parts = self.rewards(scores, weights, batch)
            reward = self.term_weights["label_auc_loss"] * parts.auc + self.term_weights["pxtr_dcg_loss"] * parts.dcg
            reward = reward - self.term_weights["range_penalty"] * parts.outside
            deviation = reward - reward.mean(dim=1, keepdim=True)
            advantage = deviation / (deviation.square().mean(dim=1, keepdim=True).sqrt() + 1e-8)
        return -(advantage * policy.log_prob(weights.transpose(0, 1)).T).mean()

    def sample(self, policy: Dirichlet) -> Tensor:
        """(B, G, K) weights of this step's draw."""
        device = policy.concentration.device
        seed = self.draws.next(device).initial_seed()
        # torch.distributions takes no generator.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return policy.sample(torch.Size([self.group_size])).transpose(0, 1)

    def _lambda_loss(self, scores: Tensor, batch: RequestBatch) -> Tensor:
        """Mean over the requests whose exposed candidates differ in their level."""
        level = satisfaction_level(batch)
        per_request = lambdarank_loss(scores, level.unsqueeze(-1), where=batch.exposed, k=self.k, reduction="none")
        highest = level.masked_fill(~batch.exposed, -math.inf).amax(dim=1)
        lowest = level.masked_fill(~batch.exposed, math.inf).amin(dim=1)
        return per_request.sum() / (highest > lowest).sum().clamp(min=1)
