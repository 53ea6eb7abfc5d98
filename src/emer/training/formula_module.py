"""The fusion formula as a LightningModule: training is the search for its parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.requests import RequestBatch, Schema
from emer.training.evaluated_module import EvaluatedModule
from emer.training.pair_objective import PairObjective, TuningObjective
from emer.training.tuning import FormulaTuner, Trial


class FusionFormulaModule(EvaluatedModule):
    """A fusion formula, hand-set or tuned on the training requests.

    One training step runs one trial, or several where the training would otherwise end before the budget is
    spent, and training stops with the last trial. The step's batch is not looked at: a trial is evaluated on
    the pairs of the whole training split (:class:`emer.training.pair_objective.PairObjective`). Every process
    runs the same trials. The trials are in the checkpoint, and the next one depends on them and the seed
    alone, so a search that was killed and resumed ends where the uninterrupted one does.

    Args:
        schema: the request log's columns.
        objective: what is tuned for, ``label_gauc`` or ``pxtr_gauc``.
        n_trials: formulas that are evaluated, the hand-set one included.
        tuned: False keeps the hand-set formula, whose value is the only trial.
        seed: of the search.
        top_k: length of the list in DCG@k and the like.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        objective: TuningObjective = "label_gauc",
        n_trials: int = 200,
        tuned: bool = True,
        seed: int = 0,
        top_k: int = 10,
    ) -> None:
        super().__init__(schema, top_k=top_k)
        if n_trials < 1:
            raise EmerError(f"method.tuner.n_trials is {n_trials}; it must be at least 1")
        self.tuning_objective, self.seed = objective, seed
        self.n_trials = n_trials if tuned else 1
        self.formula = FusionFormula.hand_set(schema)
        # Stepped by 0: Lightning writes a checkpoint only after optimiser steps, and DDP wants a parameter.
        self.clock = nn.Parameter(torch.zeros(()))
        self._tuner: FormulaTuner | None = None
        self._restored: list[Trial] = []

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores."""
        return self.formula(batch)

    def on_fit_start(self) -> None:
        table = self.trainer.datamodule.splits.train  # type: ignore[attr-defined]
        evaluate = PairObjective(table, self.tuning_objective, seed=self.seed)
        self._tuner = FormulaTuner(self.schema, evaluate, seed=self.seed)
        self._tuner.restore(self._restored)

    def training_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        assert self._tuner is not None  # on_fit_start ran
        done = len(self._tuner.trials)
        share = (self.global_step + 1) / self.trainer.estimated_stepping_batches
        due = min(self.n_trials, max(done + 1, math.ceil(self.n_trials * share)))
        for _ in range(done, due):
            self._tuner.step()
        best = self._tuner.result().best
        self.formula.set_parameters(best.log_ratio, best.exponent)
        self.log("tuning/trial", self._tuner.trials[-1].value, on_step=True, on_epoch=False)
        self.log("tuning/best", best.value, on_step=True, on_epoch=False, prog_bar=True)
        if due == self.n_trials:
            self.trainer.should_stop = True
        return 0.0 * self.clock

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trials = self._tuner.trials if self._tuner is not None else self._restored
        checkpoint["formula_trials"] = [[list(t.log_ratio), list(t.exponent), t.value] for t in trials]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored = [Trial(tuple(u), tuple(c), value) for u, c, value in checkpoint["formula_trials"]]
        if self._tuner is not None:
            self._tuner.restore(self._restored)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.clock], lr=0.0)
