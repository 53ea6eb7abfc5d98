"""UAME's objective (arXiv 2607.17092): EMER's, with Gaussian scores and weights that fall with the uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import MISSING
from torch import Tensor

from emer.errors import EmerError
from emer.losses.pairwise import Ties
from emer.objectives.advantage import Metric, Normalise, Scope
from emer.objectives.base import ObjectiveOutput
from emer.objectives.emer import EmerObjective, EmerObjectiveConfig
from emer.objectives.pair_links import GaussianPairs
from emer.objectives.satisfaction import Level
from emer.requests import RequestBatch


@dataclass
class UameObjectiveConfig(EmerObjectiveConfig):
    """Schema of ``method.objective``; what the values mean stands in conf/objective/uame.yaml."""

    _target_: str = "emer.objectives.uame.UameObjective"
    uncertainty_weight: bool = MISSING


class UameObjective(EmerObjective):
    """EMER's posterior and prior with P(i before j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)) for sigma(.).

    The abstract says no more of it than that and that uncertain samples weigh less. Here a candidate weighs
    a = 1 / (1 + sigma^2), constant to the gradient, a pair a_i a_j, and a term is the weighted mean over its pairs.
    Outside training the candidates weigh alike, so that no model can improve its validation loss by its weights.

    Args:
        uncertainty_weight: False is an ablation: a = 1.
        posterior, prior, evolve, iput, iput_mode, posterior_weight, prior_weight, ties, level, posterior_scope,
            session_minutes, static_weights, evaluator_metric, evaluator_k, weight_clip, weight_normalise, weight_scope:
            of :class:`emer.objectives.emer.EmerObjective`.

    Raises:
        EmerError: as there.
    """

    needs = ("log_variance",)
    needs_hint = "take method=uame, or objective=emer"

    def __init__(
        self,
        *,
        uncertainty_weight: bool = True,
        posterior: bool = True,
        prior: bool = True,
        evolve: bool = True,
        iput: bool = True,
        iput_mode: str = "replace",
        posterior_weight: float = 1.0,
        prior_weight: float = 1.0,
        ties: Ties = "exclude",
        level: Level = "three_level",
        posterior_scope: str = "request",
        session_minutes: float = 30.0,
        static_weights: Mapping[str, float] | None = None,
        evaluator_metric: Metric = "dcg",
        evaluator_k: int = 10,
        weight_clip: float | None = None,
        weight_normalise: Normalise = "none",
        weight_scope: Scope = "request",
    ) -> None:
        super().__init__(
            posterior=posterior,
            prior=prior,
            evolve=evolve,
            iput=iput,
            iput_mode=iput_mode,
            posterior_weight=posterior_weight,
            prior_weight=prior_weight,
            ties=ties,
            level=level,
            posterior_scope=posterior_scope,
            session_minutes=session_minutes,
            static_weights=static_weights,
            evaluator_metric=evaluator_metric,
            evaluator_k=evaluator_k,
            weight_clip=weight_clip,
            weight_normalise=weight_normalise,
            weight_scope=weight_scope,
        )
        self.uncertainty_weight = uncertainty_weight

    def forward(
        self,
        scores: Tensor,
        batch: RequestBatch,
        previous_scores: Tensor | None = None,
        details: Mapping[str, Tensor] | None = None,
    ) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            scores: mu (B, N).
            batch: the requests.
            previous_scores: (B, N), or None for the static weights alone.
            details: ``log_variance`` (B, N).

        Raises:
            EmerError: ``details`` has no ``log_variance``.
        """
        if details is None or "log_variance" not in details:
            raise EmerError(
                "the objective uame needs log_variance from the model, which gives none; take method=uame, or "
                "objective=emer"
            )
        log_variance = details["log_variance"]
        weighted = self.uncertainty_weight and self.training
        # 1 / (1 + e^x) = sigmoid(-x).
        a = (-log_variance.detach().float()).sigmoid() if weighted else None
        return self.evaluate(GaussianPairs(scores, log_variance, a), scores, batch, previous_scores)
