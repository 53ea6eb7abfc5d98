"""Training of the MMoE: a thin Lightning module, and batches cut from arrays in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from emer.pxtr.features import Encoded
from emer.pxtr.mmoe import MMoE


class RowBatches(IterableDataset[tuple[Tensor, ...]]):
    """Shuffled batches of rows: (categories, numbers, targets), each epoch in a new order."""

    def __init__(self, rows: Encoded, targets: np.ndarray, batch_size: int, seed: int) -> None:
        self.tensors = (
            torch.from_numpy(rows.categories),
            torch.from_numpy(rows.numbers),
            torch.from_numpy(targets),
        )
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(self.tensors[0].shape[0] / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(self.tensors[0].shape[0], generator=self.generator)
        for rows in order.split(self.batch_size):
            yield tuple(t[rows] for t in self.tensors)


class PxtrModule(pl.LightningModule):
    """Fits an MMoE to targets (n, K): binary labels, and for ``watch`` the seconds watched.

    Loss: Σ_k binary cross-entropy, plus the squared error of the standardised log(1 + seconds); all weights
        1.

    Prediction of the seconds: with m the model's log(1 + seconds), exp(m) - 1 estimates something like a
    median. The expected seconds are max(0, φ exp(m) - 1) with φ = Σ (1 + seconds) / Σ exp(m) over the rows
    given to :meth:`calibrate_watch` (Duan's smearing idea, 1983, as a ratio): one factor, so the order stays
    and the mean is right.
    """

    binary: Tensor
    watch_mean: Tensor
    watch_scale: Tensor
    watch_factor: Tensor

    def __init__(self, model: MMoE, watch: int | None, learning_rate: float, weight_decay: float, steps: int) -> None:
        """Wrap a model.

        Args:
            model: with K objectives.
            watch: column of the targets that is in seconds, or None.
            learning_rate: AdamW's peak; it rises over the first tenth of the steps, then falls to 0.
            weight_decay: AdamW's.
            steps: optimiser steps to be taken.
        """
        super().__init__()
        self.model = model
        self.watch = watch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.steps = steps
        binary = [k for k in range(model.shape[0]) if k != watch]
        self.register_buffer("binary", torch.tensor(binary, dtype=torch.int64))
        self.register_buffer("watch_mean", torch.zeros(()))
        self.register_buffer("watch_scale", torch.ones(()))
        self.register_buffer("watch_factor", torch.ones(()))

    @torch.no_grad()
    def start_from_base_rates(self, targets: np.ndarray) -> None:
        """Set the output biases to the training rows' base rates: rare labels are slow to learn them."""
        values = torch.from_numpy(targets).double()
        share = values[:, self.binary].mean(0).clamp(1e-5, 1 - 1e-5)
        self.model.head_bias[self.binary] = torch.logit(share).float()
        if self.watch is not None:
            seconds = values[:, self.watch].log1p()
            self.watch_mean.fill_(seconds.mean())
            self.watch_scale.fill_(seconds.std().clamp(min=1e-6))

    def continue_from(self, previous: PxtrModule) -> None:
        """Take over the weights of a module with the same objectives whose categories had fewer ids."""
        self.model.copy_from(previous.model)
        self.watch_mean.copy_(previous.watch_mean)
        self.watch_scale.copy_(previous.watch_scale)

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        categories, numbers, targets = batch
        logit = self.model(categories, numbers).logit
        binary = logit[:, self.binary]
        loss = F.binary_cross_entropy_with_logits(binary, targets[:, self.binary], reduction="none")
        total = loss.mean(0).sum()
        if self.watch is not None:
            wanted = (targets[:, self.watch].log1p() - self.watch_mean) / self.watch_scale
            total = total + F.mse_loss(logit[:, self.watch], wanted)
        return total

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        warmup = max(1, self.steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / warmup, max(0, self.steps - step) / max(1, self.steps - warmup)),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def calibrate_watch(self, rows: Encoded, seconds: np.ndarray) -> None:
        """Set φ (see the class) from training rows and the seconds watched there."""
        if self.watch is None:
            return
        self.watch_factor.fill_(1.0)
        predicted = self.predict(rows)[:, self.watch].astype(np.float64)
        self.watch_factor.fill_(float((1.0 + seconds).sum() / (1.0 + predicted).sum()))

    @torch.no_grad()
    def predict(self, rows: Encoded, batch_size: int = 4096) -> np.ndarray:
        """(n, K) float32 pxtrs: probabilities, and expected seconds in the watch column."""
        self.eval()
        parts = []
        for start in range(0, len(rows), batch_size):
            cut = slice(start, start + batch_size)
            logit = self.model(torch.from_numpy(rows.categories[cut]), torch.from_numpy(rows.numbers[cut])).logit
            pxtr = torch.sigmoid(logit)
            if self.watch is not None:
                log_seconds = logit[:, self.watch] * self.watch_scale + self.watch_mean
                pxtr[:, self.watch] = (self.watch_factor * log_seconds.exp() - 1.0).clamp(min=0.0)
            parts.append(pxtr)
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.model.shape[0]), dtype=np.float32)
