"""The Lightning data module of every request log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from emer.data.dataset import RequestBatchSampler, RequestLoader
from emer.data.splits import DEFAULT_FRACTIONS, Splits, read_splits
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import RequestBatch, Schema


class RequestDataModule(pl.LightningDataModule):
    """Serves the batches of one log, given as three tables or as a folder in request Parquet format.

    The trainer must run with ``use_distributed_sampler=False``: sharing requests among processes is the
    sampler's work here (:class:`emer.data.dataset.RequestBatchSampler`), and it is exact. A run resumed from
    a checkpoint, at the end or in the middle of an epoch, gets the batches that the uninterrupted run would.

    Args:
        train, validation, test: tables; give all three or ``root``.
        root: a folder as described in :func:`emer.data.splits.read_splits`.
        batch_size: training requests per step, over all processes.
        eval_batch_size: requests per evaluation batch of one process; None takes ``batch_size``.
        seed: of the training order.
        shuffle: train in a new random order every epoch; False trains in the order of time.
        num_workers: processes that cut batches beside each training process.
        pin_memory: page-locked batches, for asynchronous copies to a GPU.
        iput_floor: seconds; predicted watch time is clamped to at least this before IPUT divides by it.
        fractions: shares of train, validation and test where ``root`` is a flat folder.
        schema: for files that carry none.

    Raises:
        EmerError: neither or both of tables and root are given.
    """

    def __init__(
        self,
        *,
        train: RequestTable | None = None,
        validation: RequestTable | None = None,
        test: RequestTable | None = None,
        root: Path | str | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        num_workers: int = 0,
        pin_memory: bool = False,
        iput_floor: float = 1.0,
        fractions: Sequence[float] = DEFAULT_FRACTIONS,
        schema: Schema | None = None,
    ) -> None:
        super().__init__()
        tables = (train, validation, test)
        given = sum(table is not None for table in tables)
        if given != (3 if root is None else 0):
            raise EmerError("give a data module the tables train, validation and test, or data.root, not both")
        self._tables = tables
        self._root = root
        self._batch_size = batch_size
        self._eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._iput_floor = iput_floor
        self._fractions = fractions
        self._schema = schema
        # Evaluation never repeats a request, so with fewer requests than processes some have none.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    @cached_property
    def splits(self) -> Splits:
        """The three tables, read and checked on first use.

        Raises:
            DataError: the first problem of the files.
        """
        if self._root is not None:
            return read_splits(self._root, iput_floor=self._iput_floor, fractions=self._fractions, schema=self._schema)
        return Splits(*(table.with_iput_floor(self._iput_floor) for table in self._tables if table is not None))

    @property
    def schema(self) -> Schema:
        """Names and kinds of the log's columns."""
        return self.splits.train.schema

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all three splits, for caches of what was tuned on them."""
        return hashlib.sha256("".join(table.fingerprint() for table in self.splits).encode()).hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Read the log, so that its problems show before training begins."""
        _ = self.splits

    def train_dataloader(self) -> RequestLoader:
        overfit = bool(getattr(self.trainer, "overfit_batches", 0))
        shuffle = self._shuffle and not overfit  # overfitting needs the same few batches every epoch
        return self._loader(self.splits.train, self._batch_size, shuffle=shuffle, seed=self._seed)

    def val_dataloader(self) -> RequestLoader:
        return self._loader(self.splits.validation, self._eval_batch_size, evaluation=True)

    def test_dataloader(self) -> RequestLoader:
        return self._loader(self.splits.test, self._eval_batch_size, evaluation=True)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, RequestBatch):
            return batch.to(device, non_blocking=self._pin_memory)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _loader(self, table: RequestTable, batch_size: int, **order: Any) -> RequestLoader:
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        sampler = RequestBatchSampler(table.time_ms, batch_size=batch_size, rank=rank, world_size=world_size, **order)
        return RequestLoader(
            table,
            sampler,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            persistent_workers=self._num_workers > 0,
        )
