"""The fusion formula as a LightningModule: training is the search for its parameters."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.formula_space import FormulaSpace, SegmentedFormula
from emer.requests import RequestBatch, Schema
from emer.training.gradient_free import GradientFreeModule
from emer.training.pair_objective import PairObjective, TuningObjective
from emer.training.population_search import check_grid
from emer.training.search import Search, check_algorithm, check_budget
from emer.training.segment_search import SegmentSearch


class FusionFormulaModule(GradientFreeModule):
    """A fusion formula, hand-set or tuned on the training requests.

    One training step runs one generation of the search (one trial of TPE), or more where the training would otherwise
    end before the budget is spent, and training stops with the last. The step's batch is not looked at: a trial is
    evaluated on the pairs of the whole training split (:class:`emer.training.pair_objective.PairObjective`). Every
    process runs the same trials. The trials are in the checkpoint, and the next ones depend on them and the seed
    alone, so a search that was killed and resumed ends where the uninterrupted one does.

    Args:
        schema: the request log's columns.
        formula: family (:data:`emer.models.formula_space.FAMILIES`).
        algorithm: one of :data:`emer.training.search.ALGORITHMS`, or ``per_segment``
            (:class:`emer.training.segment_search.SegmentSearch`).
        objective: what is tuned for, ``label_gauc`` or ``pxtr_gauc``.
        n_trials: evaluations of the training split, the hand-set formula's included.
        tuned: False keeps the hand-set formula, whose value is the only trial.
        segment: user category of ``per_segment``; None for the other algorithms.
        segment_requests: training requests below which a segment has the parameters of all.
        seed: of the search.
        top_k: length of the list in DCG@k and the like.

    Raises:
        EmerError: an argument is out of range, or the family or algorithm does not fit the schema.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        formula: str = "power_affine",
        algorithm: str = "tpe",
        objective: TuningObjective = "label_gauc",
        n_trials: int = 200,
        tuned: bool = True,
        segment: str | None = None,
        segment_requests: int = 200,
        seed: int = 0,
        top_k: int = 10,
    ) -> None:
        super().__init__(schema, top_k=top_k)
        check_budget(n_trials)
        if algorithm != "per_segment":
            check_algorithm(algorithm)
        if (segment is not None) != (algorithm == "per_segment"):
            raise EmerError(
                f"method.tuner.segment is {segment!r} and method.tuner.algorithm {algorithm}; per_segment needs the "
                "name of a user category, the other algorithms take none"
            )
        if algorithm == "grid":
            check_grid(len(schema.objectives))
        self.tuning_objective, self.seed = objective, seed
        self.n_trials = n_trials if tuned else 1
        # The hand-set formula is the first trial of any of them, and the cheapest has no more.
        self.algorithm = algorithm if tuned else "random"
        self.segment, self.segment_requests = segment if tuned else None, segment_requests
        self.space = FormulaSpace(schema, formula)
        self.formula: nn.Module = self.space.formula(self.space.centre)
        if self.segment is not None:
            self.formula = SegmentedFormula(self.space, category=self.segment)
        self._search: Search | SegmentSearch | None = None
        self._restored: Any = None

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores."""
        return self.formula(batch)

    def on_fit_start(self) -> None:
        table = self.trainer.datamodule.training_sample()  # type: ignore[attr-defined]
        objective = PairObjective(table, self.tuning_objective, self.space, seed=self.seed)
        if self.segment is None:
            start = self.space.centre.numpy()
            self._search = Search(self.algorithm, objective, start=start, budget=self.n_trials, seed=self.seed)
        else:
            self._search = SegmentSearch(
                objective,
                category=self.segment,
                least=self.segment_requests,
                budget=self.n_trials,
                seed=self.seed,
            )
        self._load(self._restored)

    def training_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        search = self._search
        assert search is not None  # on_fit_start ran
        share = (self.global_step + 1) / self.trainer.estimated_stepping_batches
        due = max(search.spent + 1, math.ceil(self.n_trials * share))
        while search.spent < due and not search.finished:
            search.step()
        self.formula.load_state_dict(search.formula(self.space).state_dict())
        self.log("tuning/trial", search.last_value, on_step=True, on_epoch=False)
        self.log("tuning/best", search.best_value, on_step=True, on_epoch=False, prog_bar=True)
        self.finished = search.finished
        return self.tick()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["formula_trials"] = self._search.state() if self._search is not None else self._restored

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint["formula_trials"]
        self._load(self._restored)

    def _load(self, state: Any) -> None:
        if self._search is not None and state is not None:
            self._search.load(state)
