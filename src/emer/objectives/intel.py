"""IntEL's objective (Li et al., SIGIR 2023, doi 10.1145/3539618.3591702): rank loss - ambiguity + intent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.losses import intel_bpr_loss, intel_mse_loss, intel_pl_loss
from emer.losses.intel_ambiguity import intel_bpr_ambiguity, intel_mse_ambiguity, intel_pl_ambiguity
from emer.objectives.base import ObjectiveOutput
from emer.objectives.intent_loss import intent_counts, intent_loss
from emer.requests import RequestBatch, Schema

RankLoss = Literal["mse", "bpr", "plackett_luce"]

_RANK_LOSSES = {"mse": intel_mse_loss, "bpr": intel_bpr_loss, "plackett_luce": intel_pl_loss}


@dataclass
class IntelObjectiveConfig:
    """Schema of ``method.objective``; what the values mean stands in conf/objective/intel.yaml."""

    _target_: str = "emer.objectives.intel.IntelObjective"
    rank_loss: str = MISSING
    ambiguity: bool = MISSING
    ambiguity_weight: float = MISSING
    intent_weight: float = MISSING
    intent_smoothing: float = MISSING
    grade_cap: int = MISSING
    unit_grades: bool = MISSING


class IntelObjective(nn.Module):
    """L = L_rank - alpha A + gamma L_int.

    The grade of an exposed candidate is the number of its positive feedback labels, at most ``grade_cap``, and 0 if
    there is any negative feedback. Unexposed candidates have none and take no part.

    - L_rank (:mod:`emer.losses.intel`) and A, how much the base scores disagree with their weighted sum
      (:mod:`emer.losses.intel_ambiguity`): means over the requests that have two grades, or for ``mse`` a candidate.
      For ``bpr`` both are expectations over the opponent that the released code draws at random.
    - L_int (:func:`emer.objectives.intent_loss.intent_loss`): mean over the requests with positive feedback. A model
      that gives an intent of no cells has none to learn, and the term is 0.

    A term whose weight is 0 is not computed, and what it reads of the model is not asked for.

    Args:
        rank_loss: ``mse`` regresses on the grade, ``bpr`` compares neighbouring grades, ``plackett_luce`` each
            candidate with all of lower grades.
        ambiguity: False is an ablation: alpha = 0.
        ambiguity_weight: alpha; small, since the decomposition behind A is one of second order.
        intent_weight: gamma.
        intent_smoothing: see :func:`emer.objectives.intent_loss.intent_loss`.
        grade_cap: largest grade.
        unit_grades: regress on grade / grade_cap. With weights that add up to 1 the score is in [0, 1], where it
            cannot meet a grade of 3. False is the released code. Only ``mse`` reads it: the others compare grades.

    Raises:
        EmerError: an option is out of range or unknown.
    """

    needs_previous = False

    def __init__(
        self,
        *,
        rank_loss: RankLoss = "plackett_luce",
        ambiguity: bool = True,
        ambiguity_weight: float = 1e-4,
        intent_weight: float = 0.1,
        intent_smoothing: float = 1e-3,
        grade_cap: int = 3,
        unit_grades: bool = True,
    ) -> None:
        super().__init__()
        if rank_loss not in get_args(RankLoss):
            allowed = ", ".join(get_args(RankLoss))
            raise EmerError(f"method.objective.rank_loss is {rank_loss!r}; it must be one of {allowed}")
        for key, weight in (("ambiguity_weight", ambiguity_weight), ("intent_weight", intent_weight)):
            if not 0 <= weight < math.inf:
                raise EmerError(f"method.objective.{key} is {weight}; it must be finite and not negative")
        if not 0 < intent_smoothing < 1:
            raise EmerError(f"method.objective.intent_smoothing is {intent_smoothing}; it must be in (0, 1)")
        if grade_cap < 1:
            raise EmerError(f"method.objective.grade_cap is {grade_cap}; it must be at least 1")
        self.rank_loss: RankLoss = rank_loss
        weights = {"rank": 1.0, "ambiguity": -ambiguity_weight if ambiguity else 0.0, "intent": intent_weight}
        self.term_weights = {name: weight for name, weight in weights.items() if weight}
        self.intent_smoothing, self.grade_cap, self.unit_grades = intent_smoothing, grade_cap, unit_grades

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tensors that the model must give beside the scores."""
        of_ambiguity = ("base_scores", "base_weights") if "ambiguity" in self.term_weights else ()
        of_intent = ("intent_log_probability", "intent_group") if "intent" in self.term_weights else ()
        return of_ambiguity + of_intent

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the terms, in order.

        Raises:
            EmerError: the log has no feedback label that counts as positive.
        """
        if not schema.positive_indices:
            raise EmerError(
                "method.objective learns from positive feedback, and the request log has no feedback label that "
                "counts as positive; use another objective"
            )
        return tuple(self.term_weights)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss of terms that were averaged over many batches."""
        return torch.stack([weight * terms[name] for name, weight in self.term_weights.items()]).sum()

    def grades(self, batch: RequestBatch) -> Tensor:
        """(B, N) float32 in {0, ..., grade_cap}; meaningful where exposed."""
        grades = batch.label[..., list(batch.schema.positive_indices)].sum(dim=-1).clamp(max=self.grade_cap)
        return grades if batch.negative is None else grades.masked_fill(batch.negative > 0, 0.0)

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
            details: what :attr:`needs` names, as :meth:`emer.models.intel.Intel.forward_with_details` gives it.

        Raises:
            EmerError: something of it is missing, or the log has no positive feedback.
        """
        names = self.term_names(batch.schema)
        details = details or {}
        missing = [name for name in self.needs if name not in details]
        if missing:
            raise EmerError(
                f"method.objective needs {', '.join(missing)} of the model, and this one does not give that; take the "
                "model of method=intel, or set method.objective.ambiguity to false and "
                "method.objective.intent_weight to 0"
            )
        values, counts = self._ranking(scores, batch, details)
        if "intent" in self.term_weights:
            values["intent"], counts["intent"] = self._intent(batch, details)
        return ObjectiveOutput(
            self.total(values), {name: values[name].detach() for name in names}, {name: counts[name] for name in names}
        )

    def _ranking(
        self, scores: Tensor, batch: RequestBatch, details: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Rank loss and ambiguity, and the requests that they are means of."""
        # Few candidates were shown, and some losses are quadratic: the others go before anything is compared.
        exposed = batch.exposed
        size = max(int(exposed.sum(dim=1).max()), 1)
        shown = exposed.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
        where, s, grades = (x.gather(1, shown) for x in (exposed, scores, self.grades(batch)))
        pi = grades.unsqueeze(-1)
        if self.rank_loss == "mse":
            has = where.any(dim=1)
            pi = pi / self.grade_cap if self.unit_grades else pi
        else:
            has = grades.masked_fill(~where, -1).amax(dim=1) > grades.masked_fill(~where, torch.inf).amin(dim=1)
        count = has.sum()
        per_request = {"rank": _RANK_LOSSES[self.rank_loss](s, pi, where=where, reduction="none")}
        if "ambiguity" in self.term_weights:
            base, w = (
                details[name].gather(1, shown.unsqueeze(-1).expand(-1, -1, details[name].shape[-1]))
                for name in ("base_scores", "base_weights")
            )
            per_request["ambiguity"] = self._ambiguity(s, base, w, pi, where)
        return {n: v.sum() / count.clamp(min=1) for n, v in per_request.items()}, dict.fromkeys(per_request, count)

    def _ambiguity(self, s: Tensor, base: Tensor, w: Tensor, pi: Tensor, where: Tensor) -> Tensor:
        """(B,) A."""
        if self.rank_loss == "mse":
            return intel_mse_ambiguity(s, base, w, where=where, reduction="none")
        ambiguity = intel_bpr_ambiguity if self.rank_loss == "bpr" else intel_pl_ambiguity
        return ambiguity(s, base, w, pi, where=where, reduction="none")

    def _intent(self, batch: RequestBatch, details: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """L_int and the requests that it is the mean of."""
        log_p = details["intent_log_probability"]
        if not log_p.shape[1]:
            return log_p.new_zeros(()), torch.zeros((), dtype=torch.int64, device=log_p.device)
        counts = intent_counts(batch, details["intent_group"], log_p.shape[1])
        count = (counts.sum(dim=1) > 0).sum()
        return intent_loss(log_p, counts, self.intent_smoothing).sum() / count.clamp(min=1), count
