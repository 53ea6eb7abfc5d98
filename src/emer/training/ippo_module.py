"""Pantheon's training (arXiv 2505.13894): two models side by side, and IPPO between them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from emer.data.splits import Splits
from emer.errors import EmerError
from emer.objectives.base import Objective, ObjectiveOutput
from emer.objectives.pantheon import PantheonObjective
from emer.requests import RequestBatch, Schema
from emer.training.ippo import Ippo, Mode, Policy
from emer.training.ippo_log import IppoLog
from emer.training.ippo_windows import RequestWindow, earlier_part, round_length, window_gaucs
from emer.training.previous import PreviousModel
from emer.training.ranker_module import RankerModule

BaseMode = Literal["continue", "frozen"]
Serve = Literal["base", "reference"]
Window = Literal["auto", "next", "held_out"]


class IppoModule(RankerModule):
    """A :class:`RankerModule` whose model is IPPO's reference, with a base that learns from the same batches.

    An epoch is cut into rounds of equally many batches. After each, both models are evaluated on a window of training
    requests, and :class:`emer.training.ippo.Ippo` says whether the reference, with its optimiser state, becomes the
    base, and with which weights both go on (docs/rivals.md). A rejected reference is not reset (P6).

    No model may be judged by requests that it has learnt from (P5). There are two such windows:

    - ``next``: the requests of the next round, which follow in time. Only a stream has them: training in the order of
      time, and one epoch. The last round has no next one, and so no decision.
    - ``held_out``: the last ``held_out`` of the training requests' time. They are taken out of the training requests
      while the module is fitted, and every round uses them.

    All of it needs :class:`PantheonObjective`; with any other objective this is a plain RankerModule, on all training
    requests. With ``ippo=false`` there is no base and no round, but the same requests are held out, unused: the
    ablation learns from the same batches, and differs in IPPO alone.
    Weights are buffers, and the rounds and the archive are in the checkpoint, so that a resumed run goes on exactly.
    ``archive.json`` in the trainer's ``default_root_dir`` has ``labels``, ``rounds`` (every round's weights, GAUCs,
    gaps and decision, null where unknown) and ``archive`` (the non-dominated weights with their GAUCs).

    Args:
        schema, model, objective, optimizer, previous, warmup_steps, final_lr_factor, top_k: as in
            :class:`RankerModule`.
        rounds: of an epoch; fewer where there are fewer optimiser steps.
        base_mode: ``continue``: the base goes on learning with its own weights; ``frozen``: it waits (P1).
        serve: whose scores are validated and tested: ``base`` or ``reference``.
        window: see above; ``auto`` is ``next`` where there is a stream, else ``held_out``.
        held_out: share of the training requests.
        bootstrap: samples for the standard errors.
        mode, tolerance, margin, step, renormalise, policy, sigma, seed: of :class:`Ippo`.

    Raises:
        EmerError: an argument is unknown or out of range.
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
        rounds: int = 20,
        base_mode: BaseMode = "continue",
        serve: Serve = "base",
        window: Window = "auto",
        held_out: float = 0.1,
        bootstrap: int = 200,
        mode: Mode = "non_inferior",
        tolerance: float = 1.0,
        margin: float = 1.0,
        step: float = 0.1,
        renormalise: bool = False,
        policy: Policy = "raise",
        sigma: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            schema,
            model=model,
            objective=objective,
            optimizer=optimizer,
            previous=previous,
            warmup_steps=warmup_steps,
            final_lr_factor=final_lr_factor,
            top_k=top_k,
        )
        for key, value, allowed in (
            ("base_mode", base_mode, get_args(BaseMode)),
            ("serve", serve, get_args(Serve)),
            ("window", window, get_args(Window)),
        ):
            if value not in allowed:
                raise EmerError(f"method.module.{key} is {value!r}; it must be one of {', '.join(allowed)}")
        for key, number, least in (("rounds", rounds, 1), ("bootstrap", bootstrap, 2)):
            if number < least:
                raise EmerError(f"method.module.{key} is {number}; it must be at least {least}")
        if not 0 < held_out < 1:
            raise EmerError(f"method.module.held_out is {held_out}; it must be between 0 and 1")
        self.rounds, self.base_mode, self.serve = rounds, base_mode, serve
        self.window, self.held_out, self.bootstrap = window, held_out, bootstrap
        self.rule = Ippo(
            mode=mode,
            tolerance=tolerance,
            margin=margin,
            step=step,
            renormalise=renormalise,
            policy=policy,
            sigma=sigma,
            seed=seed,
        )
        self.seed = seed
        self.base: nn.Module | None = None
        self.base_objective: PantheonObjective | None = None
        if isinstance(objective, PantheonObjective) and objective.ippo:
            self.base = copy.deepcopy(self.model)
            self.base_objective = copy.deepcopy(objective)
            if base_mode == "frozen":
                self.base.requires_grad_(False)
        self.log_of_rounds = IppoLog(schema.feedback_names)
        self.restored = False
        self.whole: Splits | None = None
        self.held_out_rows: np.ndarray | None = None

    @property
    def serves_base(self) -> bool:
        """Whether scores are the base's."""
        return self.base is not None and self.serve == "base"

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores of the model that is served."""
        return self.base(batch) if self.base is not None and self.serves_base else self.model(batch)

    def evaluate_objective(
        self, batch: RequestBatch, previous_scores: Tensor | None = None
    ) -> tuple[Tensor, ObjectiveOutput]:
        """In training of the reference, otherwise of the model that is served."""
        if self.training or not self.serves_base:
            return super().evaluate_objective(batch, previous_scores)
        return self._of_base(batch)

    def _of_base(self, batch: RequestBatch) -> tuple[Tensor, ObjectiveOutput]:
        scores, details = self.base.forward_with_details(batch)  # type: ignore[union-attr, operator]
        return scores, self.base_objective(scores, batch, None, details)  # type: ignore[misc]

    def training_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        batch = batch.exposed_only() if self.trains_on_exposed else batch
        loss = super().training_step(batch, batch_index)
        if self.base is None or self.base_mode == "frozen":
            return loss
        # The two share no parameter, so the sum trains each by its own loss.
        return loss + self._of_base(batch)[1].loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of the reference, and the base's if it learns."""
        groups = super().parameter_groups()
        if self.base is not None and self.base_mode == "continue":
            groups.append({"params": list(self.base.parameters())})
        return groups

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each model by its own norm, towers and head together, as without IPPO: a norm of both models would let
        the one shorten the other's steps."""
        if self.base is None or gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], gradient_clip_val)

    def setup(self, stage: str) -> None:
        """Choose the window; take the held-out requests out of the training requests until the fit is over.

        Raises:
            EmerError: ``window=next`` without a stream, or the requests cannot be cut along time.
        """
        if not isinstance(self.objective, PantheonObjective) or stage != "fit":
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        splits = data.splits
        stream = not data.train_dataloader().batch_sampler.shuffle and self.trainer.max_epochs == 1
        if self.window == "next" and not stream:
            raise EmerError(
                "method.module.window=next needs training requests that no model has learnt from: set "
                "loader.shuffle=false and trainer.max_epochs=1, or window=held_out"
            )
        if self.window == "held_out" or not stream:
            self.whole = splits
            early = earlier_part(self.whole.train.time_ms, self.held_out)
            self.held_out_rows = np.flatnonzero(~early)
            data.splits = self.whole._replace(train=self.whole.train.select(early))

    def teardown(self, stage: str) -> None:
        if stage == "fit" and self.whole is not None:
            self.trainer.datamodule.splits = self.whole  # type: ignore[attr-defined]
            self.whole = None

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.base is not None and not self.restored:
            # The reference's inputs have their scales only now.
            self.base.load_state_dict(self.model.state_dict())

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.base is not None:
            self._write_log()

    def on_train_batch_end(self, outputs: Any, batch: RequestBatch, batch_index: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_index)
        if self.base is None:
            return
        batches, done = int(self.trainer.num_training_batches), batch_index + 1
        length = round_length(batches, self.rounds, self.trainer.accumulate_grad_batches)
        if done == batches or done % length == 0:
            window = self._window(done, length)
            if len(window.rows):
                self._end_round(window)

    def _window(self, done: int, length: int) -> RequestWindow:
        """The requests to judge by after ``done`` batches of the epoch; none after a stream's last round."""
        if self.held_out_rows is not None and self.whole is not None:
            table, rows = self.whole.train, self.held_out_rows
        else:
            table = self.trainer.datamodule.splits.train  # type: ignore[attr-defined]
            size = self.trainer.train_dataloader.batch_sampler.batch_size  # type: ignore[union-attr]
            rows = np.argsort(table.time_ms, kind="stable")[done * size : (done + length) * size]
        return RequestWindow(table, rows, self.device)

    def _end_round(self, window: RequestWindow) -> None:
        assert self.base is not None and self.base_objective is not None
        assert isinstance(self.objective, PantheonObjective)
        index = len(self.log_of_rounds.rounds)
        weights, base_weights = (x.w.cpu().numpy() for x in (self.objective, self.base_objective))
        gaucs = window_gaucs(self.model, self.base, window, samples=self.bootstrap, seed=self.seed + index)
        # Of one process, so that rounding cannot part the others from it.
        gaucs = self.trainer.strategy.broadcast(gaucs)
        decision = self.rule.decide(weights, base_weights, gaucs, index)
        self.log_of_rounds.add(weights, base_weights, gaucs, decision, epoch=self.current_epoch, step=self.global_step)
        if decision.accepted:
            self._replace_base()
        self.objective.w.copy_(torch.from_numpy(decision.weights))
        self.base_objective.w.copy_(torch.from_numpy(decision.base_weights))
        self._write_log()
        # Every round, which self.log would not: it writes a step only now and then.
        for logger in self.loggers:
            logger.log_metrics(self.log_of_rounds.last_numbers(), self.global_step)

    @torch.no_grad()
    def _replace_base(self) -> None:
        """The reference, its optimiser's memory included, becomes the base."""
        assert self.base is not None
        self.base.load_state_dict(self.model.state_dict())
        if self.base_mode == "frozen":
            return
        state = self.optimizers(use_pl_optimizer=False).state  # type: ignore[union-attr]
        for mine, other in zip(self.base.parameters(), self.model.parameters(), strict=True):
            if other in state:
                state[mine] = copy.deepcopy(state[other])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.base is None:
            return
        numbers = {"ippo/accepted": float(self.log_of_rounds.accepted)}
        for prefix, objective in (("weight", self.objective), ("base_weight", self.base_objective)):
            assert isinstance(objective, PantheonObjective)
            named = zip(self.schema.feedback_names, objective.w.tolist(), strict=True)
            numbers |= {f"ippo/{prefix}/{name}": weight for name, weight in named}
        self.log_dict(numbers)

    def _write_log(self) -> None:
        if self.trainer.is_global_zero:
            self.log_of_rounds.write(Path(self.trainer.default_root_dir) / "archive.json")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ippo"] = self.log_of_rounds.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.log_of_rounds.load_state_dict(checkpoint["ippo"])
        self.restored = True
