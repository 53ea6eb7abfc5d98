"""Candidate rows with the columns of request Parquet become requests."""

from __future__ import annotations

import numpy as np
import polars as pl

from emer.data.arrays import PER_REQUEST
from emer.data.columns import request_columns
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.ranking import MAX_CANDIDATES
from emer.requests import Schema


class RequestError(DataError):
    """Rows of one request that do not go together.

    Attributes:
        request_id: of the request.
        column: of request Parquet.
        values: that this column has in the rows at fault; one value where it is twice in the request.
    """

    def __init__(self, request_id: int, column: str, values: tuple[int, ...], reason: str) -> None:
        super().__init__(f"request_id {request_id}, column {column}: {reason}")
        self.request_id = request_id
        self.column = column
        self.values = values


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
        RequestError: what is said of a request differs between its rows, an item is twice in it, or it has too many.
        DataError: another breach of the contract. Names the request and the column.
    """
    rows = rows.sort("time_ms", "request_id", "item_id")
    request = rows["request_id"].to_numpy()
    time = rows["time_ms"].to_numpy()
    begins = np.flatnonzero(np.concatenate([[True], (request[1:] != request[:-1]) | (time[1:] != time[:-1])]))
    offsets = np.concatenate([begins, [rows.height]])
    _check(rows, schema, offsets)
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


def _check(rows: pl.DataFrame, schema: Schema, offsets: np.ndarray) -> None:
    """A request has one user, time and context, and an item once; rows of two times look like two requests here."""
    request = rows["request_id"].to_numpy()
    _check_times(request[offsets[:-1]], rows["time_ms"].to_numpy()[offsets[:-1]])
    inside = np.ones(request.size, dtype=bool)
    inside[offsets[:-1]] = False
    for column in request_columns(schema):
        if column.field in PER_REQUEST and column.name in rows.columns:
            values = rows[column.name].to_numpy()
            places = np.flatnonzero(inside[1:] & (values[1:] != values[:-1])) + 1
            if places.size:
                row = places[0]
                raise _different(int(request[row]), column.name, int(values[row - 1]), int(values[row]))
    item = rows["item_id"].to_numpy()
    places = np.flatnonzero(inside[1:] & (item[1:] == item[:-1])) + 1
    if places.size:
        row = places[0]
        reason = f"the item {item[row]} is twice in the request; leave one out"
        raise RequestError(int(request[row]), "item_id", (int(item[row]),), reason)
    lengths = np.diff(offsets)
    long = np.flatnonzero(lengths > MAX_CANDIDATES)
    if long.size:
        first = offsets[long[0]]
        reason = (
            f"the request has {lengths[long[0]]:,} candidates, more than the {MAX_CANDIDATES:,} allowed; cut the list"
        )
        raise RequestError(int(request[first]), "item_id", (int(item[first]),), reason)


def _check_times(request: np.ndarray, time: np.ndarray) -> None:
    order = np.argsort(request, kind="stable")
    again = np.flatnonzero(request[order[1:]] == request[order[:-1]])
    if again.size:
        first, second = order[again[0]], order[again[0] + 1]
        raise _different(int(request[first]), "time_ms", int(time[first]), int(time[second]))


def _different(request: int, column: str, *values: int) -> RequestError:
    one, other = values
    return RequestError(request, column, values, f"its rows say {one} and {other}; one request has one {column}")
