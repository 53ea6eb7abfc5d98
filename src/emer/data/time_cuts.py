"""Where a log that is read once is cut into train, validation and test: a histogram of its times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from emer.errors import DataError
from emer.files import atomic_path

MOST_BINS = 200_000


class TimeHistogram:
    """Rows by time in bins of equal width, which doubles whenever the bins become too many."""

    def __init__(self, width: int = 1, bins: pl.DataFrame | None = None) -> None:
        self.width = width
        empty = pl.DataFrame(schema={"bin": pl.Int64, "rows": pl.UInt64})
        self.bins = empty if bins is None else bins

    def add(self, time_ms: pl.Series) -> None:
        """Count rows."""
        new = time_ms.to_frame("bin").select(pl.col("bin") // self.width).group_by("bin").len("rows")
        self._merge(new.with_columns(pl.col("rows").cast(pl.UInt64)))

    def join(self, other: Self) -> None:
        """Add the rows of ``other``."""
        while self.width < other.width:
            self._widen()
        same = other.bins.select(pl.col("bin") // (self.width // other.width), "rows")
        self._merge(same)

    def cuts(self, fractions: Sequence[float]) -> tuple[int, int]:
        """Times at which validation and test begin, such that the parts have nearly these shares of the rows.

        Raises:
            DataError: as :func:`check_fractions`, or there are fewer than three bins.
        """
        check_fractions(fractions, "data.source.fractions")
        bins = self.bins.sort("bin")
        if bins.height < 3:
            raise DataError(
                f"time_ms: the log has {bins.height} distinct times; a split along time into train, validation and "
                "test needs 3 or more. Give more requests, or times that differ"
            )
        before = np.concatenate([[0], bins["rows"].to_numpy().astype(np.float64).cumsum()])
        wanted = np.array([fractions[0], fractions[0] + fractions[1]]) * before[-1]
        first = 1 + int(np.abs(before[1:-2] - wanted[0]).argmin())
        second = first + 1 + int(np.abs(before[first + 1 : -1] - wanted[1]).argmin())
        return int(bins["bin"][first]) * self.width, int(bins["bin"][second]) * self.width

    def save(self, path: Path) -> None:
        """Write to a Parquet file."""
        with atomic_path(path) as temporary:
            self.bins.with_columns(pl.lit(self.width, pl.Int64).alias("width")).write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The histogram of :meth:`save`."""
        saved = pl.read_parquet(path)
        return cls(int(saved["width"][0]) if saved.height else 1, saved.drop("width"))

    def _merge(self, new: pl.DataFrame) -> None:
        self.bins = pl.concat([self.bins, new]).group_by("bin").agg(pl.col("rows").sum())
        while self.bins.height > MOST_BINS:
            self._widen()

    def _widen(self) -> None:
        self.width *= 2
        self.bins = self.bins.group_by(pl.col("bin") // 2).agg(pl.col("rows").sum())


def check_fractions(fractions: Sequence[float], name: str) -> None:
    """Refuse what is no division into train, validation and test; ``name`` is the setting's.

    Raises:
        DataError: they are not three positive numbers that sum to 1.
    """
    shares = list(fractions) if isinstance(fractions, Sequence) else []
    if (
        len(shares) != 3
        or not all(isinstance(share, int | float) and share > 0 for share in shares)
        or not math.isclose(sum(shares), 1, abs_tol=1e-6)
    ):
        raise DataError(f"{name} are {fractions}; give three positive numbers that sum to 1")
