"""Hashes: fixed for ever, uniform, and as rarely shared as chance has it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from emer.data.stable_hash import bucket_of, hash_bucket, hash_text, share_of
from emer.errors import DataError, EmerError

SPREADS: dict[str, Callable[[int], pl.Series]] = {
    "consecutive": lambda n: pl.Series(range(n)),
    "strided": lambda n: pl.Series(range(0, n << 20, 1 << 20)),
    "negative": lambda n: pl.Series(range(-n, 0)),
    "texts": lambda n: pl.Series([f"author-{i}" for i in range(n)]),
}


def word_by_hand(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def bucket_by_hand(value: int | str, size: int, salt: str) -> int:
    """One value in plain integers: splitmix64's finaliser (Steele et al. 2014), and the top 32 bits scaled to size."""
    key = word_by_hand(value) if isinstance(value, str) else value
    x = ((word_by_hand(salt) ^ (key % 2**64)) + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    x ^= x >> 31
    return 1 + ((x >> 32) * size >> 32)


def test_buckets_never_change() -> None:
    whole = pl.Series([None, -1, 0, 1, 2**62])
    assert hash_bucket(whole, 1000, "user_id").to_list() == [0, 108, 260, 201, 343]
    texts = pl.Series([None, "", "a", "日本"])
    assert hash_bucket(texts, 1000, "user_id").to_list() == [0, 339, 520, 975]
    assert hash_bucket(texts, 1000, "author_id").to_list()[2] != 520


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1)) | st.lists(st.text()),
    size=st.integers(1, 2**31 - 1),
    salt=st.text(),
)
def test_a_bucket_is_a_function_of_value_size_and_salt(values: list[int] | list[str], size: int, salt: str) -> None:
    found = hash_bucket(pl.Series("x", values), size, salt)
    assert found.to_list() == [bucket_by_hand(value, size, salt) for value in values]
    assert found.dtype == pl.Int32 and found.name == "x"
    assert found.is_between(1, size).all()


def test_the_width_of_an_integer_and_the_encoding_of_a_text_do_not_matter() -> None:
    whole, texts = pl.Series([3, None, 100, 3]), pl.Series(["b", None, "a", "b"])
    for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64):
        assert hash_bucket(whole.cast(dtype), 50, "x").equals(hash_bucket(whole, 50, "x"))
    assert hash_bucket(pl.Series([-7], dtype=pl.Int8), 50, "x").equals(hash_bucket(pl.Series([-7]), 50, "x"))
    for kind in (pl.Categorical(), pl.Enum(["a", "b", "c"])):
        assert hash_bucket(texts.cast(kind), 50, "x").equals(hash_bucket(texts, 50, "x"))
    assert hash_bucket(pl.Series([2**64 - 1], dtype=pl.UInt64), 50, "x").to_list() == [bucket_by_hand(-1, 50, "x")]


@pytest.mark.parametrize("values", [pl.Series([]), pl.Series([None, None]), pl.Series([None], dtype=pl.String)])
def test_nothing_known_is_bucket_0(values: pl.Series) -> None:
    found = hash_bucket(values, 5, "x")
    assert found.to_list() == [0] * len(values) and found.dtype == pl.Int32


@pytest.mark.parametrize("spread", SPREADS)
def test_buckets_are_uniform(spread: str) -> None:
    found = hash_bucket(SPREADS[spread](100_000), 1000, "item_id").to_numpy()
    assert chisquare(np.bincount(found, minlength=1001)[1:]).pvalue > 1e-3


@pytest.mark.parametrize("spread", SPREADS)
def test_collisions_are_as_rare_as_birthdays(spread: str) -> None:
    n, size = 20_000, 2**16
    used = hash_bucket(SPREADS[spread](n), size, "item_id").n_unique()
    empty, both_empty = (1 - 1 / size) ** n, (1 - 2 / size) ** n
    variance = size * empty + size * (size - 1) * both_empty - (size * empty) ** 2
    assert abs(used - size * (1 - empty)) < 4 * variance**0.5


@pytest.mark.parametrize("spread", SPREADS)
def test_two_salts_rarely_collide_at_once(spread: str) -> None:
    n, size = 20_000, 1000
    values = SPREADS[spread](n)
    ids = pl.DataFrame([hash_bucket(values, size, salt).alias(salt) for salt in ("a", "b")])
    sharing = {key: ids.group_by(key).len()["len"].to_numpy() for key in (("a",), ("a", "b"))}
    pairs = {key: (count * (count - 1) // 2).sum() for key, count in sharing.items()}
    one, two = n * (n - 1) / 2 / size, n * (n - 1) / 2 / size**2  # 199,990 and 200 expected
    assert abs(pairs[("a",)] - one) < 4 * one**0.5
    assert abs(pairs[("a", "b")] - two) < 4 * two**0.5


@pytest.mark.parametrize("size", [0, -1, 2**31, 2.0, True])
def test_a_hash_needs_buckets(size: int) -> None:
    with pytest.raises(EmerError, match=r"a hash of size .* for 'video'; it must be in 1 to 2147483647"):
        hash_bucket(pl.Series("video", [1]), size, "x")


def test_a_hash_takes_whole_numbers_or_texts() -> None:
    with pytest.raises(DataError, match="column 'age' is Float64"):
        hash_bucket(pl.Series("age", [1.5]), 5, "x")


@given(st.lists(st.text() | st.none()))
def test_an_id_of_a_text_is_63_bits_of_its_hash(texts: list[str | None]) -> None:
    found = hash_text(pl.Series("x", texts, dtype=pl.String))
    assert found.to_list() == [None if text is None else word_by_hand(text) // 2 for text in texts]
    assert found.dtype == pl.Int64 and found.name == "x"


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.integers(1, 10_000))
def test_the_bucket_of_a_row_is_the_high_bits_of_a_product(ids: list[int], buckets: int) -> None:
    found = pl.DataFrame({"x": ids}, schema={"x": pl.Int64}).select(bucket_of("x", buckets)).to_series()
    assert found.to_list() == [(i * 0x9E3779B97F4A7C15 % 2**64 >> 33) % buckets for i in ids]
    assert found.dtype == pl.Int32


@pytest.mark.parametrize("spread", ["consecutive", "strided", "negative"])
def test_rows_fall_into_buckets_evenly(spread: str) -> None:
    found = SPREADS[spread](100_000).to_frame("x").select(bucket_of("x", 64)).to_series().to_numpy()
    assert np.bincount(found, minlength=64) == pytest.approx(100_000 / 64, rel=0.15)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 1.0])
def test_a_share_is_about_that_many_and_grows(share: float) -> None:
    frame = pl.DataFrame({"x": range(100_000)})
    chosen = frame.select(share_of("x", share), more=share_of("x", share * 1.2))
    assert chosen["x"].mean() == pytest.approx(share, rel=0.05)
    assert chosen.filter("x")["more"].all()
