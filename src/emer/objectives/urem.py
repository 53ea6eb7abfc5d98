"""UREM's objective (Yu et al., KDD 2024, doi 10.1145/3637528.3671598): exposure, similarity, reconstruction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.losses import reconstruction_loss, urem_similarity_loss
from emer.losses.urem import Scope
from emer.objectives.base import ObjectiveOutput
from emer.objectives.draws import Draws
from emer.objectives.exposure_bce import exposure_target, request_mean_bce
from emer.requests import RequestBatch, Schema


@dataclass
class UremObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/urem.yaml."""

    _target_: str = "emer.objectives.urem.UremObjective"
    exposure: bool = MISSING
    similarity: bool = MISSING
    reconstruction: bool = MISSING
    exposure_weight: float = MISSING
    similarity_weight: float = MISSING
    reconstruction_weight: float = MISSING
    exposure_label: str | None = MISSING
    scope: str = MISSING
    pairs: Any = MISSING
    objective_weights: Any = MISSING
    watch_scale: float = MISSING
    seed: int = MISSING
    reference_quirks: bool = MISSING


class UremObjective(nn.Module):
    """L = exposure_weight L_exp + similarity_weight L_sim + reconstruction_weight L_rec.

    - L_exp: cross-entropy of the score, as a logit, with having been exposed; the mean over a request's candidates,
      then over requests.
    - L_sim = sum_k v_k L_sim^k, L_sim^k the mean over requests of :func:`emer.losses.urem_similarity_loss` of the
      score and the raw pxtr_k: the score keeps the order of every pxtr and the size of its gaps.
    - L_rec: cross-entropy of a decoder's K logits with the pxtrs, the mean over objectives, valid candidates and
      requests. t seconds of predicted watch time are the target t / (t + watch_scale).

    A term is on if its switch is true and its weight positive; a term that is off is not computed. Any scorer will
    do for the first two; the third needs a model that gives ``reconstruction``. It is turned off by its switch alone,
    which the model's decoder follows: a decoder that no loss reads has parameters without gradient, and distributed
    training stops at those.

    Args:
        exposure, similarity, reconstruction: the terms.
        exposure_weight, similarity_weight, reconstruction_weight: their factors.
        exposure_label: a feedback label that stands for exposure, such as a click, in logs whose candidates were all
            shown. L_exp is then over exposed candidates and the requests that have one. None: exposure itself.
        scope: standardise scores and pxtrs, for the similarity, over the ``batch`` or within each ``request``.
        pairs: how many pairs to draw from each request, or ``all``. Outside training the draws are the same each
            time, so that values of different epochs can be compared.
        objective_weights: objective -> v_k, 1 where not named.
        watch_scale: see above, in seconds.
        seed: of the draws.
        reference_quirks: as the public code: 2 ``pairs`` places are drawn among the first n_min (the candidates of
            the batch's shortest request), the same for all requests, anew for each objective, standardised over what
            was drawn and paired one after the other; L_exp is the mean over all candidates of the batch; L_rec counts
            padding.

    Raises:
        EmerError: no term is on, the reconstruction is on with a weight of 0, or an option is out of range or unknown.
    """

    needs_previous = False
    needs_hint = "set method.objective.reconstruction=false, or take method=urem with method.model.decoder=true"

    def __init__(
        self,
        *,
        exposure: bool = True,
        similarity: bool = True,
        reconstruction: bool = True,
        exposure_weight: float = 1.0,
        similarity_weight: float = 2.0,
        reconstruction_weight: float = 0.1,
        exposure_label: str | None = None,
        scope: Scope = "batch",
        pairs: int | Literal["all"] = 100,
        objective_weights: Mapping[str, float] | None = None,
        watch_scale: float = 10.0,
        seed: int = 0,
        reference_quirks: bool = False,
    ) -> None:
        super().__init__()
        self.term_weights: dict[str, float] = {}
        for name, on, weight in (
            ("exposure", exposure, exposure_weight),
            ("similarity", similarity, similarity_weight),
            ("reconstruction", reconstruction, reconstruction_weight),
        ):
            if not (math.isfinite(weight) and weight >= 0):
                raise EmerError(f"method.objective.{name}_weight is {weight}; it must be finite and not negative")
            if on and weight > 0:
                self.term_weights[name] = weight
        if not self.term_weights:
            raise EmerError(
                "method.objective has neither exposure nor similarity nor reconstruction: nothing is left to train on"
            )
        if reconstruction and reconstruction_weight == 0:
            raise EmerError(
                "method.objective.reconstruction_weight is 0, which would leave the model's decoder untrained; set "
                "method.objective.reconstruction=false, which leaves the decoder out"
            )
        if list(self.term_weights) == ["reconstruction"]:
            raise EmerError(
                "method.objective has only its reconstruction, which does not train the score; turn on exposure or "
                "similarity, with a positive weight"
            )
        if scope not in get_args(Scope):
            raise EmerError(f"method.objective.scope is {scope!r}; it must be one of {', '.join(get_args(Scope))}")
        if pairs != "all" and (isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 1):
            raise EmerError(f"method.objective.pairs is {pairs!r}; it must be 'all' or a whole number, at least 1")
        for name, factor in (objective_weights or {}).items():
            if not isinstance(factor, int | float) or not 0 <= factor < math.inf:
                raise EmerError(f"method.objective.objective_weights.{name} is {factor!r}; it must be a number >= 0")
        if not (math.isfinite(watch_scale) and watch_scale > 0):
            raise EmerError(f"method.objective.watch_scale is {watch_scale}; it must be positive seconds")
        if reference_quirks and (pairs == "all" or scope != "batch"):
            raise EmerError(
                "method.objective.reference_quirks draws pairs and standardises over the batch: with it, set "
                "method.objective.pairs to a number and method.objective.scope to batch"
            )
        self.exposure_label, self.scope, self.pairs = exposure_label, scope, pairs
        self.objective_weights = dict(objective_weights or {})
        self.watch_scale, self.reference_quirks = watch_scale, reference_quirks
        self.draws = Draws(seed)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tensors that the model must give beside the scores."""
        return ("reconstruction",) if "reconstruction" in self.term_weights else ()

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the output's terms, in order."""
        names: list[str] = []
        for name in self.term_weights:
            names.append(name)
            if name == "similarity":
                names += [f"similarity/{objective}" for objective in schema.objective_names]
        return tuple(names)

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
            scores: (B, N).
            batch: the requests.
            previous_scores: not used.
            details: ``reconstruction`` (B, N, K), the decoder's logits of the pxtrs; not read if the term is off.

        Raises:
            EmerError: the reconstruction is missing, or the log lacks a label or objective that is named.
        """
        terms: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        loss = scores.new_zeros(())
        for name, weight in self.term_weights.items():
            if name == "exposure":
                term, counts[name] = self._exposure(scores, batch)
            elif name == "similarity":
                per_objective = self._similarity(scores, batch)
                term = (per_objective * self._objective_weights(per_objective, batch.schema)).sum()
            else:
                term = self._reconstruction((details or {}).get("reconstruction"), batch)
            loss = loss + weight * term
            terms[name] = term.detach()
            if name == "similarity":
                for objective, value in zip(batch.schema.objective_names, per_objective.detach(), strict=True):
                    terms[f"similarity/{objective}"] = value
        return ObjectiveOutput(loss, terms, counts)

    def _exposure(self, scores: Tensor, batch: RequestBatch) -> tuple[Tensor, Tensor]:
        """L_exp, and the requests (with quirks: candidates) that it is the mean of."""
        target, where = exposure_target(batch, self.exposure_label, key="exposure_label")
        if not self.reference_quirks:
            return request_mean_bce(scores, target, where)
        pooled, _ = request_mean_bce(*(tensor.flatten().unsqueeze(0) for tensor in (scores, target, where)))
        return pooled, where.sum()

    def _similarity(self, scores: Tensor, batch: RequestBatch) -> Tensor:
        """(K,) L_sim^k."""
        generator = None
        if self.pairs != "all":
            device = scores.device
            generator = self.draws.next(device) if self.training else torch.Generator(device).manual_seed(0)
        if self.reference_quirks:
            return self._published_similarity(scores, batch, generator)
        per_objective = urem_similarity_loss(
            scores,
            batch.pxtr,
            where=batch.mask,
            scope=self.scope,
            pairs=self.pairs,
            generator=generator,
            reduction="per_objective",
        )
        return per_objective.mean(dim=0)

    def _published_similarity(self, scores: Tensor, batch: RequestBatch, generator: torch.Generator | None) -> Tensor:
        """(K,) L_sim^k over the public code's draws."""
        shortest = int(batch.lengths.min())
        valid_first = batch.mask.long().argsort(dim=-1, descending=True, stable=True)
        losses = []
        for k in range(batch.pxtr.shape[-1]):
            size = (2 * int(self.pairs),)
            draws = torch.randint(max(shortest, 1), size, generator=generator, device=scores.device)
            place = valid_first[:, draws]
            # As lists of two, each with one pair: standardised over all of them, that is over everything drawn.
            z = scores.gather(1, place).view(-1, 2)
            p = batch.pxtr[..., k].gather(1, place).view(-1, 2, 1)
            losses.append(urem_similarity_loss(z, p, scope="batch"))
        return torch.stack(losses)

    def _objective_weights(self, like: Tensor, schema: Schema) -> Tensor:
        """(K,) v_k."""
        unknown = set(self.objective_weights) - set(schema.objective_names)
        if unknown:
            raise EmerError(
                f"method.objective.objective_weights names {', '.join(sorted(unknown))}; "
                f"the objectives are {', '.join(schema.objective_names)}"
            )
        return like.new_tensor([float(self.objective_weights.get(name, 1.0)) for name in schema.objective_names])

    def _reconstruction(self, logits: Tensor | None, batch: RequestBatch) -> Tensor:
        """L_rec."""
        if logits is None:
            raise EmerError(
                f"method.objective.reconstruction needs a decoder, and this model has none; {self.needs_hint}"
            )
        target = batch.pxtr
        watch = batch.schema.watch_index
        if watch is not None:
            target = target.clone()
            target[..., watch] = target[..., watch] / (target[..., watch] + self.watch_scale)
        return reconstruction_loss(logits, target, where=None if self.reference_quirks else batch.mask)
