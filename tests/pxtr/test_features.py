"""Encoding of rows as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from emer.data.log import InteractionLog
from emer.pxtr.features import CLIP, Columns, Encoder, feature_columns, feature_frame
from emer.pxtr.history import History

COLUMNS = Columns(("a", "b"), ("x", "y"))


def frame(a: list[int | None], x: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"a": a, "b": [1] * len(a), "x": x, "y": [4.0] * len(a)},
        schema_overrides={"a": pl.Int32, "b": pl.Int32, "x": pl.Float32, "y": pl.Float32},
    )


def test_categories_know_frequent_training_values_only() -> None:
    encoder = Encoder(COLUMNS, min_count=2).fit(frame([7, 7, 3, 3, 9, None], [0.0] * 6))
    assert encoder.sizes == (3, 2)
    assert encoder.transform(frame([3, 7, 9, 8, None], [0.0] * 5)).categories[:, 0].tolist() == [1, 2, 0, 0, 0]


def test_later_training_days_append_ids_and_keep_the_old_ones() -> None:
    encoder = Encoder(COLUMNS, min_count=2).fit(frame([7, 7], [0.0] * 2))
    encoder.fit(frame([7, 7, 3, 3, 8, 8], [0.0] * 6))
    assert encoder.transform(frame([7, 3, 8], [0.0] * 3)).categories[:, 0].tolist() == [1, 2, 3]


def test_numbers_are_standardised_by_training_rows() -> None:
    encoder = Encoder(COLUMNS, min_count=1).fit(frame([1, 1, 1], [1.0, 3.0, None]))
    numbers = encoder.transform(frame([1] * 4, [2.0, 4.0, None, 1e9])).numbers
    # Mean 2, standard deviation 1 of the two known values; missing is the mean; a constant stays 0.
    assert numbers[:, 0].tolist() == pytest.approx([0.0, 2.0, 0.0, CLIP])
    assert numbers[:, 1].tolist() == [0.0] * 4
    assert numbers.dtype == np.float32


def test_frame_and_columns_agree(log_of: Callable[..., InteractionLog]) -> None:
    log = log_of(per_day=50, days=3)
    history = History(log, log.labels)
    columns = feature_columns(log, history)
    made = feature_frame(log, history, log.exposures)
    assert made.height == log.exposures.height
    assert not [c for c in (*columns.categories, *columns.numbers) if c not in made.columns]
    assert not set(log.labels) & set(columns.categories + columns.numbers)
    assert "watch_seconds" not in columns.numbers
    # 10, 11 and 12 days old: one doubling.
    assert made["item_age"].unique().to_list() == [3.0]
    encoded = Encoder(columns, 1).fit(made).transform(made)
    assert encoded.matrix().shape == (made.height, len(columns.categories) + len(columns.numbers))
    assert np.isfinite(encoded.matrix()).all()
