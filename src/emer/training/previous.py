"""EMER's previous model: whose scores the advantage evaluator compares the current ones with (A13)."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import RequestBatch

Source = Literal["auto", "logged", "snapshot", "ema"]
SOURCES = ("auto", "logged", "snapshot", "ema")


class PreviousModel(nn.Module):
    """Scores of the model before this one, from whichever source there is.

    - ``logged``: the score that the serving model wrote into the request log; no second forward.
    - ``snapshot``: a frozen copy, renewed every ``refresh_steps`` optimiser steps, or each epoch if that is 0.
      Before the first renewal, the fusion formula.
    - ``ema``: an exponential moving average of the weights. Close to the current model, so weights stay near 1.
    - ``auto``: logged where the log has it, else snapshot.

    Args:
        model: the model in training; copied, not kept.
        formula: (B, N) scores of a batch before there is a snapshot.
        source: see above.
        refresh_steps: optimiser steps between snapshots; 0 for one per epoch.
        ema_decay: weight of the old average in each step.

    Raises:
        EmerError: an argument is out of range.
    """

    filled: Tensor

    def __init__(
        self,
        model: nn.Module,
        formula: nn.Module,
        *,
        source: Source = "auto",
        refresh_steps: int = 0,
        ema_decay: float = 0.999,
    ) -> None:
        super().__init__()
        if source not in SOURCES:
            raise EmerError(f"method.previous.source is {source!r}; it must be one of {', '.join(SOURCES)}")
        if refresh_steps < 0:
            raise EmerError(f"method.previous.refresh_steps is {refresh_steps}; it must be 0 or more")
        if not 0 <= ema_decay < 1:
            raise EmerError(f"method.previous.ema_decay is {ema_decay}; it must be in [0, 1)")
        self.source, self.refresh_steps, self.ema_decay = source, refresh_steps, ema_decay
        self.formula = formula
        self.copy: nn.Module | None = None
        if source != "logged":
            self.copy = copy.deepcopy(model).requires_grad_(False).eval()
        self.register_buffer("filled", torch.tensor(False))

    def train(self, mode: bool = True) -> PreviousModel:
        """The previous model never trains: dropout stays off whatever ``mode`` says."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores.

        Raises:
            EmerError: the source is ``logged`` and the request log has no ``previous_score``.
        """
        if self.source in ("auto", "logged") and batch.previous_score is not None:
            return batch.previous_score
        if self.copy is None:
            raise EmerError(
                "method.previous.source is logged, but the request log has no previous_score column; "
                "use method.previous.source=snapshot"
            )
        return self.copy(batch) if bool(self.filled) else self.formula(batch)

    def after_step(self, model: nn.Module, step: int) -> None:
        """Call after optimiser step ``step`` (counted from 1)."""
        if self.source == "ema":
            self._update(model, 1 - self.ema_decay if bool(self.filled) else 1.0)
        elif self.refresh_steps and step % self.refresh_steps == 0:
            self._update(model, 1.0)

    def after_epoch(self, model: nn.Module) -> None:
        """Call at the end of each epoch."""
        if self.source != "ema" and not self.refresh_steps:
            self._update(model, 1.0)

    @torch.no_grad()
    def _update(self, model: nn.Module, share: float) -> None:
        if self.copy is None:
            return
        for mine, current in zip(self.copy.parameters(), model.parameters(), strict=True):
            mine.lerp_(current, share)
        for kept, buffer in zip(self.copy.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
        self.filled.fill_(True)
