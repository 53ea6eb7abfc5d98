"""Ids for categories whose vocabularies do not fit in memory: a value's id is a hash of the value."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl

from emer.errors import DataError, EmerError
from emer.world.hashing import Hash, fold, integers

_MOST = 2**31 - 1
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def hash_bucket(values: pl.Series, size: int, salt: str) -> pl.Series:
    """Each value's bucket.

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
        raise EmerError(f"pxtr model: a hash of size {size} for {values.name!r}; it must be in 1 to {_MOST}")
    if values.null_count() == len(values):
        return pl.zeros(len(values), pl.Int32, eager=True).alias(values.name)
    if values.dtype in _INTEGERS:
        ids = _buckets(values.fill_null(0).to_numpy().astype(np.uint64), size, salt)
        return pl.Series(values.name, np.where(values.is_null().to_numpy(), np.int32(0), ids))
    if values.dtype in _TEXTS:
        texts = values.cast(pl.String)
        distinct = texts.drop_nulls().unique()
        words = np.fromiter((_word(text) for text in distinct), np.uint64, len(distinct))
        return texts.replace_strict(distinct, _buckets(words, size, salt), default=0, return_dtype=pl.Int32)
    raise DataError(
        f"column {values.name!r} is {values.dtype}; a hash takes whole numbers or texts: cast it, or leave it out"
    )


def hash_bucket_expr(column: pl.Expr, size: int, salt: str) -> pl.Expr:
    """:func:`hash_bucket` in a lazy query, a chunk at a time."""
    return column.map_batches(
        lambda values: hash_bucket(values, size, salt), return_dtype=pl.Int32, is_elementwise=True
    )


def _buckets(words: Hash, size: int, salt: str) -> np.ndarray:
    """(n,) int32 in 1 .. size."""
    return (1 + integers(fold(np.array([_word(salt)], dtype=np.uint64), words), size)).astype(np.int32)


def _word(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
