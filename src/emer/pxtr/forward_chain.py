"""Out-of-sample pxtrs: every day is predicted by a model that was trained on earlier days only."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader

from emer.data.log import day_text
from emer.data.setting_checks import at_least, names, yes_or_no
from emer.errors import DataError
from emer.pxtr.day_rows import DayRows, FrameRows, Piece, RowBatches
from emer.pxtr.features import Columns, Encoder
from emer.pxtr.model_choice import build_model, check_choice
from emer.pxtr.module import Prediction, PxtrModule


@dataclass(frozen=True, kw_only=True)
class ChainSettings:
    """The MMoE and how it is carried through the days.

    Attributes:
        kind, experts, expert_size, tower_size, embedding_size, dropout, own_experts, layers: see
            :func:`emer.pxtr.model_choice.build_model`.
        min_count, hashed, hash_size: see :class:`emer.pxtr.features.Encoder`.
        learning_rate, weight_decay, batch_size, epochs: AdamW; epochs of a training from scratch.
        min_train_days: days of log needed before the first predicted day.
        retrain_days: predicted days per model; 1 trains anew for every day.
        warm_start: continue from the previous model with the days that are new, instead of starting from
            scratch.
        warm_epochs: epochs over those new days.
        rows_in_memory: training rows held, and shuffled, at once.
    """

    kind: str = "mmoe"
    experts: int = 6
    expert_size: int = 64
    tower_size: int = 32
    embedding_size: int = 8
    dropout: float = 0.1
    own_experts: int = 1
    layers: int = 2
    min_count: int = 20
    hashed: Sequence[str] = ()
    hash_size: int = 131072
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    batch_size: int = 1024
    epochs: int = 3
    min_train_days: int = 3
    retrain_days: int = 1
    warm_start: bool = True
    warm_epochs: int = 1
    rows_in_memory: int = 2_000_000

    def __post_init__(self) -> None:
        whole = ("epochs", "batch_size", "min_train_days", "retrain_days", "warm_epochs", "hash_size", "rows_in_memory")
        for name in (*whole, "min_count"):
            at_least(f"pxtr model: {name}", getattr(self, name), 1)
        names("pxtr model: hashed", self.hashed)
        yes_or_no("pxtr model: warm_start", self.warm_start)
        for name in ("learning_rate", "weight_decay"):
            rate = getattr(self, name)
            if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
                raise DataError(f"pxtr model: {name} is {rate!r}; it must be a number, and at least 0")
        sizes = ("experts", "expert_size", "tower_size", "embedding_size", "own_experts", "layers")
        check_choice(self.kind, {name: getattr(self, name) for name in sizes}, self.dropout)


@dataclass(frozen=True)
class Block:
    """One model's turn: trained on the days before ``days[0]``, new since ``new_from``; predicts ``days``."""

    days: tuple[int, ...]
    new_from: int

    def __str__(self) -> str:
        first, last = day_text(self.days[0]), day_text(self.days[-1])
        return first if first == last else f"{first} to {last}"


def plan_blocks(log_days: Sequence[int], predicted: Sequence[int], settings: ChainSettings) -> list[Block]:
    """Which model predicts which days.

    Raises:
        DataError: fewer than ``min_train_days`` days of log lie before the first predicted day.
    """
    days = sorted(set(predicted))
    before = sorted({d for d in log_days if d < days[0]})
    if len(before) < settings.min_train_days:
        raise DataError(
            f"the first day with pxtrs is {day_text(days[0])}, and the log has {len(before)} days before it; "
            f"the pxtr model needs {settings.min_train_days}: begin the splits later, or lower min_train_days"
        )
    blocks: list[Block] = []
    for day in days:
        if blocks and day - blocks[-1].days[0] < settings.retrain_days:
            blocks[-1] = Block((*blocks[-1].days, day), blocks[-1].new_from)
        else:
            blocks.append(Block((day,), blocks[-1].days[0] if blocks else before[0]))
    return blocks


