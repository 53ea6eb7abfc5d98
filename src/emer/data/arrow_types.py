"""Which Arrow types a column is written in, and which are accepted when it is read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from emer.data.columns import Column, Kind

ARROW = {
    Kind.INTEGER: pa.int64(),
    Kind.FLOAT: pa.float32(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.RANK: pa.int16(),
}
"""Type of one value as written."""


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def shown(kind: pa.DataType) -> str:
    """``kind`` in words: ``list<string>`` whatever kind of list it is."""
    return f"list<{kind.value_type}>" if _is_list(kind) else str(kind)


def fits(actual: pa.DataType, column: Column) -> bool:
    """True if values of type ``actual`` can stand in ``column``."""
    types = pa.types
    if column.ragged:
        if not _is_list(actual):
            return False
        actual = actual.value_type
    if types.is_integer(actual):
        return True
    if column.kind is Kind.FLOAT:
        return types.is_floating(actual) or types.is_decimal(actual)
    return column.kind is Kind.BOOLEAN and (types.is_boolean(actual) or types.is_floating(actual))


def unfit(array: np.ndarray, kind: Kind) -> tuple[np.ndarray | None, str]:
    """Where ``array`` holds values that the type of the contract cannot, and why; None if nowhere."""
    if kind is Kind.BOOLEAN and array.dtype.kind != "b":
        wrong, reason = (array != 0) & (array != 1), "a flag is neither 0 nor 1"
    elif kind is Kind.INTEGER and array.dtype == np.uint64:
        wrong, reason = array > np.uint64(np.iinfo(np.int64).max), "an integer does not fit into int64"
    elif kind is Kind.RANK and array.dtype != np.int16:
        limits = np.iinfo(np.int16)
        wrong, reason = (array < limits.min) | (array > limits.max), "a rank gap does not fit into int16"
    else:
        return None, ""
    return (wrong, reason) if wrong.any() else (None, "")
