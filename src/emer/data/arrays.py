"""Brings a caller's arrays to the shapes and types of a request table, or says why that cannot be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emer.errors import DataError
from emer.requests import Schema

DTYPES: dict[str, type[np.generic]] = {
    "request_id": np.int64,
    "user_id": np.int64,
    "time_ms": np.int64,
    "user_categories": np.int64,
    "context_categories": np.int64,
    "item_id": np.int64,
    "pxtr": np.float32,
    "rank_gap": np.int16,
    "iput_rank_gap": np.int16,
    "exposed": np.bool_,
    "explored": np.bool_,
    "label": np.bool_,
    "watch_time": np.float32,
    "negative": np.float32,
    "previous_score": np.float32,
    "item_categories": np.int64,
    "item_numbers": np.float32,
}
"""Type of every column of a request table."""

PER_REQUEST = ("request_id", "user_id", "time_ms", "user_categories", "context_categories")
"""Columns with one entry per request; the others have one per candidate."""

OPTIONAL = ("explored", "watch_time", "negative", "previous_score")
"""Columns that a log may lack; they are None then."""

NOT_IN_BATCHES = ("explored",)
"""Columns that tell how the log came about; no ranker learns from them."""


def check_iput_floor(seconds: float) -> None:
    """Refuse a floor of the predicted watch time that is not a positive number.

    Raises:
        DataError: it is not.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise DataError(f"iput_floor is {seconds}; it must be a positive number of seconds")


def checked_offsets(offsets: ArrayLike) -> np.ndarray:
    """``offsets`` as (R + 1,) int64.

    Raises:
        DataError: they do not start at 0 or they decrease.
    """
    edges = np.asarray(offsets)
    if edges.ndim != 1 or edges.size == 0 or edges.dtype.kind not in "iu" or edges[0] != 0:
        raise DataError("offsets must be a (R + 1,) integer array that starts at 0")
    edges = edges.astype(np.int64)
    if (np.diff(edges) < 0).any():
        raise DataError("offsets must not decrease")
    return edges


def shapes(schema: Schema, requests: int, candidates: int) -> dict[str, tuple[int, ...]]:
    """Shape of every column but the ranks, for R ``requests`` with T ``candidates`` in all."""
    return {
        "request_id": (requests,),
        "user_id": (requests,),
        "time_ms": (requests,),
        "user_categories": (requests, len(schema.user_categories)),
        "context_categories": (requests, len(schema.context_categories)),
        "item_id": (candidates,),
        "pxtr": (candidates, len(schema.objectives)),
        "exposed": (candidates,),
        "explored": (candidates,),
        "label": (candidates, len(schema.feedback)),
        "watch_time": (candidates,),
        "negative": (candidates,),
        "previous_score": (candidates,),
        "item_categories": (candidates, len(schema.item_categories)),
        "item_numbers": (candidates, len(schema.item_numbers)),
    }


def converted(name: str, values: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """``values`` as a contiguous array of ``shape`` and the type of column ``name``.

    Raises:
        DataError: the shape differs, a conversion would lose something, or a needed column is None.
    """
    if values is None:
        if name in OPTIONAL:
            return None
        if shape[-1] == 0:
            return np.zeros(shape, DTYPES[name])
        raise DataError(f"column {name} is missing: the schema asks for shape {shape}")
    array = np.asarray(values)
    if array.shape != shape:
        raise DataError(f"column {name} has shape {array.shape}, the schema and offsets ask for {shape}")
    target = np.dtype(DTYPES[name])
    allowed = {"i": "iu", "f": "fiu", "b": "biuf"}[target.kind]
    if array.dtype.kind not in allowed and array.size:
        raise DataError(f"column {name} has type {array.dtype}, expected {target}")
    if target.kind == "b" and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise DataError(f"column {name} holds values other than 0 and 1")
    with np.errstate(over="ignore"):  # becomes infinite, which the value checks report with its place
        return np.ascontiguousarray(array, dtype=target)
