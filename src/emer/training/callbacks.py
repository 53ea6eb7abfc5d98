"""What happens beside training: curves, weights, exact resumption, agreement of ranks, progress."""

from __future__ import annotations

import csv
import io
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback, EarlyStopping, ProgressBar, RichProgressBar
from pytorch_lightning.loggers import WandbLogger

from emer.errors import EmerError
from emer.files import write_text

_SHOWN = ("val/loss", "tuning/best", "val/pxtr_gauc/mean", "val/label_gauc/mean")


class RandomState(Callback):
    """Keeps the random generators in the checkpoint, so that a resumed run draws what a killed one would."""

    def state_dict(self) -> dict[str, Any]:
        version, keys, gauss = random.getstate()
        name, numpy_keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries draw from it
        state: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "python": [version, list(keys), gauss],
            "numpy": [
                name,
                torch.from_numpy(np.asarray(numpy_keys).astype(np.int64)),
                position,
                has_gauss,
                cached,
            ],
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._restored = state

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        state = getattr(self, "_restored", None)
        if state is None:
            return
        torch.set_rng_state(state["torch"].cpu())
        version, keys, gauss = state["python"]
        random.setstate((version, tuple(keys), gauss))
        name, numpy_keys, position, has_gauss, cached = state["numpy"]
        key = numpy_keys.numpy().astype(np.uint32)
        np.random.set_state((name, key, position, has_gauss, cached))  # noqa: NPY002
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


class MetricsCsv(Callback):
    """Writes one row per epoch with every logged number to ``path``; the rows travel in the checkpoint.

    Without a terminal, where no progress bar is drawn, it also prints a line per epoch.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = list(state["rows"])

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Of what is logged per step and per epoch, the epoch's mean: it has the plain name too.
        numbers = {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if not name.endswith(("_step", "_epoch"))
        }
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **numbers})
        if not trainer.is_global_zero:
            return
        write_rows(self.path, self.rows)
        if not sys.stdout.isatty():
            shown = "  ".join(f"{k} {numbers[k]:.4f}" for k in _SHOWN if k in numbers)
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", flush=True)


class StopEarly(EarlyStopping):
    """Lightning's early stopping, which a run that was killed after it had stopped still obeys."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.wait_count >= max(1, self.patience):
            trainer.should_stop = True


class WeightHistogram(Callback):
    """Histogram of the evolving weights per objective, into W&B."""

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise EmerError(f"callbacks.weight_histogram.every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        weights = getattr(module, "last_weights", None)
        if weights is None or not trainer.is_global_zero or trainer.global_step % self.every_n_steps:
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                import wandb

                names: tuple[str, ...] = module.last_weight_names  # type: ignore[assignment]
                columns = weights.float().cpu().unbind(dim=1)
                content = {
                    f"weight_histogram/{name}": wandb.Histogram(np_histogram=np.histogram(column.numpy(), bins=32))
                    for name, column in zip(names, columns, strict=True)
                }
                logger.experiment.log({**content, "trainer/global_step": trainer.global_step})


class WeightTrajectory(Callback):
    """Writes the evolving weights (EMER eq. 7) to ``path``: their mean per objective, over the requests of
    ``every_n_steps`` steps (of the first process, where there are several). The rows travel in the checkpoint.

    A step in which gradients are accumulated counts once, with its last batch's weights.
    """

    def __init__(self, path: str, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise EmerError(f"callbacks.weight_trajectory.every_n_steps is {every_n_steps}; it must be at least 1")
        self.path, self.every_n_steps = Path(path), every_n_steps
        self.rows: list[dict[str, float]] = []
        self._sums: list[torch.Tensor] = []
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self._sums = list(state["rows"]), list(state["sums"])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        weights = getattr(module, "last_weights", None)
        if weights is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._sums.append(weights.float().mean(dim=0).cpu())
        if self._step % self.every_n_steps == 0:
            means = torch.stack(self._sums).mean(dim=0).tolist()
            names: tuple[str, ...] = module.last_weight_names  # type: ignore[assignment]
            self.rows.append({"step": self._step, **dict(zip(names, means, strict=True))})
            self._sums = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.rows and trainer.is_global_zero:
            write_rows(self.path, self.rows)


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """A CSV file of ``rows``, with every column that one of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


class Throughput(Callback):
    """Counts the candidates that went through training steps, and the seconds that the steps took, in this process.

    Reading batches, validation and what a resumed run did before are not counted. The first step is neither, where
    there are others: it loads and compiles kernels, which takes as long as many steps.
    """

    def __init__(self) -> None:
        self.rows, self.seconds = 0, 0.0
        self._first: tuple[int, float] | None = None
        self._started = 0.0

    @property
    def rows_per_second(self) -> float | None:
        """None before the first step."""
        rows, seconds = (self.rows, self.seconds) if self.rows else self._first or (0, 0.0)
        return rows / seconds if seconds > 0 else None

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        rows = int(batch.mask.sum())  # waits for a GPU to finish the step
        seconds = time.perf_counter() - self._started
        if self._first is None:
            self._first = rows, seconds
            return
        self.rows += rows
        self.seconds += seconds


class RanksAgree(Callback):
    """Stops a distributed run whose ranks were started with different settings.

    Args:
        identity: hash of this rank's settings.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return
        everyone: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, self.identity)
        if len(set(everyone)) > 1:
            listed = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(everyone))
            raise EmerError(
                f"the ranks were started with different settings ({listed}). Start them from one command: "
                "python train.py trainer=ddp ..., also under -m"
            )


def progress_bar() -> ProgressBar | None:
    """Rich's progress bar in a terminal; elsewhere :class:`MetricsCsv` prints a line per epoch."""
    return RichProgressBar() if sys.stdout.isatty() else None
