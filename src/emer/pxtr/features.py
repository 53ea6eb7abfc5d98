"""Rows of a log as the arrays that the pxtr model reads; the encoding is learnt on training days only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from emer.data.log import InteractionLog, LogTables
from emer.data.stable_hash import hash_bucket
from emer.errors import DataError
from emer.pxtr.history import History

CLIP = 5.0
"""Standard deviations beyond which a standardised number is cut."""


@dataclass(frozen=True)
class Encoded:
    """Model input of n rows: ``categories`` (n, C) int32 ids, 0 = unknown; ``numbers`` (n, F) float32."""

    categories: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return self.categories.shape[0]

    def matrix(self) -> np.ndarray:
        """(n, C + F) float32: both side by side, for a tree model."""
        return np.hstack([self.categories.astype(np.float32), self.numbers])


@dataclass(frozen=True)
class Columns:
    """Which columns of a feature frame are categories and which are numbers."""

    categories: tuple[str, ...]
    numbers: tuple[str, ...]


def feature_columns(tables: LogTables, history: History) -> Columns:
    """The columns of :func:`feature_frame`."""
    age = ("item_age",) if "upload_day" in tables.items.columns else ()
    return Columns(
        categories=(
            "user_id",
            "item_id",
            *tables.user_categories,
            *tables.item_categories,
            *tables.context_categories,
        ),
        numbers=tables.user_numbers + tables.item_numbers + age + history.columns,
    )


def feature_frame(tables: LogTables, history: History, rows: pl.DataFrame) -> pl.DataFrame:
    """All features, not yet encoded, of rows with user_id, item_id, day and the context categories, as of ``history``.

    What ``history`` has not counted yet cannot reach them, so the same function serves exposures and candidates that
    were never exposed.
    """
    frame = tables.describe(rows.select("user_id", "item_id", "day", *tables.context_categories))
    if "upload_day" in frame.columns:
        age = (pl.col("day") - pl.col("upload_day")).clip(lower_bound=0)
        # In doublings: a finer age of items uploaded together is a calendar that ends with training.
        frame = frame.with_columns((1 + age).log(2).floor().cast(pl.Float32).alias("item_age"))
    return frame.hstack(history.lookup(frame))


def past_features(log: InteractionLog, history: History) -> pl.DataFrame:
    """:func:`feature_frame` of a log in memory, each exposure as of the day before; ``history`` is empty before, and
    knows the whole log after."""
    frames = []
    for day in log.days:
        rows = log.exposures.filter(pl.col("day") == day)
        frames.append(feature_frame(log, history, rows))
        history.add(log.describe(rows))
    return pl.concat(frames)


class Encoder:
    """Vocabularies and standardisation, from training days only.

    A category value gets an id from 1 on if it occurs often enough on the training days, else 0; or, where a vocabulary
    would not fit, the bucket that it is hashed to. Numbers are standardised, missing ones become 0 (the mean), and all
    are cut at :data:`CLIP` standard deviations.
    """

    def __init__(
        self, columns: Columns, min_count: int = 20, hashed: Collection[str] = (), hash_size: int = 1 << 17
    ) -> None:
        """An encoder that knows nothing yet.

        Args:
            columns: what to encode.
            min_count: training rows that a category value needs, so that rare ids share the unknown's
                embedding.
            hashed: the categories without a vocabulary (:func:`emer.data.stable_hash.hash_bucket`).
            hash_size: buckets of each of these.

        Raises:
            DataError: a name of ``hashed`` is no category.
        """
        unknown = [name for name in hashed if name not in columns.categories]
        if unknown:
            raise DataError(
                f"pxtr model: hashed names {', '.join(unknown)}; the categories are {', '.join(columns.categories)}"
            )
        self.columns = columns
        self.min_count = min_count
        self.hashed = tuple(hashed)
        self.hash_size = hash_size
        self.vocabulary: dict[str, list[int]] = {c: [] for c in columns.categories if c not in hashed}
        self.mean = np.zeros(len(columns.numbers), dtype=np.float32)
        self.scale = np.ones(len(columns.numbers), dtype=np.float32)
        self._counts: dict[str, pl.DataFrame] = {}
        self._moments = Moments(len(columns.numbers))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids per category, the unknown included."""
        return tuple(
            1 + (self.hash_size if name in self.hashed else len(self.vocabulary[name]))
            for name in self.columns.categories
        )

    def fit(self, frame: pl.DataFrame) -> Self:
        """Learn from rows of training days, besides what was learnt before. Known values keep their ids; new ones are
        appended."""
        self.count(frame)
        return self.settle()

    def count(self, frame: pl.DataFrame) -> None:
        """Count rows of training days, without a change to what :meth:`transform` does."""
        for name in self.vocabulary:
            new = frame[name].drop_nulls().value_counts(name="n").rename({name: "value"}).cast({"n": pl.Int64})
            both = pl.concat([self._counts[name], new]) if name in self._counts else new
            self._counts[name] = both.group_by("value").agg(pl.col("n").sum())
        self._moments.add(_numbers(frame, self.columns.numbers))

    def settle(self) -> Self:
        """Take over what was counted."""
        for name, known in self.vocabulary.items():
            if name in self._counts:
                frequent = self._counts[name].filter(pl.col("n") >= self.min_count)["value"].to_list()
                known.extend(sorted(set(frequent) - set(known)))
        self.mean = self._moments.mean.astype(np.float32)
        variance = self._moments.variance
        self.scale = np.where(variance > 1e-12, np.sqrt(variance), 1.0).astype(np.float32)
        return self

    def transform(self, frame: pl.DataFrame) -> Encoded:
        """Encode rows of any day."""
        categories = np.empty((frame.height, len(self.columns.categories)), dtype=np.int32)
        for column, name in enumerate(self.columns.categories):
            categories[:, column] = self._ids(frame[name]).to_numpy()
        numbers = (_numbers(frame, self.columns.numbers) - self.mean) / self.scale
        return Encoded(categories, np.clip(np.nan_to_num(numbers, nan=0.0), -CLIP, CLIP))

    def _ids(self, values: pl.Series) -> pl.Series:
        if values.name in self.hashed:
            return hash_bucket(values, self.hash_size, values.name)
        known = self.vocabulary[values.name]
        if not known:
            return pl.zeros(len(values), pl.Int32, eager=True)
        codes = values.replace_strict(known, range(1, len(known) + 1), default=0, return_dtype=pl.Int32)
        return codes.fill_null(0)


class Moments:
    """Mean and variance of columns with missing (NaN) values, chunk by chunk (Chan et al. 1979)."""

    def __init__(self, columns: int) -> None:
        self.count = np.zeros(columns)
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)

    def add(self, values: np.ndarray) -> None:
        """(n, columns) rows more."""
        known = np.isfinite(values)
        count = known.sum(axis=0)
        exact = np.where(known, values, 0.0).astype(np.float64)
        mean = exact.sum(axis=0) / np.maximum(count, 1)
        squares = np.square(exact - mean, where=known, out=np.zeros_like(exact)).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        step = mean - self.mean
        self._squares += squares + step**2 * self.count * count / total
        self.mean += step * count / total
        self.count += count

    @property
    def variance(self) -> np.ndarray:
        """(columns,) of the population; 0 where nothing was seen."""
        return self._squares / np.maximum(self.count, 1)


def _numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    if not names:
        return np.zeros((frame.height, 0), dtype=np.float32)
    return frame.select(pl.col(n).cast(pl.Float32).fill_null(np.nan) for n in names).to_numpy()
