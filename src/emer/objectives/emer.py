"""EMER's objective (arXiv 2508.05093, eq. 1-13): posterior pairs, prior pairs, self-evolving weights, IPUT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.losses.pairwise import Ties
from emer.objectives.advantage import Metric, Normalise, Scope, advantage_weights
from emer.objectives.base import ObjectiveOutput
from emer.objectives.pair_links import LogisticPairs, PairLink
from emer.objectives.satisfaction import Level, satisfaction_level
from emer.requests import RequestBatch, Schema

_MINUTE_MS = 60_000


@dataclass
class EmerObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/method/emer.yaml."""

    _target_: str = "emer.objectives.emer.EmerObjective"
    posterior: bool = MISSING
    prior: bool = MISSING
    evolve: bool = MISSING
    iput: bool = MISSING
    iput_mode: str = MISSING
    posterior_weight: float = MISSING
    prior_weight: float = MISSING
    ties: str = MISSING
    level: str = MISSING
    posterior_scope: str = MISSING
    session_minutes: float = MISSING
    static_weights: Any = MISSING
    evaluator_metric: str = MISSING
    evaluator_k: int = MISSING
    weight_clip: float | None = MISSING
    weight_normalise: str = MISSING
    weight_scope: str = MISSING


class EmerObjective(nn.Module):
    """L = posterior_weight L_post + prior_weight L_prior (eq. 6), each a mean over pairs and requests (A5).

    Args:
        posterior: the pairs of exposed candidates with different satisfaction (eq. 1). False is NoPost.
        prior: the pairs of all candidates, ordered by every pxtr (eq. 2-5). False is NoPrior.
        evolve: weight the prior per request and objective by the advantage evaluator (eq. 7-9). False is
            NoEvolve: the static weights.
        iput: divide the interaction targets by the predicted watch time (eq. 10). False is NoIPUT.
        iput_mode: ``replace`` the raw interaction targets, or ``append`` to them (A21).
        posterior_weight, prior_weight: coefficients; the paper has none (A6).
        ties: ``exclude`` or ``half`` (A2).
        level: ``three_level`` or ``net_count`` (A7, A8).
        posterior_scope: pairs within a ``request``, or within a user's ``session``: across requests of the batch
            that are at most ``session_minutes`` apart (A28; for feeds that show one item a request. Train in time
            order with it, or a user's requests rarely meet in a batch).
        session_minutes: see above.
        static_weights: target name -> weight, 1 where not named; multiplied into the evolving weights.
        evaluator_metric, evaluator_k, weight_clip, weight_normalise, weight_scope: of
            :func:`emer.objectives.advantage.advantage_weights`.

    Raises:
        EmerError: both terms are off, or an option has an unknown value.
    """

    def __init__(
        self,
        *,
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
        super().__init__()
        if not (posterior or prior):
            raise EmerError("method.objective has neither posterior nor prior: nothing is left to train on")
        for key, value, allowed in (
            ("iput_mode", iput_mode, ("replace", "append")),
            ("ties", ties, ("exclude", "half")),
            ("level", level, ("three_level", "net_count")),
            ("posterior_scope", posterior_scope, ("request", "session")),
            ("evaluator_metric", evaluator_metric, ("dcg", "mean", "hit_rate")),
            ("weight_normalise", weight_normalise, ("none", "mean1")),
            ("weight_scope", weight_scope, ("request", "batch_mean")),
        ):
            if value not in allowed:
                raise EmerError(f"method.objective.{key} is {value!r}; it must be one of {', '.join(allowed)}")
        for key, weight in (("posterior_weight", posterior_weight), ("prior_weight", prior_weight)):
            if weight < 0:
                raise EmerError(f"method.objective.{key} is {weight}; it must not be negative")
        if session_minutes < 0:
            raise EmerError(f"method.objective.session_minutes is {session_minutes}; it must not be negative")
        if evaluator_k < 1:
            raise EmerError(f"method.objective.evaluator_k is {evaluator_k}; it must be at least 1")
        if weight_clip is not None and weight_clip < 1:
            raise EmerError(f"method.objective.weight_clip is {weight_clip}; it must be at least 1, or null")
        self.posterior, self.prior, self.evolve, self.iput = posterior, prior, evolve and prior, iput
        self.append_iput = iput_mode == "append"
        self.posterior_weight, self.prior_weight = posterior_weight, prior_weight
        self.ties, self.level = ties, level
        self.session_ms = int(session_minutes * _MINUTE_MS) if posterior_scope == "session" else None
        self.static_weights = dict(static_weights or {})
        self.evaluator: dict[str, Any] = {
            "metric": evaluator_metric,
            "k": evaluator_k,
            "clip": weight_clip,
            "normalise": weight_normalise,
            "scope": weight_scope,
        }

    @property
    def needs_previous(self) -> bool:
        """Whether training asks for the previous model's scores."""
        return self.evolve

    def target_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the prior's targets, in column order."""
        interactions = [schema.objective_names[i] for i in schema.interaction_indices]
        if not self.iput:
            return schema.objective_names
        if self.append_iput:
            return schema.objective_names + tuple(f"{name}_iput" for name in interactions)
        return tuple(f"{name}_iput" if name in interactions else name for name in schema.objective_names)

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the output's terms, in order."""
        prior = ("prior", *(f"prior/{name}" for name in self.target_names(schema))) if self.prior else ()
        return (("posterior",) if self.posterior else ()) + prior

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss of terms that were averaged over many batches."""
        weights = {"posterior": self.posterior_weight, "prior": self.prior_weight}
        return torch.stack([weight * terms[name] for name, weight in weights.items() if name in terms]).sum()

    def forward(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """The loss of a batch; without ``previous_scores`` the prior has its static weights alone."""
        return self.evaluate(LogisticPairs(scores), scores, batch, previous_scores)

    def evaluate(
        self, pairs: PairLink, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None
    ) -> ObjectiveOutput:
        """The loss of a batch whose ``pairs`` are compared as they say; ``scores`` (B, N) are for the evaluator."""
        terms: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        loss = scores.new_zeros(())
        evolving = None
        names = self.target_names(batch.schema)
        if self.posterior:
            posterior, counts["posterior"] = self._posterior(pairs, batch)
            loss = loss + self.posterior_weight * posterior
            terms["posterior"] = posterior.detach()
        if self.prior:
            ranks, targets = self._targets(batch)
            weights = self._static(targets, names)
            if self.evolve and previous_scores is not None:
                evolving = self._evolving(scores, previous_scores, targets, batch)
                weights = weights * evolving
            per_request, per_objective = pairs.prior(ranks, weights, batch.mask, self.ties)
            prior = per_request.mean()
            loss = loss + self.prior_weight * prior
            terms["prior"] = prior.detach()
            for name, value in zip(names, per_objective.detach().mean(dim=0), strict=True):
                terms[f"prior/{name}"] = value
        return ObjectiveOutput(loss, terms, counts, evolving, names)

    def _targets(self, batch: RequestBatch) -> tuple[Tensor, Tensor]:
        """Rank gaps and values (B, N, K') of the prior's targets."""
        if not self.iput:
            return batch.rank_gap, batch.pxtr
        if not self.append_iput:
            return batch.iput_rank_gap, batch.iput_pxtr()
        columns = list(batch.schema.interaction_indices)
        ranks = torch.cat([batch.rank_gap, batch.iput_rank_gap[..., columns]], dim=-1)
        return ranks, torch.cat([batch.pxtr, batch.iput_pxtr()[..., columns]], dim=-1)

    def _static(self, targets: Tensor, names: tuple[str, ...]) -> Tensor:
        """(B, K') the same weights for every request."""
        unknown = set(self.static_weights) - set(names)
        if unknown:
            raise EmerError(
                f"method.objective.static_weights names {', '.join(sorted(unknown))}; "
                f"the targets are {', '.join(names)}"
            )
        static = targets.new_tensor([float(self.static_weights.get(name, 1.0)) for name in names])
        return static.expand(targets.shape[0], -1)

    def _evolving(self, scores: Tensor, previous_scores: Tensor, targets: Tensor, batch: RequestBatch) -> Tensor:
        """(B, K') weights of the advantage evaluator."""
        return advantage_weights(
            scores.detach().float(), previous_scores.float(), targets, where=batch.mask, **self.evaluator
        )

    def _posterior(self, pairs: PairLink, batch: RequestBatch) -> tuple[Tensor, Tensor]:
        """Mean pair loss of the requests that have a pair (A4, A5), 0 if none has; and how many have."""
        level = satisfaction_level(batch, self.level)
        if self.session_ms is not None:
            return _session_posterior(pairs, level, batch, self.session_ms)
        per_request, number = pairs.graded(level, batch.exposed)
        with_pair = (number > 0).sum()
        return per_request.sum() / with_pair.clamp(min=1), with_pair


def _session_posterior(pairs: PairLink, level: Tensor, batch: RequestBatch, session_ms: int) -> tuple[Tensor, Tensor]:
    """The posterior over a user's exposed candidates of neighbouring requests: mean over all pairs, their number."""
    request = batch.exposed.nonzero()[:, 0]
    g = level[batch.exposed]
    user, time = batch.user_id[request], batch.time_ms[request]
    same_session = (user.unsqueeze(1) == user) & ((time.unsqueeze(1) - time).abs() <= session_ms)
    better = same_session & (g.unsqueeze(1) > g)
    i, j = better.nonzero(as_tuple=True)
    return pairs.chosen(batch.exposed, i, j), better.sum()
