"""Scorers that no gradient trains as a LightningModule: one step, so that they are run and tested as the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import RequestBatch, Schema
from emer.training.gradient_free import GradientFreeModule

FIT_REQUESTS = 1024
"""Training requests that are in memory at a time while a model chooses."""


class FixedModule(GradientFreeModule):
    """A model without parameters. If it has a ``fit(batches)``, that sees every training request once.

    Every process fits on all of them, to the same result. Training is one step, whose batch is not looked at; a run
    that is resumed after it makes no other.

    Args:
        schema: the request log's columns.
        model: builds the scorer from the schema; called once.
        top_k: length of the list in DCG@k and the like.

    Raises:
        EmerError: the model has parameters, which nothing here would train.
    """

    def __init__(self, schema: Schema, *, model: Callable[[Schema], nn.Module], top_k: int = 10) -> None:
        super().__init__(schema, top_k=top_k)
        self.model = model(schema)
        if any(True for _ in self.model.parameters()):
            raise EmerError(
                f"method.model {type(self.model).__name__} has parameters, which FixedModule does not train; "
                "method.module._target_ must be emer.training.ranker_module.RankerModule"
            )

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores."""
        return self.model(batch)

    def on_fit_start(self) -> None:
        fit = getattr(self.model, "fit", None)
        # A resumed run has the outcome from the checkpoint; fitting again gives the same.
        if fit is not None:
            fit(self._training_requests())

    def on_train_start(self) -> None:
        self.finished = True
        if self.global_step > 0:
            self.trainer.should_stop = True

    def training_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        return self.tick()

    def _training_requests(self) -> Iterator[RequestBatch]:
        for batch in self.trainer.datamodule.batches("train", FIT_REQUESTS):  # type: ignore[attr-defined]
            yield batch.to(self.device)
