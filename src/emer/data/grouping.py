"""Candidate rows with the columns of request Parquet become requests."""

from __future__ import annotations

import numpy as np
import polars as pl

from emer.data.arrays import PER_REQUEST
from emer.data.columns import request_columns
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Schema


def group(rows: pl.DataFrame, schema: Schema, iput_floor: float = 1.0) -> RequestTable:
    """The requests of ``rows``, in the order of ``time_ms`` and then ``request_id``.

    Candidates are sorted by item, so that a candidate's place tells nothing, neither what the file's order was nor
    whether it was shown. Optional columns may be missing; without ``exposed`` all candidates were shown. What a row
    says of feedback on an item that was not shown is dropped.

    Args:
        rows: one row per candidate, with the columns of :func:`emer.data.columns.request_columns`.
        schema: names and kinds of these columns.
        iput_floor: see :class:`emer.data.table.RequestTable`.

    Raises:
        DataError: what is said of a request differs between its rows; an item is twice in a request; or another
            breach of the contract. Names the request and the column.
    """
    rows = rows.sort("time_ms", "request_id", "item_id")
    request = rows["request_id"].to_numpy()
    time = rows["time_ms"].to_numpy()
    begins = np.flatnonzero(np.concatenate([[True], (request[1:] != request[:-1]) | (time[1:] != time[:-1])]))
    offsets = np.concatenate([begins, [rows.height]])
    _check_constant(rows, schema, offsets)
    fields: dict[str, np.ndarray] = {}
    blocks: dict[str, list[np.ndarray]] = {}
    for column in request_columns(schema):
        if column.name not in rows.columns:
            if column.name == "exposed":
                fields["exposed"] = np.ones(rows.height, dtype=bool)
            continue
        values = rows[column.name].to_numpy()
        values = values if column.ragged else values[begins]
        if column.index is None:
            fields[column.field] = values
        else:
            blocks.setdefault(column.field, []).append(values)
    fields |= {name: np.stack(columns, axis=1) for name, columns in blocks.items()}
    for name in ("label", "watch_time", "negative", "explored"):
        if name in fields:
            shown = fields["exposed"].reshape(-1, *[1] * (fields[name].ndim - 1))
            fields[name] = np.where(shown, fields[name], np.zeros((), fields[name].dtype))
    return RequestTable.build(schema=schema, offsets=offsets, iput_floor=iput_floor, **fields)


def _check_constant(rows: pl.DataFrame, schema: Schema, offsets: np.ndarray) -> None:
    """A request has one user, time and context; and its rows are all of one time, or they would be two requests."""
    request = rows["request_id"].to_numpy()[offsets[:-1]]
    values, count = np.unique(request, return_counts=True)
    if (count > 1).any():
        raise DataError(f"request_id {values[count > 1][0]}: its rows have different time_ms; one request has one")
    for column in request_columns(schema):
        if column.field not in PER_REQUEST or column.name not in rows.columns:
            continue
        values = rows[column.name].to_numpy()
        inside = np.ones(values.size, dtype=bool)
        inside[offsets[:-1]] = False
        places = np.flatnonzero(inside[1:] & (values[1:] != values[:-1])) + 1
        if places.size:
            row = int(places[0])
            raise DataError(
                f"request_id {rows['request_id'][row]}: its rows have different {column.name}, "
                f"{values[row - 1]} and {values[row]}; one request has one"
            )
