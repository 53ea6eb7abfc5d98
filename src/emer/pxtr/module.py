"""Training of the pxtr model: a thin Lightning module."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from emer.pxtr.features import Encoded, Moments
from emer.pxtr.pxtr_model import PxtrModel


class Prediction(NamedTuple):
    """``pxtr`` (n, K) float32: probabilities, and expected seconds in the watch column; and the towers' hidden states,
    ``hidden`` (n, K, tower_size) float32."""

    pxtr: np.ndarray
    hidden: np.ndarray


class PxtrModule(pl.LightningModule):
    """Fits a model to targets (n, K): binary labels, and for ``watch`` the seconds watched.

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

    def __init__(
        self, model: PxtrModel, watch: int | None, learning_rate: float, weight_decay: float, steps: int
    ) -> None:
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
    def start_from_base_rates(self, targets: Iterable[np.ndarray]) -> None:
        """Set the output biases to the training rows' base rates: rare labels are slow to learn them.

        ``targets``: of each piece of the training rows.
        """
        moments = Moments(self.model.shape[0])
        for piece in targets:
            values = piece.astype(np.float64)
            if self.watch is not None:
                values[:, self.watch] = np.log1p(values[:, self.watch])
            moments.add(values)
        mean, variance = torch.from_numpy(moments.mean), torch.from_numpy(moments.variance)
        self.model.head_bias[self.binary] = torch.logit(mean[self.binary].clamp(1e-5, 1 - 1e-5)).float()
        if self.watch is not None:
            self.watch_mean.fill_(mean[self.watch])
            self.watch_scale.fill_(variance[self.watch].sqrt().clamp(min=1e-6))

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
    def calibrate_watch(self, rows: Iterable[tuple[Encoded, np.ndarray]]) -> None:
        """Set φ (see the class) from pieces of training rows, each with the seconds watched."""
        if self.watch is None:
            return
        self.watch_factor.fill_(1.0)
        actual = predicted = 0.0
        for encoded, seconds in rows:
            actual += float((1.0 + seconds.astype(np.float64)).sum())
            predicted += float((1.0 + self.predict(encoded).pxtr[:, self.watch].astype(np.float64)).sum())
        self.watch_factor.fill_(actual / predicted)

    @torch.no_grad()
    def predict(self, rows: Encoded, batch_size: int = 4096) -> Prediction:
        """Of n rows."""
        self.eval()
        parts, hidden = [], []
        for start in range(0, len(rows), batch_size):
            cut = slice(start, start + batch_size)
            out = self.model(torch.from_numpy(rows.categories[cut]), torch.from_numpy(rows.numbers[cut]))
            pxtr = torch.sigmoid(out.logit)
            if self.watch is not None:
                log_seconds = out.logit[:, self.watch] * self.watch_scale + self.watch_mean
                pxtr[:, self.watch] = (self.watch_factor * log_seconds.exp() - 1.0).clamp(min=0.0)
            parts.append(pxtr)
            hidden.append(out.hidden)
        if not parts:
            K = self.model.shape[0]
            return Prediction(np.zeros((0, K), dtype=np.float32), np.zeros((0, K, 0), dtype=np.float32))
        return Prediction(torch.cat(parts).numpy(), torch.cat(hidden).numpy())
