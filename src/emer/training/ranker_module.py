"""Trains a neural ranker by an objective: the LightningModule of every method that learns by gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.objectives.base import Objective, ObjectiveOutput, details_needed
from emer.requests import RequestBatch, Schema
from emer.training.evaluated_module import EvaluatedModule
from emer.training.previous import PreviousModel

STATISTICS_REQUESTS = 4096
"""Training requests that the input's mean and deviation are taken from."""


class RankerModule(EvaluatedModule):
    """Model x objective, with the previous model where the objective asks for it.

    Args:
        schema: the request log's columns.
        model: builds the network from the schema; called once.
        objective: turns (scores, batch, previous scores) into a loss.
        optimizer: builds the optimiser from the parameters.
        previous: builds the previous model from (model, formula); None if the method never needs one.
        warmup_steps: optimiser steps of linear warm-up.
        final_lr_factor: the cosine schedule ends at this fraction of the learning rate; 1 keeps it constant.
        top_k: length of the list in DCG@k and the like.

    Raises:
        EmerError: the schedule is out of range, or the objective needs of the model what it does not give.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        model: Callable[[Schema], nn.Module],
        objective: Objective,
        optimizer: Callable[..., torch.optim.Optimizer],
        previous: Callable[[nn.Module, nn.Module], PreviousModel] | None = None,
        warmup_steps: int = 0,
        final_lr_factor: float = 0.1,
        top_k: int = 10,
    ) -> None:
        super().__init__(schema, top_k=top_k)
        if warmup_steps < 0:
            raise EmerError(f"method.schedule.warmup_steps is {warmup_steps}; it must be 0 or more")
        if not 0 <= final_lr_factor <= 1:
            raise EmerError(f"method.schedule.final_lr_factor is {final_lr_factor}; it must be in [0, 1]")
        self.model = model(schema)
        self.objective = objective
        self.details = details_needed(objective, self.model)
        if hasattr(objective, "build"):
            objective.build(schema)
        self.optimizer_factory = optimizer
        self.warmup_steps, self.final_lr_factor = warmup_steps, final_lr_factor
        self.previous: PreviousModel | None = None
        if previous is not None and objective.needs_previous:
            self.previous = previous(self.model, FusionFormula.hand_set(schema))
        self.last_weights: Tensor | None = None
        self.last_weight_names: tuple[str, ...] = ()
        self.steps_seen = 0
        self.validation_terms = torch.zeros(0)

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores."""
        return self.model(batch)

    @property
    def trains_on_exposed(self) -> bool:
        """Whether candidates that were not exposed can be left out of training: the objective does not read them, and
        the model scores each candidate alone. Most candidates are never exposed, so it is several times faster."""
        return getattr(self.model, "candidates_alone", False) and getattr(self.objective, "exposed_alone", False)

    def evaluate_objective(
        self, batch: RequestBatch, previous_scores: Tensor | None = None
    ) -> tuple[Tensor, ObjectiveOutput]:
        """(B, N) scores, and the objective of them and of the details that it needs."""
        if not self.details:
            scores = self(batch)
            return scores, self.objective(scores, batch, previous_scores)
        scores, details = self.model.forward_with_details(batch)  # type: ignore[operator]
        return scores, self.objective(scores, batch, previous_scores, details)  # type: ignore[call-arg]

    def on_fit_start(self) -> None:
        fit = getattr(getattr(self.model, "features", None), "fit", None)
        # A resumed run has its statistics from the checkpoint; computing them again gives the same numbers.
        if fit is not None:
            table = self.trainer.datamodule.training_sample()  # type: ignore[attr-defined]
            rows = torch.linspace(0, len(table) - 1, min(len(table), STATISTICS_REQUESTS)).long().unique().numpy()
            fit(table.batch(rows).to(self.device))

    def on_train_start(self) -> None:
        self.steps_seen = self.global_step  # a resumed run's own, which on_fit_start does not know yet
        if hasattr(self.objective, "check_plan"):
            self.objective.check_plan(self.planned_batches())

    def planned_batches(self) -> float:
        """Most training batches of each process, those before a resumption included; inf if nothing bounds them."""
        trainer = self.trainer
        planned = math.inf
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            planned = float(trainer.max_epochs * trainer.num_training_batches)
        return planned if trainer.max_steps < 0 else min(planned, trainer.max_steps * trainer.accumulate_grad_batches)

    def training_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        batch = batch.exposed_only() if self.trains_on_exposed else batch
        _, output = self.evaluate_objective(batch, self.previous(batch) if self.previous is not None else None)
        logged = {"train/loss": output.loss} | {f"train/{name}": value for name, value in output.terms.items()}
        if output.weights is not None:
            means = output.weights.mean(dim=0)
            logged |= {f"weight/{name}": mean for name, mean in zip(output.weight_names, means, strict=True)}
            logged["weight/max"] = output.weights.max()
        self.log_dict(logged, on_step=True, on_epoch=True, batch_size=len(batch))
        self.last_weights, self.last_weight_names = output.weights, output.weight_names
        return output.loss

    def on_train_batch_end(self, outputs: Any, batch: RequestBatch, batch_index: int) -> None:
        # With gradient accumulation only some batches end in an optimiser step.
        if self.previous is not None and self.global_step != self.steps_seen:
            self.previous.after_step(self.model, self.global_step)
        self.steps_seen = self.global_step

    def on_train_epoch_end(self) -> None:
        if self.previous is not None:
            self.previous.after_epoch(self.model)

    def on_validation_epoch_start(self) -> None:
        self.validation_terms = torch.zeros(2, len(self.objective.term_names(self.schema)), device=self.device)

    def validation_step(self, batch: RequestBatch, batch_index: int) -> None:
        # Fixed weights: a loss that is comparable between epochs, since evolving weights move with the model.
        scores, output = self.evaluate_objective(batch)
        everyone = torch.tensor(len(batch), device=self.device)
        counts = torch.stack([output.counts.get(name, everyone) for name in output.terms])
        self.validation_terms += torch.stack([torch.stack(list(output.terms.values())) * counts, counts.float()])
        self.validation_metrics.update(scores, batch)

    def on_validation_epoch_end(self) -> None:
        """Average each term over the requests that have it, so that batches and processes do not matter."""
        super().on_validation_epoch_end()
        totals = self.trainer.strategy.reduce(self.validation_terms, reduce_op="sum")
        means = (totals[0] / totals[1].clamp(min=1)).unbind()
        terms = dict(zip(self.objective.term_names(self.schema), means, strict=True))
        self.log_dict({f"val/{name}": value for name, value in terms.items()})
        self.log("val/loss", self.objective.total(terms), prog_bar=True)
        # Neither a few batches before training nor a later look at a trained model is an epoch of it.
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if fitting and hasattr(self.objective, "after_validation"):
            numbers = {k: float(v) for k, v in self.trainer.callback_metrics.items()}
            numbers |= {f"val/{k}": float(v) for k, v in self.validation_summary.items() if v is not None}
            self.objective.after_validation(numbers)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The model's parameters, and without decay those of the objective (AUCM's means and dual variables)."""
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if isinstance(self.objective, nn.Module) and (own := list(self.objective.parameters())):
            groups.append({"params": own, "weight_decay": 0.0})
        return groups

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.parameter_groups())
        steps = max(1, int(self.trainer.estimated_stepping_batches))

        def factor(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / (self.warmup_steps + 1)
            progress = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
            return self.final_lr_factor + (1 - self.final_lr_factor) * 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
