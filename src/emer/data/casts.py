"""Columns of a file in the type that is asked for, and where that would change a value."""

from __future__ import annotations

import polars as pl


def cast(values: pl.Series, kind: pl.DataType | type[pl.DataType]) -> tuple[pl.Series, pl.Series]:
    """``values`` as ``kind``.

    Programs that know no missing integers write a column of ids with gaps as floats. Whole floats are therefore
    integers, and NaN is no text; but ids from 2^53 on (2^24 in 32 bits) have lost digits as floats.

    Returns:
        The values, null where they cannot be such, and Booleans: True where a value was lost or changed.
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if not _convertible(values.dtype, kind == pl.String):
        return pl.Series(values.name, [None] * len(values), dtype=kind), values.is_not_null()
    if kind == pl.String and values.dtype.is_float():
        values = values.fill_nan(None)
    found = values.cast(kind, strict=False)
    wrong = found.is_null() & values.is_not_null()
    if found.dtype.is_integer() and (values.dtype.is_float() or values.dtype.is_decimal()):
        wrong |= values != found
    if values.dtype.is_float() and (found.dtype.is_integer() or kind == pl.String):
        wrong |= values.abs() >= 2 ** (53 if values.dtype == pl.Float64 else 24)
    return found, wrong.fill_null(False)


def _convertible(actual: pl.DataType, to_text: bool) -> bool:
    """Polars would also count a time's microseconds, or look into a struct."""
    if actual.is_temporal():
        return to_text and actual in (pl.Date, pl.Datetime)
    return not actual.is_nested() and actual not in (pl.Binary, pl.Object)
