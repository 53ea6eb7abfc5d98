"""Where a log that is read once is cut into train, validation and test: a histogram of its times."""

from __future__ import annotations

import itertools
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
        wider = max(self.width, other.width)
        for histogram in (self, other):
            while histogram.width < wider:
                histogram._widen()
        self._merge(other.bins)

    def cuts(self, fractions: Sequence[float]) -> tuple[int, int]:
        """Times at which validation and test begin, such that the parts have nearly these shares of the rows.

        Raises:
            DataError: the fractions are not three positive numbers that sum to 1, or there are fewer than three bins.
        """
        if len(fractions) != 3 or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
            raise DataError(f"fractions are {list(fractions)}; give three positive numbers that sum to 1")
        bins = self.bins.sort("bin")
        if bins.height < 3:
            raise DataError(
                f"the log has {bins.height} distinct times; a split along time needs 3. Prepare train, validation and "
                "test one by one, or give times that differ"
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


def explicit_cuts(times: Sequence[int]) -> tuple[int, int]:
    """Two given times, in order.

    Raises:
        DataError: they are not two increasing numbers.
    """
    if len(times) != 2 or any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise DataError(f"the times at which validation and test begin are {list(times)}; give two, increasing")
    return int(times[0]), int(times[1])
