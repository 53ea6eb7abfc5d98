"""What every objective gives back to the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import RequestBatch, Schema


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss to minimise and what to log of it.

    Attributes:
        loss: scalar.
        terms: detached scalars, by name; the same names, in the same order, for every batch.
        counts: how many requests, rows or pairs a term is the mean of, where that is not all requests of the batch.
        weights: (B, K) per-request weight of each named target, if the objective has such; else None.
        weight_names: the K target names.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    weight_names: tuple[str, ...] = ()


class Objective(Protocol):
    """Combines losses for one batch of requests; knows no network.

    What an objective may have besides:

    - ``needs``: names of tensors that it wants of the model beyond the scores. It is then called with a fourth
      argument, name -> tensor, and refused with models that do not give them (:func:`details_needed`).
    - ``exposed_alone``: True where nothing is read of candidates that were not exposed. Training leaves them out with a
      model that has ``candidates_alone``, whose score of a candidate does not depend on the batch's others.
    - ``build(schema)``: makes its trained parameters; called once, before the optimiser is made.
    - ``check_plan(batches)``: called when training starts, with the most batches that it will have; may warn.
    - ``after_validation(numbers)``: called after each epoch's validation with all that it logged, and with
      ``val/groups/<metric>``, the requests that ``val/<metric>`` rests on.
    """

    needs_previous: bool

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss that terms averaged over many batches amount to, at fixed weights."""

    def term_names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the terms, in order."""

    def __call__(self, scores: Tensor, batch: RequestBatch, previous_scores: Tensor | None = None) -> ObjectiveOutput:
        """``scores`` (B, N); ``previous_scores`` (B, N) of the previous model, or None for fixed weights."""


def details_needed(objective: Objective, model: nn.Module) -> tuple[str, ...]:
    """What ``objective`` needs of ``model`` beyond its scores.

    A model that can give more names it in ``gives``, and has ``forward_with_details(batch)`` for (scores, name ->
    tensor). What only an objective of its own can train, it names in ``must_train``.

    Raises:
        EmerError: the model does not give it, or has a part that ``objective`` would leave untrained.
    """
    needed: tuple[str, ...] = tuple(getattr(objective, "needs", ()))
    missing = [name for name in needed if name not in getattr(model, "gives", ())]
    if missing:
        hint = getattr(objective, "needs_hint", "choose another objective=... or method=...")
        raise EmerError(
            f"the objective {type(objective).__name__} needs {', '.join(missing)} from the model, "
            f"which {type(model).__name__} does not give; {hint}"
        )
    untrained = [name for name in getattr(model, "must_train", ()) if name not in needed]
    if untrained:
        raise EmerError(
            f"the objective {type(objective).__name__} would leave untrained what makes {', '.join(untrained)} in "
            f"{type(model).__name__}; {model.must_train_hint}"
        )
    return needed
