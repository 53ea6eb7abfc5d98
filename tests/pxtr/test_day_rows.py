"""Training rows by day, in memory and on disk, and their batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from emer.pxtr.day_rows import DayRows, FrameRows, RowBatches, StoredRows
from emer.pxtr.features import Columns, Encoder

COLUMNS = Columns(("user_id",), ("x",))


def log(days: int = 4, per_day: int = 25) -> tuple[pl.DataFrame, np.ndarray]:
    n = days * per_day
    frame = pl.DataFrame(
        {"user_id": np.arange(n) % 7, "x": np.arange(n, dtype=np.float32), "day": np.repeat(np.arange(days), per_day)}
    )
    return frame, np.stack([np.arange(n), -np.arange(n)], axis=1).astype(np.float32)


def stored(folder: Path, most: int, files: int = 3) -> StoredRows:
    """The same rows, each day in several files."""
    frame, targets = log()
    rows = StoredRows(folder, ("target_a", "target_b"), most)
    for day in range(4):
        for number, part in enumerate(np.array_split(np.flatnonzero(frame["day"].to_numpy() == day), files)):
            rows.write(day, f"{number:05}", frame[part], targets[part])
    return rows


def together(rows: DayRows, first: int | None, end: int) -> tuple[pl.DataFrame, np.ndarray]:
    loaded = [piece.load() for piece in rows.pieces(first, end)]
    return pl.concat([f for f, _ in loaded]), np.concatenate([t for _, t in loaded])


@pytest.mark.parametrize("most", [1, 20, 60, 10_000])
@pytest.mark.parametrize(("first", "end"), [(None, 4), (None, 1), (1, 3), (3, 4)])
def test_rows_on_disk_are_those_in_memory(tmp_path: Path, most: int, first: int | None, end: int) -> None:
    memory, disk = FrameRows(*log()), stored(tmp_path, most)
    assert list(memory.days) == list(disk.days) == [0, 1, 2, 3]
    for one, two in zip(together(memory, first, end), together(disk, first, end), strict=True):
        assert one.equals(two) if isinstance(one, pl.DataFrame) else (one == two).all()
    pieces = disk.pieces(first, end)
    assert all(piece.rows == len(piece.load()[1]) for piece in pieces)
    assert all(piece.rows <= max(most, 9) for piece in pieces)


def test_no_rows_make_no_piece(tmp_path: Path) -> None:
    assert not FrameRows(*log()).pieces(None, 0)
    assert not stored(tmp_path, 50).pieces(None, 0)


@pytest.mark.parametrize("most", [20, 10_000])
def test_batches_visit_every_row_once_in_a_seeded_order(tmp_path: Path, most: int) -> None:
    rows = stored(tmp_path, most)
    encoder = Encoder(COLUMNS, min_count=1).fit(log()[0])
    batches = RowBatches(rows.pieces(None, 4), encoder, 8, seed=3)
    epochs = [torch.cat([t[:, 0] for _, _, t in batches]).tolist() for _ in range(2)]
    assert len(batches) == len(list(batches))
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100))
    assert epochs[0] != epochs[1]
    again = RowBatches(rows.pieces(None, 4), encoder, 8, seed=3)
    assert torch.cat([t[:, 0] for _, _, t in again]).tolist() == epochs[0]
    # Features go with their targets.
    for categories, numbers, targets in batches:
        place = targets[:, 0].long()
        expected = encoder.transform(log()[0][place.tolist()])
        assert (categories.numpy() == expected.categories).all() and (numbers.numpy() == expected.numbers).all()


def test_pieces_give_their_targets_for_base_rates(tmp_path: Path) -> None:
    encoder = Encoder(COLUMNS, min_count=1).fit(log()[0])
    batches = RowBatches(stored(tmp_path, 30).pieces(None, 4), encoder, 8, seed=3)
    assert (np.concatenate(list(batches.targets())) == log()[1]).all()