class ForwardChain:
    """Carries one encoder and one model through the blocks of days."""

    def __init__(
        self, columns: Columns, objectives: int, watch: int | None, settings: ChainSettings, seed: int
    ) -> None:
        """Prepare.

        Args:
            columns: the feature columns.
            objectives: K, the columns of the targets.
            watch: the target in seconds, or None.
            settings: sizes and schedule.
            seed: of starting weights, dropout and shuffling.
        """
        self.objectives = objectives
        self.watch = watch
        self.settings = settings
        self.seed = seed
        self.encoder = Encoder(columns, settings.min_count, settings.hashed, settings.hash_size)
        self.module: PxtrModule | None = None
        self._counted_to: int | None = None

    def learn(self, block: Block, rows: DayRows, on_step: Callable[[float], None] | None = None) -> None:
        """Get ready to predict ``block``, the next one, from rows of earlier days.

        Args:
            block: of :func:`plan_blocks`.
            rows: the log, at least up to the block.
            on_step: called after each step with its share of the training.
        """
        end = block.days[0]
        for piece in rows.pieces(self._counted_to, end):
            self.encoder.count(piece.load()[0])
        self.encoder.settle()
        self._counted_to = end
        fresh = self.module is None or not self.settings.warm_start
        training = rows.pieces(None if fresh else block.new_from, end)
        if training:
            batches = RowBatches(training, self.encoder, self.settings.batch_size, self._seed(end))
            self._train(batches, end, on_step)
            # The last day has the longest history behind it, as the predicted days will.
            self._calibrate(rows.pieces(max(day for day in rows.days if day < end), end))

    def predict(self, frame: polars.DataFrame) -> Prediction:
        """For every row, by the model of the block last learnt for."""
        assert self.module is not None
        return self.module.predict(self.encoder.transform(frame))

    def run(
        self,
        frame: polars.DataFrame,
        targets: np.ndarray,
        queries: polars.DataFrame,
        *,
        on_block: Callable[[Block, Encoder], None] | None = None,
        on_step: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """Predict every query row by a model of earlier days, all in memory.

        Args:
            frame: features of the log's exposures, with ``day``.
            targets: (rows of frame, K) float32: binary labels, and seconds in the watch column.
            queries: features of the rows to predict, with ``day``.
            on_block: called after each model's turn, with the encoder that it used.
            on_step: as in :meth:`learn`.

        Returns:
            (rows of queries, K) float32: probabilities and expected seconds.

        Raises:
            DataError: too few days before the first query.
        """
        rows, query_day = FrameRows(frame, targets), queries["day"].to_numpy()
        out = np.full((queries.height, self.objectives), np.nan, dtype=np.float32)
        for block in plan_blocks(rows.days, np.unique(query_day).tolist(), self.settings):
            self.learn(block, rows, on_step)
            asked = np.isin(query_day, block.days)
            out[asked] = self.predict(queries.filter(asked)).pxtr
            if on_block is not None:
                on_block(block, self.encoder)
        return out

    def _seed(self, day: int) -> int:
        return self.seed * 100_003 + day

    def _train(self, batches: RowBatches, day: int, on_step: Callable[[float], None] | None) -> None:
        s, previous = self.settings, self.module if self.settings.warm_start else None
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(self._seed(day))
            model = build_model(
                s.kind,
                self.encoder.sizes,
                len(self.encoder.columns.numbers),
                self.objectives,
                experts=s.experts,
                expert_size=s.expert_size,
                tower_size=s.tower_size,
                embedding_size=s.embedding_size,
                dropout=s.dropout,
                own_experts=s.own_experts,
                layers=s.layers,
            )
            epochs = s.epochs if previous is None else s.warm_epochs
            module = PxtrModule(model, self.watch, s.learning_rate, s.weight_decay, epochs * len(batches))
            if previous is None:
                module.start_from_base_rates(batches.targets())
            else:
                module.continue_from(previous)
            trainer = pl.Trainer(
                max_epochs=epochs,
                accelerator="cpu",
                devices=1,
                plugins=[LightningEnvironment()],  # one process here, even inside a SLURM job of many
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[_EachStep(on_step, module.steps)] if on_step is not None else None,
            )
            trainer.fit(module, DataLoader(batches, batch_size=None))
            if trainer.interrupted:
                raise KeyboardInterrupt
        module.trainer = None  # it holds the training rows
        self.module = module

    def _calibrate(self, pieces: Sequence[Piece]) -> None:
        assert self.module is not None
        if self.watch is not None:
            loaded = (piece.load() for piece in pieces)
            self.module.calibrate_watch((self.encoder.transform(f), t[:, self.watch]) for f, t in loaded)


class _EachStep(pl.Callback):
    """Tells of every step."""

    def __init__(self, on_step: Callable[[float], None], steps: int) -> None:
        self.on_step, self.steps = on_step, steps

    def on_train_batch_end(self, *_: Any) -> None:
        self.on_step(1 / self.steps)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's start-up lines, once per model."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
