"""The Lightning data module of every request log."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from emer.data.dataset import RequestBatchSampler, RequestLoader
from emer.data.label_skew import check_shares, thin_positives
from emer.data.places import Place
from emer.data.plan import StreamPlan
from emer.data.shards import Shards, index_splits
from emer.data.splits import DEFAULT_FRACTIONS, Splits, read_splits
from emer.data.stream import StreamLoader
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import RequestBatch, Schema

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]


class RequestDataModule(pl.LightningDataModule):
    """Serves the batches of one log, given as three tables or as a folder in request Parquet format.

    The trainer must run with ``use_distributed_sampler=False``: sharing requests among processes is the
    sampler's work here (:class:`emer.data.dataset.RequestBatchSampler`), and it is exact. A run resumed from
    a checkpoint, at the end or in the middle of an epoch, gets the batches that the uninterrupted run would.

    With ``stream``, requests stay in their files and are read while a model trains; :mod:`emer.data.stream` says how,
    and :class:`emer.data.plan.StreamPlan` in which order and on which process.

    Args:
        train, validation, test: tables; give all three or ``root``.
        root: a folder, or its URL, as described in :func:`emer.data.splits.read_splits`.
        batch_size: training requests per step, over all processes.
        eval_batch_size: requests per evaluation batch of one process; None takes ``batch_size``.
        seed: of the training order.
        shuffle: train in a new random order every epoch; False trains in the order of time (of files and rows if
            streaming).
        num_workers: processes that cut batches beside each training process.
        pin_memory: page-locked batches, for asynchronous copies to a GPU.
        iput_floor: seconds; predicted watch time is clamped to at least this before IPUT divides by it.
        fractions: shares of train, validation and test where ``root`` is a flat folder.
        schema: for files that carry none.
        stream: read from ``root`` while training. It needs the sub folders of the splits.
        buffer: requests that a stream decodes together and shuffles; a few times as many are in memory per process
            and worker.
        sample: most training requests that a stream gives to what is fitted before training.
        keep_positives: label -> share of its positives that training sees
            (:func:`emer.data.label_skew.thin_positives`).

    Raises:
        EmerError: neither or both of tables and root are given, tables to stream from, or a stream of fewer positives.
    """

    def __init__(
        self,
        *,
        train: RequestTable | None = None,
        validation: RequestTable | None = None,
        test: RequestTable | None = None,
        root: Place | str | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        num_workers: int = 0,
        pin_memory: bool = False,
        iput_floor: float = 1.0,
        fractions: Sequence[float] = DEFAULT_FRACTIONS,
        schema: Schema | None = None,
        stream: bool = False,
        buffer: int = 2048,
        sample: int = 8192,
        keep_positives: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        tables = (train, validation, test)
        given = sum(table is not None for table in tables)
        if given != (3 if root is None else 0):
            raise EmerError("give a data module the tables train, validation and test, or data.root, not both")
        if stream and root is None:
            raise EmerError("a stream needs data.root, a folder to read from; tables are in memory already")
        self._keep_positives = dict(keep_positives or {})
        check_shares(self._keep_positives)
        if stream and self._keep_positives:
            raise EmerError("loader.keep_positives needs the log in memory: set loader.stream=false")
        for name, size in (("buffer", buffer), ("sample", sample)):
            if size < 1:
                raise EmerError(f"loader.{name} is {size}; it must be at least 1")
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
        self.stream = stream
        self._buffer, self._sample = buffer, sample
        self._trained: RequestLoader | StreamLoader | None = None
        self._resumed: dict[str, int] | None = None
        # Evaluation never repeats a request, so with fewer requests than processes some have none.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    @cached_property
    def splits(self) -> Splits:
        """The three tables, read and checked on first use.

        Raises:
            DataError: the first problem of the files.
            EmerError: the log is streamed.
        """
        if self.stream:
            raise EmerError("this method needs the whole log in memory: set loader.stream=false")
        if self._root is not None:
            splits = read_splits(
                self._root, iput_floor=self._iput_floor, fractions=self._fractions, schema=self._schema
            )
        else:
            splits = Splits(*(table.with_iput_floor(self._iput_floor) for table in self._tables if table is not None))
        if not self._keep_positives:
            return splits
        return splits._replace(train=thin_positives(splits.train, self._keep_positives, self._seed))

    @cached_property
    def shards(self) -> dict[str, Shards]:
        """The files of a stream by split, their headers checked on first use.

        Raises:
            DataError: the first problem of the headers.
        """
        assert self._root is not None
        return index_splits(self._root, iput_floor=self._iput_floor, schema=self._schema)

    @property
    def schema(self) -> Schema:
        """Names and kinds of the log's columns."""
        return self.shards["train"].schema if self.stream else self.splits.train.schema

    def training_sample(self) -> RequestTable:
        """Training requests to fit on: all, or of a stream ``sample`` that lie evenly over it."""
        return self.shards["train"].sample(self._sample) if self.stream else self.splits.train

    def batches(self, split: Split, size: int, rows: np.ndarray | None = None) -> Iterator[RequestBatch]:
        """The requests of a split in their order, ``size`` at a time, whatever the number of processes.

        Args:
            split: train, validation or test.
            size: requests per batch; of a stream, some may have fewer where ``rows`` leaves requests out.
            rows: (r,) ascending positions in the split; None takes all.
        """
        if not self.stream:
            table: RequestTable = getattr(self.splits, split)
            rows = np.arange(len(table)) if rows is None else rows
            yield from (table.batch(rows[start : start + size]) for start in range(0, len(rows), size))
            return
        shards = self.shards[split]
        plan = StreamPlan(shards.sizes, batch_size=size, buffer=self._buffer, evaluation=True)
        wanted = len(shards) if rows is None else len(rows)
        for batch in StreamLoader(shards, plan):
            if rows is not None:
                batch = batch.select(torch.from_numpy(np.isin(batch.row, rows)))
            wanted -= len(batch)
            if len(batch):
                yield batch
            if wanted == 0:
                return

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all three splits, for caches of what was tuned on them."""
        return hashlib.sha256("".join(table.fingerprint() for table in self.splits).encode()).hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Read the log, or a stream's headers, so that their problems show before training begins."""
        _ = self.shards if self.stream else self.splits

    def train_dataloader(self) -> RequestLoader | StreamLoader:
        overfit = bool(getattr(self.trainer, "overfit_batches", 0))
        shuffle = self._shuffle and not overfit  # overfitting needs the same few batches every epoch
        if self.stream and not shuffle and np.any(np.diff(self.shards["train"].time_ms) < 0):
            log.warning("%s: training files are not in the order of time, in which they are read", self._root)
        self._trained = self._loader("train", self._batch_size, shuffle=shuffle, seed=self._seed)
        if self._resumed is not None:
            self._trained.load_state_dict(self._resumed)
            self._resumed = None
        return self._trained

    def state_dict(self) -> dict[str, Any]:
        """What the training loader has given out. Lightning keeps it with the loader too, but restores that too late
        where a schedule asks for the number of steps, and so for the loader, before."""
        return {} if self._trained is None else {"train": self._trained.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin the next training where that of ``state_dict`` was."""
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._resumed = state_dict.get("train")

    def val_dataloader(self) -> RequestLoader | StreamLoader:
        return self._loader("validation", self._eval_batch_size, evaluation=True)

    def test_dataloader(self) -> RequestLoader | StreamLoader:
        return self._loader("test", self._eval_batch_size, evaluation=True)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, RequestBatch):
            return batch.to(device, non_blocking=self._pin_memory)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _loader(self, split: Split, batch_size: int, **order: Any) -> RequestLoader | StreamLoader:
        order |= {"batch_size": batch_size}
        if self.trainer is not None:
            order |= {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        if self.stream:
            shards = self.shards[split]
            plan = StreamPlan(shards.sizes, buffer=self._buffer, **order)
            return StreamLoader(shards, plan, num_workers=self._num_workers, pin_memory=self._pin_memory)
        table: RequestTable = getattr(self.splits, split)
        sampler = RequestBatchSampler(table.time_ms, **order)
        return RequestLoader(
            table,
            sampler,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            persistent_workers=self._num_workers > 0,
        )
