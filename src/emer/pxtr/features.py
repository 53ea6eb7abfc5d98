"""Rows of a log as the arrays that the pxtr model reads; the encoding is learnt on training days only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from emer.data.log import InteractionLog
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


def feature_columns(log: InteractionLog, history: History) -> Columns:
    """The columns of :func:`feature_frame`."""
    age = ("item_age",) if "upload_day" in log.items.columns else ()
    return Columns(
        categories=(
            "user_id",
            "item_id",
            *log.user_categories,
            *log.item_categories,
            *log.context_categories,
        ),
        numbers=log.user_numbers + log.item_numbers + age + history.columns,
    )


def feature_frame(log: InteractionLog, history: History, rows: pl.DataFrame) -> pl.DataFrame:
    """All features, not yet encoded, of rows with user_id, item_id, day and the context categories.

    Every value was known before the row's day, so the same function serves exposures and candidates that
    were never exposed.
    """
    frame = log.describe(rows.select("user_id", "item_id", "day", *log.context_categories))
    if "upload_day" in frame.columns:
        age = (pl.col("day") - pl.col("upload_day")).clip(lower_bound=0)
        # In doublings: a finer age of items uploaded together is a calendar that ends with training.
        frame = frame.with_columns((1 + age).log(2).floor().cast(pl.Float32).alias("item_age"))
    return frame.hstack(history.lookup(frame))


class Encoder:
    """Vocabularies and standardisation, from training days only.

    A category value gets an id from 1 on if it occurs often enough on the training days, else 0. Numbers are
    standardised, missing ones become 0 (the mean), and all are cut at :data:`CLIP` standard deviations.
    """

    def __init__(self, columns: Columns, min_count: int = 20) -> None:
        """An encoder that knows nothing yet.

        Args:
            columns: what to encode.
            min_count: training rows that a category value needs, so that rare ids share the unknown's
                embedding.
        """
        self.columns = columns
        self.min_count = min_count
        self.vocabulary: dict[str, list[int]] = {c: [] for c in columns.categories}
        self.mean = np.zeros(len(columns.numbers), dtype=np.float32)
        self.scale = np.ones(len(columns.numbers), dtype=np.float32)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids per category, the unknown included."""
        return tuple(len(v) + 1 for v in self.vocabulary.values())

    def fit(self, frame: pl.DataFrame) -> Self:
        """Learn from the training days' rows. Known values keep their ids; new ones are appended."""
        for name, known in self.vocabulary.items():
            counts = frame[name].drop_nulls().value_counts(name="n").filter(pl.col("n") >= self.min_count)
            known.extend(sorted(set(counts[name].to_list()) - set(known)))
        values = _numbers(frame, self.columns.numbers)
        known_values = np.isfinite(values)
        count = np.maximum(known_values.sum(axis=0), 1)
        values = np.where(known_values, values, 0.0).astype(np.float64)
        mean = values.sum(axis=0) / count
        variance = np.square(values - mean, where=known_values, out=np.zeros_like(values)).sum(axis=0) / count
        self.mean = mean.astype(np.float32)
        self.scale = np.where(variance > 1e-12, np.sqrt(variance), 1.0).astype(np.float32)
        return self

    def transform(self, frame: pl.DataFrame) -> Encoded:
        """Encode rows of any day."""
        codes = [
            frame[name].replace_strict(known, range(1, len(known) + 1), default=0, return_dtype=pl.Int32)
            if known
            else pl.zeros(frame.height, pl.Int32, eager=True)
            for name, known in self.vocabulary.items()
        ]
        categories = np.empty((frame.height, len(codes)), dtype=np.int32)
        for column, code in enumerate(codes):
            categories[:, column] = code.fill_null(0).to_numpy()
        numbers = (_numbers(frame, self.columns.numbers) - self.mean) / self.scale
        return Encoded(categories, np.clip(np.nan_to_num(numbers, nan=0.0), -CLIP, CLIP))


def _numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    if not names:
        return np.zeros((frame.height, 0), dtype=np.float32)
    return frame.select(pl.col(n).cast(pl.Float32).fill_null(np.nan) for n in names).to_numpy()
