"""Training rows of the pxtr model by day, in memory or on disk, and batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from emer.files import atomic_path
from emer.pxtr.features import Encoder

Loaded = tuple[pl.DataFrame, np.ndarray]
"""Features with ``day``, not yet encoded, and targets (n, K) float32."""


class Piece(Protocol):
    """Some rows of one day or of several."""

    @property
    def rows(self) -> int:
        """How many."""

    def load(self) -> Loaded:
        """The rows."""


class DayRows(Protocol):
    """The log's exposures as training rows."""

    @property
    def days(self) -> Sequence[int]:
        """Days with rows, ascending."""

    def pieces(self, first: int | None, end: int) -> Sequence[Piece]:
        """The rows of the days from ``first`` (None: the very first) to before ``end``, in order of time."""


class FrameRows:
    """Rows in memory: all that is asked for is one piece."""

    def __init__(self, frame: pl.DataFrame, targets: np.ndarray) -> None:
        self.frame = frame
        self.targets = targets
        self._day = frame["day"].to_numpy()
        self.days: Sequence[int] = np.unique(self._day).tolist()

    def pieces(self, first: int | None, end: int) -> Sequence[Piece]:
        chosen = self._day < end
        if first is not None:
            chosen &= self._day >= first
        return [_Cut(int(chosen.sum()), self, chosen)] if chosen.any() else []


@dataclass(frozen=True)
class _Cut:
    rows: int
    whole: FrameRows
    chosen: np.ndarray

    def load(self) -> Loaded:
        return self.whole.frame.filter(self.chosen), self.whole.targets[self.chosen]


class StoredRows:
    """Rows in Parquet files, ``<day>/*.parquet``; files are read together as long as they have few rows.

    Args:
        folder: of the days.
        targets: K names of columns for the targets, which no feature has.
        most: rows of a piece, about.
    """

    def __init__(self, folder: Path, targets: Sequence[str], most: int) -> None:
        self.folder = folder
        self.targets = tuple(targets)
        self.most = most

    @property
    def days(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.iterdir())

    def write(self, day: int, name: str, frame: pl.DataFrame, targets: np.ndarray) -> None:
        """Add a file, or replace it."""
        columns = [pl.Series(name, targets[:, k]) for k, name in enumerate(self.targets)]
        with atomic_path(self.folder / str(day) / f"{name}.parquet") as temporary:
            frame.with_columns(columns).write_parquet(temporary, compression="lz4")

    def pieces(self, first: int | None, end: int) -> Sequence[Piece]:
        found: list[_Files] = []
        for day in self.days:
            if (first is not None and day < first) or day >= end:
                continue
            for path in sorted((self.folder / str(day)).glob("[!.]*.parquet")):
                rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
                if found and found[-1].rows + rows <= self.most:
                    found[-1] = _Files(found[-1].rows + rows, (*found[-1].paths, path), self.targets)
                elif rows:
                    found.append(_Files(rows, (path,), self.targets))
        return found


@dataclass(frozen=True)
class _Files:
    rows: int
    paths: tuple[Path, ...]
    targets: tuple[str, ...]

    def load(self) -> Loaded:
        both = pl.concat([pl.read_parquet(path, glob=False) for path in self.paths])
        return both.drop(self.targets), both.select(self.targets).to_numpy(order="c")


class RowBatches(IterableDataset[tuple[Tensor, ...]]):
    """Shuffled batches of rows: (categories, numbers, targets), each epoch in a new order.

    Pieces come in a random order, and the rows of each are shuffled; with one piece that is a full shuffle.

    Args:
        pieces: the rows, at least one piece.
        encoder: settled.
        batch_size: rows of a batch; the last of a piece has what is left.
        seed: of the order.
    """

    def __init__(self, pieces: Sequence[Piece], encoder: Encoder, batch_size: int, seed: int) -> None:
        self.pieces = list(pieces)
        self.encoder = encoder
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self._kept: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return sum(math.ceil(piece.rows / self.batch_size) for piece in self.pieces)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        several = len(self.pieces) > 1
        places = torch.randperm(len(self.pieces), generator=self.generator).tolist() if several else [0]
        for place in places:
            tensors = self._tensors(self.pieces[place])
            order = torch.randperm(tensors[0].shape[0], generator=self.generator)
            for rows in order.split(self.batch_size):
                yield tuple(t[rows] for t in tensors)

    def targets(self) -> Iterator[np.ndarray]:
        """The targets of each piece, (n, K) float32."""
        for piece in self.pieces:
            yield self._tensors(piece)[2].numpy()

    def _tensors(self, piece: Piece) -> tuple[Tensor, ...]:
        if self._kept is not None:
            return self._kept
        frame, targets = piece.load()
        rows = self.encoder.transform(frame)
        tensors = tuple(torch.from_numpy(array) for array in (rows.categories, rows.numbers, targets))
        if len(self.pieces) == 1:
            self._kept = tensors  # epochs need not read it again
        return tensors
