"""Hashes that are the same in every process, on every machine and with every version of every library."""

from __future__ import annotations

import hashlib

import polars as pl

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd (Knuth's multiplicative hash); its high bits are the good ones


def bucket_of(column: str, buckets: int) -> pl.Expr:
    """A number below ``buckets`` (Int32) for every value of an Int64 column."""
    mixed = pl.col(column).reinterpret(signed=False) * pl.lit(_MIX, pl.UInt64)
    return (mixed // 2**33 % buckets).cast(pl.Int32)


def share_of(column: str, share: float) -> pl.Expr:
    """True for about ``share`` of the values of a column of integers from 0 on."""
    return pl.col(column) * 2_654_435_761 % 2**32 < share * 2**32


def hash_text(values: pl.Series) -> pl.Series:
    """Int64 from 0 on for every text, null for null: 63 bits of BLAKE2b.

    Two of a million different texts share a value with probability 5e-8.
    """
    known = values.unique().drop_nulls()
    codes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1 for text in known]
    return values.replace_strict(known, pl.Series(codes, dtype=pl.Int64), default=None, return_dtype=pl.Int64)
