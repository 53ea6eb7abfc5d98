"""Exposures that can be learnt, and how files of public data sets are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.feather

Row = dict[str, Any]
PER_DAY = 8
TOPICS = 4
DULL = 0.2


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> Path:
    """As pandas writes it: cells with a comma in quotes, nothing for None."""

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        return f'"{text}"' if "," in text else text

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(",".join(line) + "\n" for line in [columns, *([cell(r[c]) for c in columns] for r in rows)])
    )
    return path


def beijing_ms(day: str, clock: str = "00:00:00") -> int:
    """Unix time in milliseconds of a Beijing date and time."""
    return int(datetime.fromisoformat(f"{day}T{clock}+08:00").timestamp() * 1000)


def write_feather(path: Path, columns: Sequence[str], rows: Sequence[Row], chunk: int = 1000) -> Path:
    """As pandas writes it: LZ4, record batches of ``chunk`` rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({c: [r[c] for r in rows] for c in columns}, strict=False).to_arrow()
    pyarrow.feather.write_feather(table, path, compression="lz4", chunksize=chunk)
    return path


@dataclass(frozen=True)
class View:
    """One exposure of the toy platform; probabilities of feedback are higher where user and item share the topic, and
    lower for every third item."""

    user: int
    item: int
    day: int
    slot: int
    duration_ms: int
    play_ms: int
    draws: np.ndarray
    fits: bool

    def flag(self, index: int, likely: float, rarely: float) -> int:
        chance = likely if self.fits else rarely
        return int(self.draws[index] < chance * (DULL if self.item % 3 == 0 else 1))

    @property
    def topic(self) -> int:
        return self.item % TOPICS

    @property
    def author(self) -> int:
        return self.item // 5 + 1


def item_count(days: int) -> int:
    return max(15 * PER_DAY, (3 * days * PER_DAY) // 2)


def views(users: int, days: int, seed: int) -> Iterator[View]:
    """Every user's exposures in order of time, :data:`PER_DAY` a day, no item twice."""
    g = np.random.default_rng(seed)
    durations = g.integers(5_000, 40_000, item_count(days))
    for user in range(users):
        items = g.permutation(item_count(days))[: days * PER_DAY]
        for n, item in enumerate(items):
            fits = bool(item % TOPICS == user % TOPICS)
            share = g.uniform(0.6, 1.6) if fits else g.uniform(0.0, 1.1)
            share *= DULL if item % 3 == 0 else 1
            duration = int(durations[item])
            day, slot = divmod(n, PER_DAY)
            yield View(user, int(item), day, slot, duration, int(share * duration), g.random(8), fits)


def later(first: str, days: int) -> str:
    return (date.fromisoformat(first) + timedelta(days=days)).isoformat()
