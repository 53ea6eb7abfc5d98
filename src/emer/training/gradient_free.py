"""What methods without gradients share: a parameter for Lightning to step, and an end of training once all is done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from emer.requests import RequestBatch, Schema
from emer.training.evaluated_module import EvaluatedModule


class GradientFreeModule(EvaluatedModule):
    """An :class:`EvaluatedModule` whose ``training_step`` does its work itself and returns :meth:`tick`.

    Once it has set ``finished``, training stops with the next optimiser step.

    Args:
        schema: the request log's columns.
        top_k: length of the list in DCG@k and the like.
    """

    def __init__(self, schema: Schema, *, top_k: int = 10) -> None:
        super().__init__(schema, top_k=top_k)
        # Stepped by 0: Lightning writes a checkpoint only after optimiser steps, and DDP wants a parameter.
        self.clock = nn.Parameter(torch.zeros(()))
        self.finished = False

    @property
    def parameter_count(self) -> int:
        """Without the clock: none, unless the method says otherwise."""
        return 0

    def tick(self) -> Tensor:
        """A loss of 0 whose step changes nothing."""
        return 0.0 * self.clock

    def on_train_batch_end(self, outputs: Any, batch: RequestBatch, batch_index: int) -> None:
        # With gradient accumulation the first batches end in no optimiser step, and so in no checkpoint.
        if self.finished and self.global_step > 0:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.clock], lr=0.0)
