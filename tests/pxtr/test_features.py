"""Encoding of rows as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emer.data.log import InteractionLog
from emer.data.stable_hash import hash_bucket
from emer.errors import DataError
from emer.pxtr.features import CLIP, Columns, Encoder, Moments, feature_columns, past_features
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
    encoder.fit(frame([3, 3, 8, 8], [0.0] * 4))
    assert encoder.transform(frame([7, 3, 8], [0.0] * 3)).categories[:, 0].tolist() == [1, 2, 3]


def test_counts_of_several_pieces_add_up_and_nothing_changes_before_they_are_settled() -> None:
    encoder = Encoder(COLUMNS, min_count=2).fit(frame([7, 7], [0.0] * 2))
    encoder.count(frame([3], [1.0]))
    encoder.count(frame([3, 9], [2.0, 3.0]))
    assert encoder.transform(frame([7, 3], [1.0] * 2)).categories[:, 0].tolist() == [1, 0]
    assert encoder.settle().transform(frame([7, 3, 9], [1.0] * 3)).categories[:, 0].tolist() == [1, 2, 0]


def test_hashed_categories_have_no_vocabulary() -> None:
    encoder = Encoder(COLUMNS, min_count=2, hashed=["a"], hash_size=50).fit(frame([7, 7], [0.0] * 2))
    assert encoder.sizes == (51, 2)
    ids = encoder.transform(frame([7, 123456, None], [0.0] * 3)).categories[:, 0]
    assert ids.tolist() == [*hash_bucket(pl.Series("a", [7, 123456]), 50, "a"), 0]
    with pytest.raises(DataError, match="hashed names x; the categories are a, b"):
        Encoder(COLUMNS, hashed=["x"])


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32) | st.none(), max_size=20), min_size=1, max_size=6))
def test_moments_of_pieces_are_those_of_the_whole(pieces: list[list[float | None]]) -> None:
    arrays = [np.array([np.nan if v is None else v for v in piece], dtype=np.float32)[:, None] for piece in pieces]
    moments = Moments(1)
    for array in arrays:
        moments.add(array)
    known = np.concatenate(arrays).astype(np.float64)
    known = known[np.isfinite(known)]
    assert moments.count[0] == known.size
    assert moments.mean[0] == pytest.approx(known.mean() if known.size else 0.0, abs=1e-9)
    assert moments.variance[0] == pytest.approx(known.var() if known.size else 0.0, rel=1e-9, abs=1e-9)


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
    made = past_features(log, history)
    assert made.height == log.exposures.height
    assert not [c for c in (*columns.categories, *columns.numbers) if c not in made.columns]
    assert not set(log.labels) & set(columns.categories + columns.numbers)
    assert "watch_seconds" not in columns.numbers
    # 10, 11 and 12 days old: one doubling.
    assert made["item_age"].unique().to_list() == [3.0]
    encoded = Encoder(columns, 1).fit(made).transform(made)
    assert encoded.matrix().shape == (made.height, len(columns.categories) + len(columns.numbers))
    assert np.isfinite(encoded.matrix()).all()
