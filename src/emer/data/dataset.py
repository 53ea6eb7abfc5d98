"""Requests in batches: what one process reads in one epoch is a pure function of a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from emer.data.plan import check_sharing
from emer.data.table import RequestTable
from emer.requests import RequestBatch

Item = TypeVar("Item")


class RequestDataset(Dataset[RequestBatch]):
    """A table as a torch dataset. One sample is a request; a list of rows gives one padded batch."""

    def __init__(self, table: RequestTable) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> RequestBatch:
        """The request at ``row`` as a batch of one."""
        return self.table.batch([row])

    def __getitems__(self, rows: Sequence[int]) -> RequestBatch:
        """The requests at ``rows`` as one batch; torch's data loader calls this."""
        return self.table.batch(rows)


class EpochSampler(Sampler[Item]):
    """A sampler that knows its epoch, and can begin in the middle of one."""

    def __init__(self) -> None:
        self.epoch = 0
        self._skip: tuple[int, int] | None = None

    @property
    def sampler(self) -> Self:
        """Itself: Lightning looks for ``batch_sampler.sampler.set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration belongs to."""
        self.epoch = epoch

    def skip(self, epoch: int, batches: int) -> None:
        """Leave out the first ``batches`` of ``epoch``, which a resumed run has had already."""
        self._skip = (epoch, batches)

    @property
    def skipped(self) -> int:
        """Batches left out of the current epoch."""
        return self._skip[1] if self._skip is not None and self._skip[0] == self.epoch else 0


class RequestBatchSampler(EpochSampler[list[int]]):
    """Rows of each batch of one process in one epoch.

    For training (``evaluation=False``), a global batch of ``batch_size`` requests is shared evenly: process r
    of W takes every W-th request of it from the r-th on, so the processes together see what a single one
    would. Every process gets equally many batches of equal sizes; for that, up to W - 1 requests at the end
    of an epoch are left out (other ones each epoch when shuffled), and none when W = 1.

    For evaluation, process r takes rows r, r + W, r + 2 W ...: every request once, none twice, ``batch_size``
    of them at a time per process. The last processes may have one request, and so one batch, fewer.

    Args:
        time_ms: (R,) int64, times of the requests.
        batch_size: requests per batch: of all processes in training, of each one in evaluation.
        evaluation: see above.
        shuffle: a new order every epoch, drawn from ``seed`` and the epoch; else the order of time. Only
            matters in training.
        seed: of the order.
        rank, world_size: which process this is, of how many.

    Raises:
        EmerError: the batch size is not positive or, in training, cannot be shared evenly; or there are fewer
            requests to train on than processes.
    """

    def __init__(
        self,
        time_ms: np.ndarray,
        *,
        batch_size: int,
        evaluation: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_sharing(time_ms.size, batch_size, rank, world_size, evaluation=evaluation)
        super().__init__()
        self._time_order = np.argsort(time_ms, kind="stable")
        self.batch_size = batch_size
        self.evaluation = evaluation
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        """Batches of this process in a whole epoch, skipped ones included."""
        requests = self._time_order.size
        if self.evaluation:
            return math.ceil(len(range(self.rank, requests, self.world_size)) / self.batch_size)
        return math.ceil(requests // self.world_size * self.world_size / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order, share = self._order(), self.batch_size
        if not self.evaluation:
            order = order[: order.size // self.world_size * self.world_size]
            share //= self.world_size
        # Sharing the whole order by turns shares each global batch by turns, since W divides its size.
        mine = order[self.rank :: self.world_size]
        for first in range(self.skipped * share, mine.size, share):
            yield mine[first : first + share].tolist()

    def _order(self) -> np.ndarray:
        if self.evaluation:
            return np.arange(self._time_order.size)
        if not self.shuffle:
            return self._time_order
        return np.random.default_rng([self.seed, self.epoch]).permutation(self._time_order.size)


class RequestLoader(DataLoader[RequestBatch]):
    """A data loader of request batches that can stop and resume in the middle of an epoch.

    Lightning creates the iterator before it tells the sampler the epoch, and worker processes would draw
    their first rows at once; therefore iteration here begins with the first batch asked for, not before.
    Lightning saves and restores :meth:`state_dict` with its checkpoints.
    """

    def __init__(self, table: RequestTable, sampler: RequestBatchSampler, **options: Any) -> None:
        super().__init__(RequestDataset(table), batch_sampler=sampler, collate_fn=_as_it_is, **options)
        self._requests = sampler
        self._state = {"epoch": 0, "batches": 0}

    def __iter__(self) -> Iterator[RequestBatch]:  # type: ignore[override]
        # Kept apart from the sampler's epoch, which Lightning advances before the first batch.
        self._state = {"epoch": self._requests.epoch, "batches": self._requests.skipped}
        for batch in super().__iter__():
            self._state["batches"] += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been given out."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches of ``state``."""
        self._requests.skip(state["epoch"], state["batches"])


def _as_it_is(batch: Any) -> Any:
    return batch  # the dataset has made a batch of the rows
