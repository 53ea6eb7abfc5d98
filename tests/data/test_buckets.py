"""Rows in buckets on disk: all of them, those of one key together, and parts only once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.data.buckets import Buckets, buckets_for
from emer.data.stable_hash import bucket_of


@pytest.mark.parametrize(("rows", "count"), [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_how_many_buckets_rows_make(rows: int, count: int) -> None:
    assert buckets_for(rows, per_bucket=10) == count


def test_a_bucket_is_the_rows_of_its_key_in_their_order(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path, 3)
    key = (pl.col("a") % 3).cast(pl.Int32)
    buckets.write(1, [pl.DataFrame({"a": [9, 1, 0], "b": ["u", "v", "ü"]})], key)
    buckets.write(0, [pl.DataFrame({"a": [3, 4, 6, 3], "b": list("wxyz")}), pl.DataFrame({"a": [7], "b": ["a"]})], key)
    assert buckets.read(0).rows() == [(3, "w"), (6, "y"), (3, "z"), (9, "u"), (0, "ü")]
    assert buckets.read(1).rows() == [(4, "x"), (7, "a"), (1, "v")]
    nothing = buckets.read(2)
    assert nothing.is_empty() and nothing.schema == {"a": pl.Int64, "b": pl.String}


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8), max_size=3), max_size=4),
    count=st.integers(1, 9),
)
def test_buckets_hold_every_row_once(parts: list[list[list[int]]], count: int) -> None:
    with TemporaryDirectory() as folder:
        buckets = Buckets(Path(folder), count)
        for number, batches in enumerate(parts):
            frames = [pl.DataFrame({"a": batch}, schema={"a": pl.Int64}) for batch in batches]
            buckets.write(number, frames, bucket_of("a", count))
        read = [buckets.read(b) for b in range(count)]
        found = [[] if rows.is_empty() else rows["a"].to_list() for rows in read]
    assert sorted(chain(*found)) == sorted(chain(*chain(*parts)))
    assert all(set(one).isdisjoint(other) for i, one in enumerate(found) for other in found[:i])


def test_a_part_is_there_when_it_was_written_to_its_end(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path, 2)
    key = pl.lit(1, pl.Int32)

    def broken() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": [1]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        buckets.write(0, broken(), key)
    assert not buckets.has(0)
    buckets.write(0, [pl.DataFrame({"a": [2, 3]})], key)
    assert buckets.has(0) and not buckets.has(1)
    assert buckets.read(1)["a"].to_list() == [2, 3]  # the broken attempt left nothing


def test_ten_thousand_parts_keep_their_order(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path, 1)
    for part in (10_000, 9_999):
        buckets.write(part, [pl.DataFrame({"a": [part]})], pl.lit(0, pl.Int32))
    assert buckets.read(0)["a"].to_list() == [9_999, 10_000]
