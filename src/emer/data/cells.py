"""Cells of official files as the values that a log's columns have."""

from __future__ import annotations

import polars as pl

DAY_MS = 86_400_000
_BEIJING_MS = 8 * 3_600_000

LONG_MS = 18_000
"""Kuaishou's long view: the whole video, or this much of a longer one."""


def category(column: str) -> pl.Expr:
    """Text values as small integers; the files' own marks for unknown become null.

    The same value is written 1 in one file and 1.0 in another.
    """
    text = pl.col(column).str.strip_suffix(".0")
    known = pl.when(~text.is_in(["UNKNOWN", "-124", ""])).then(text)
    return known.rank("dense").cast(pl.Int32).alias(column)


def log1p(column: str) -> pl.Expr:
    """log(1 + value); null where the value is unknown or negative."""
    value = pl.col(column)
    return pl.when(value >= 0).then(value).log1p().cast(pl.Float32)


def log_seconds(milliseconds: str) -> pl.Expr:
    """log(1 + seconds) of a duration; null where it is unknown or 0, as for pictures."""
    value = pl.col(milliseconds)
    return (pl.when(value > 0).then(value) / 1000).log1p().cast(pl.Float32)


def whole_ms(column: str) -> pl.Expr:
    """That the column is a Unix time in milliseconds: in this century it has thirteen digits."""
    return pl.col(column).is_between(1_000_000_000_000, 9_999_999_999_999)


def amount(column: str) -> pl.Expr:
    """That the column is 0 or more, and finite. (Polars takes NaN for the greatest of all numbers.)"""
    return (pl.col(column) >= 0) & pl.col(column).is_finite()


def code(column: str) -> pl.Expr:
    """That the column is a whole number that fits into 32 bits."""
    return pl.col(column).is_between(-(2**31), 2**31 - 1)


def flag(column: str) -> pl.Expr:
    """That the column is 0 or 1."""
    return pl.col(column).is_in([0, 1])


def beijing_day(time_ms: pl.Expr) -> pl.Expr:
    """Day number in Beijing of a Unix time in milliseconds."""
    return ((time_ms + _BEIJING_MS) // DAY_MS).cast(pl.Int32)


def beijing_hour(time_ms: pl.Expr) -> pl.Expr:
    """Hour of the day in Beijing, 0 to 23, of a Unix time in milliseconds."""
    return ((time_ms + _BEIJING_MS) // 3_600_000 % 24).cast(pl.Int32)


def text_day(column: str) -> pl.Expr:
    """Day number of a text that begins with a date such as 2022-04-10; null where it does not."""
    return pl.col(column).str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int32)


def played_to_the_end(play: pl.Expr, duration: pl.Expr) -> pl.Expr:
    """That a video was played for its whole duration; False where that is unknown or 0."""
    return ((play >= duration) & (duration > 0)).fill_null(False)


def played_long(play_ms: pl.Expr, duration_ms: pl.Expr) -> pl.Expr:
    """Kuaishou's long view: played to the end, or for :data:`LONG_MS` where the video is longer."""
    return played_to_the_end(play_ms, duration_ms) | ((play_ms >= LONG_MS) & (duration_ms > LONG_MS)).fill_null(False)
