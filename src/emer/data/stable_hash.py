"""Hashes that are the same in every process, on every machine and with every version of every library."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl

from emer.errors import DataError, EmerError
from emer.world.hashing import Hash, fold, integers

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd (Knuth's multiplicative hash); its high bits are the good ones
_MOST = 2**31 - 1
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def bucket_of(column: str, buckets: int) -> pl.Expr:
    """A number below ``buckets`` (Int32) for every value of an Int64 column."""
    mixed = pl.col(column).reinterpret(signed=False) * pl.lit(_MIX, pl.UInt64)
    return (mixed // 2**33 % buckets).cast(pl.Int32)


def share_of(column: str, share: float) -> pl.Expr:
    """True for about ``share`` of the values of a column of integers from 0 on."""
    return pl.col(column) * 2_654_435_761 % 2**32 < share * 2**32


def hash_text(values: pl.Series) -> pl.Series:
    """An id for every text: Int64 from 0 on, null for null: 63 bits of BLAKE2b.

    Two of a million different texts share an id with probability 5e-8.
    """
    distinct = values.drop_nulls().unique()
    ids = pl.Series(_words(distinct) >> np.uint64(1), dtype=pl.Int64)
    return values.replace_strict(distinct, ids, default=None, return_dtype=pl.Int64)


def hash_bucket(values: pl.Series, size: int, salt: str) -> pl.Series:
    """Each value's bucket: an id for categories whose vocabularies do not fit in memory.

    It depends on value, size and salt alone: not on the other values, the process, the machine or the version of a
    library, as polars' own hash does. Integers go through the finaliser of splitmix64, whatever their width; texts
    through BLAKE2b before it, once per distinct text.

    Two values share a bucket with chance 1 / size, and then share an embedding. Where that costs too much, encode the
    column twice, under two salts, as two features: they share both with chance 1 / size². This is the idea of hash
    embeddings (Svenstrup et al., NIPS 2017), with the two side by side instead of summed: the first layer weighs
    them, and no model needs to know.

    Args:
        values: integers or texts.
        size: buckets; an embedding of the ids has size + 1 rows.
        salt: what the column is called, say. Under another salt other values collide.

    Returns:
        Int32 ids in 1 .. size under the name of ``values``, and 0 for null.

    Raises:
        DataError: the values are neither integers nor texts.
        EmerError: ``size`` is not in 1 .. 2**31 - 1.
    """
    if type(size) is not int or not 1 <= size <= _MOST:
        raise EmerError(f"a hash of size {size} for {values.name!r}; it must be in 1 to {_MOST}")
    if values.null_count() == len(values):
        return pl.zeros(len(values), pl.Int32, eager=True).alias(values.name)
    if values.dtype in _INTEGERS:
        ids = _buckets(values.fill_null(0).to_numpy().astype(np.uint64), size, salt)
        return pl.Series(values.name, np.where(values.is_null().to_numpy(), np.int32(0), ids))
    if values.dtype in _TEXTS:
        texts = values.cast(pl.String)
        distinct = texts.drop_nulls().unique()
        return texts.replace_strict(distinct, _buckets(_words(distinct), size, salt), default=0, return_dtype=pl.Int32)
    raise DataError(
        f"column {values.name!r} is {values.dtype}; a hash takes whole numbers or texts: cast it, or leave it out"
    )


def _buckets(words: Hash, size: int, salt: str) -> np.ndarray:
    """(n,) int32 in 1 .. size."""
    start = np.array([_word(salt)], dtype=np.uint64)
    return (1 + integers(fold(start, words), size)).astype(np.int32)


def _words(texts: pl.Series) -> Hash:
    return np.fromiter((_word(text) for text in texts), np.uint64, len(texts))


def _word(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
