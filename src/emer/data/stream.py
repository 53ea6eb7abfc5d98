"""Batches of requests that are read while a model trains: memory holds windows of them, not the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from emer.data.arrays import DTYPES
from emer.data.dataset import EpochSampler
from emer.data.plan import StreamPlan, Window
from emer.data.shards import BlockReader, Shards
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import RequestBatch

_Columns = dict[str, torch.Tensor]


class WindowDataset(Dataset[_Columns]):
    """Windows of a split as a torch dataset: the unit of work of a reading process.

    A window comes as the columns of its table, in few large tensors: those pass between processes in shared memory,
    and the process that trains cuts batches off them, which costs little. An error is a value here, too, since torch
    would bury its message in that of a worker.
    """

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self._reader = BlockReader(shards)

    def __getitems__(self, windows: Sequence[Window]) -> _Columns | EmerError:
        """The only one of ``windows``."""
        (window,) = windows
        try:
            table = self._reader.read(window.block, window.row)
        except EmerError as error:
            return error
        columns = {name: getattr(table, name) for name in ("offsets", *DTYPES)}
        # Arrow's own memory is read-only, which torch does not know.
        return {n: torch.from_numpy(np.require(a, requirements="W")) for n, a in columns.items() if a is not None}


class WindowSampler(EpochSampler[list[Window]]):
    """The windows of one process in one epoch, one at a time; all but those a resumed run has had."""

    def __init__(self, plan: StreamPlan) -> None:
        super().__init__()
        self.plan = plan

    def __iter__(self) -> Iterator[list[Window]]:
        for window in self.plan.windows(self.epoch, self.skipped):
            yield [window]


class StreamLoader(DataLoader[RequestBatch]):
    """:class:`emer.data.dataset.RequestLoader` for a log that stays in its files.

    The order of batches does not depend on ``num_workers``. A resumed epoch begins with the window that holds its
    next batch; earlier ones are not read.

    Args:
        shards: the split.
        plan: which of its requests this process reads, in which order; made of ``shards.sizes``.
        num_workers: processes that read and decode; 0 reads between batches.
        pin_memory: page-locked batches, for asynchronous copies to a GPU.
    """

    def __init__(self, shards: Shards, plan: StreamPlan, *, num_workers: int = 0, pin_memory: bool = False) -> None:
        self._windows = WindowSampler(plan)
        super().__init__(
            WindowDataset(shards),  # type: ignore[arg-type]  # gives windows, of which batches are made here
            batch_sampler=self._windows,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            # One window is read while the last one is trained on; more would only fill memory.
            prefetch_factor=1 if num_workers else None,
            worker_init_fn=_one_thread,
            # Torch seeds workers from here. Drawn from torch's own generator, dropout would depend on resumptions.
            generator=torch.Generator(),
        )
        self._shards = shards
        self._pin = pin_memory and torch.cuda.is_available()
        self._state = {"epoch": 0, "batches": 0}

    def __len__(self) -> int:
        """Batches of this process in a whole epoch, skipped ones included."""
        return len(self._windows.plan)

    def __iter__(self) -> Iterator[RequestBatch]:  # type: ignore[override]
        # As in RequestLoader: Lightning chooses the epoch between making the iterator and the first batch.
        epoch, skipped = self._windows.epoch, self._windows.skipped
        self._state = {"epoch": epoch, "batches": skipped}
        windows = self._windows.plan.windows(epoch, skipped)
        for window, columns in zip(windows, super().__iter__(), strict=True):
            for batch in self._batches(window, columns, skipped - window.first_batch):
                self._state["batches"] += 1
                yield batch

    def _batches(self, window: Window, columns: Any, skip: int) -> Iterator[RequestBatch]:
        if isinstance(columns, EmerError):
            raise columns
        shards = self._shards
        values = {name: columns[name].numpy() if name in columns else None for name in DTYPES}
        offsets = columns["offsets"].numpy()
        table = RequestTable.trusted(schema=shards.schema, iput_floor=shards.iput_floor, offsets=offsets, **values)
        position = shards.first[window.block] + window.row
        for places in window.batches(table.lengths)[max(0, skip) :]:
            batch = replace(table.batch(places), row=torch.from_numpy(position[places]))
            yield batch.pin_memory() if self._pin else batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been given out."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches of ``state``."""
        self._windows.skip(state["epoch"], state["batches"])


def _one_thread(worker: int) -> None:
    pa.set_cpu_count(1)  # as torch does for itself in its workers


def _as_it_is(columns: Any) -> Any:
    return columns
