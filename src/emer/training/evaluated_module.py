"""What every method shares: it scores requests, and is validated and tested on the same metrics."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from emer.metrics.request_metrics import RequestMetrics
from emer.requests import RequestBatch, Schema


class EvaluatedModule(pl.LightningModule):
    """A LightningModule whose ``forward`` maps a RequestBatch to (B, N) scores.

    After ``trainer.test`` the results stand in ``test_summary`` (flat name -> value, None where no request has a
    value) and ``test_per_request`` (name -> one value per request, in the order of the split); after each validation,
    in ``validation_summary``.

    Args:
        schema: the request log's columns.
        top_k: length of the list in DCG@k and the like.
    """

    def __init__(self, schema: Schema, *, top_k: int = 10) -> None:
        super().__init__()
        self.schema = schema
        self.validation_metrics = RequestMetrics(schema, k=top_k)
        self.test_metrics = RequestMetrics(schema, k=top_k)
        self.validation_summary: dict[str, float | None] = {}
        self.test_summary: dict[str, float | None] = {}
        self.test_per_request: dict[str, np.ndarray] = {}

    @property
    def parameter_count(self) -> int:
        """Numbers that training sets."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def validation_step(self, batch: RequestBatch, batch_index: int) -> None:
        self.validation_metrics.update(self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        self.validation_summary, _ = self.validation_metrics.compute()
        self.validation_metrics.reset()
        for name, value in self.validation_summary.items():
            if value is not None and not name.startswith(("random/", "groups/")):
                # Every rank computed the same number from the gathered requests.
                self.log(f"val/{name}", torch.tensor(value, dtype=torch.float32), rank_zero_only=False)

    def test_step(self, batch: RequestBatch, batch_index: int) -> None:
        self.test_metrics.update(self(batch), batch)

    def on_test_epoch_end(self) -> None:
        self.test_summary, self.test_per_request = self.test_metrics.compute()
        self.test_metrics.reset()

    def predict_step(self, batch: RequestBatch, batch_index: int) -> Tensor:
        return self(batch)
