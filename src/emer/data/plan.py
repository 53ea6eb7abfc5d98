"""What a process reads in an epoch of a stream: a pure function of block sizes, seed, epoch, rank and world size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emer.errors import EmerError


@dataclass(frozen=True, eq=False)
class Window:
    """Requests that are decoded together, n of them, and how they become batches.

    Attributes:
        first_batch: number of its first batch in the epoch.
        block, row: (n,) int64, the block of each request and its row there; blocks are not interleaved.
        sizes: (b,) int64, requests of each batch; they sum to n.
        key: of the order inside the window; None keeps it.
    """

    first_batch: int
    block: np.ndarray
    row: np.ndarray
    sizes: np.ndarray
    key: tuple[int, ...] | None

    def batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Places 0 .. n - 1 of the requests of each batch.

        With a key, requests of one length meet in one batch, which ones is random, and the batches come in random
        order: padding is little, and neither length nor file order shows in the course of training.

        Args:
            lengths: (n,) candidates of each request.
        """
        edges = np.concatenate([[0], np.cumsum(self.sizes)])
        if self.key is None:
            order, places = np.arange(self.sizes.size), np.arange(edges[-1])
        else:
            rng = np.random.default_rng(self.key)
            places = rng.permutation(edges[-1])
            places = places[np.argsort(lengths[places], kind="stable")]
            order = rng.permutation(self.sizes.size)
        return [places[edges[i] : edges[i + 1]] for i in order]


class StreamPlan:
    """Shares the requests of R-request blocks among processes, exactly: each of them once per epoch, none left out.

    Training in random order: the blocks are put in a new order each epoch, their sequence is cut into one span per
    process (a block may be shared by two of them), and each span into windows that are shuffled inside
    (:class:`Window`). Training in the order of files: each global batch is a span of the sequence, shared by the
    processes; all of them read all blocks then. Either way every process gets equally many batches, whose sizes differ
    by at most 1 over all processes and the whole epoch.

    Evaluation: each process has one span in the order of files, ``batch_size`` requests of it at a time. With fewer
    requests than processes, some have none.

    Args:
        sizes: (B,) requests of each block, at least 1.
        batch_size: requests per batch: of all processes in training, of each one in evaluation.
        buffer: requests that are decoded together, and shuffled; at least one batch is.
        evaluation, shuffle: see above; ``shuffle`` only matters in training.
        seed: of the order.
        rank, world_size: which process this is, of how many.

    Raises:
        EmerError: a size is not positive, or in training a batch cannot be shared evenly, or there are fewer requests
            than processes.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        *,
        batch_size: int,
        buffer: int,
        evaluation: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if buffer < 1:
            raise EmerError(f"the buffer is {buffer}; it must be at least 1")
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.requests = int(self.sizes.sum())
        check_sharing(self.requests, batch_size, rank, world_size, evaluation=evaluation)
        self.shuffled = shuffle and not evaluation
        self.seed, self.rank = seed, rank
        self.start, self.stop = self._batches(batch_size, rank, world_size, evaluation)
        largest = int((self.stop - self.start).max(initial=1))
        self.batches_per_window = max(1, buffer // largest)

    def __len__(self) -> int:
        """Batches of this process in a whole epoch."""
        return self.start.size

    def _batches(self, batch_size: int, rank: int, world_size: int, evaluation: bool) -> tuple[np.ndarray, np.ndarray]:
        """Where each batch begins and ends in the sequence of all requests."""
        R = self.requests
        # Else some process would have an empty batch, where it has fewer requests than there are batches.
        count = min(-(-R // batch_size), R // world_size)
        if evaluation or self.shuffled:
            first, last = evenly(0, R, world_size)[rank : rank + 2]
            edges = np.append(np.arange(first, last, batch_size), last) if evaluation else evenly(first, last, count)
            return edges[:-1], edges[1:]
        edges = evenly(0, R, count)
        width = edges[1:] - edges[:-1]
        return edges[:-1] + width * rank // world_size, edges[:-1] + width * (rank + 1) // world_size

    def windows(self, epoch: int, skip: int = 0) -> Iterator[Window]:
        """The windows of an epoch, from the one that holds batch ``skip`` on."""
        order = np.arange(self.sizes.size)
        if self.shuffled:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        edges = np.concatenate([[0], np.cumsum(self.sizes[order])])
        step = self.batches_per_window
        for first in range(skip // step * step, len(self), step):
            start, stop = self.start[first : first + step], self.stop[first : first + step]
            sizes = stop - start
            before = np.concatenate([[0], np.cumsum(sizes)])
            place = np.arange(before[-1]) + np.repeat(start - before[:-1], sizes)
            at = np.searchsorted(edges, place, side="right") - 1
            key = (self.seed, epoch, self.rank, first) if self.shuffled else None
            yield Window(first, order[at], place - edges[at], sizes, key)


def evenly(start: int, stop: int, parts: int) -> np.ndarray:
    """(parts + 1,) int64 edges that cut ``start .. stop`` into parts whose sizes differ by at most 1."""
    return start + (stop - start) * np.arange(parts + 1, dtype=np.int64) // parts


def check_sharing(requests: int, batch_size: int, rank: int, world_size: int, *, evaluation: bool) -> None:
    """Refuse batches that processes cannot share; in evaluation each has its own.

    Raises:
        EmerError: the batch size is not positive, the process is none of them, or in training a batch cannot be shared
            evenly, or there are fewer requests than processes.
    """
    if batch_size < 1:
        raise EmerError(f"the batch size is {batch_size}; it must be at least 1")
    if not 0 <= rank < world_size:
        raise EmerError(f"rank {rank} is not one of {world_size} processes")
    if not evaluation and batch_size % world_size:
        raise EmerError(
            f"a batch of {batch_size} requests cannot be shared evenly by {world_size} processes; "
            f"give a multiple of {world_size}"
        )
    if not evaluation and requests < world_size:
        raise EmerError(f"{requests} requests are too few to train on with {world_size} processes")
