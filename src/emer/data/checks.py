"""What may be wrong with the values of a request log. Pure checks on flat columns; no files here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from emer.data.columns import Kind, request_columns
from emer.ranking import MAX_CANDIDATES
from emer.requests import Category, Schema, Unit


@dataclass(frozen=True)
class Problem:
    """One breach of the data contract.

    Attributes:
        reason: what is wrong and, where it is not plain, what to do.
        column: column name in the request Parquet format, or None where the whole row or file is at fault.
        row: position of the request in its file (or table), counted from 0.
        request_id: id of that request.
        file: path of the file.
        count: how many rows have this problem; ``row`` is the first of them.
    """

    reason: str
    column: str | None = None
    row: int | None = None
    request_id: int | None = None
    file: str | None = None
    count: int = 1

    def __str__(self) -> str:
        place = []
        if self.file is not None:
            place.append(self.file)
        if self.row is not None:
            request = "" if self.request_id is None else f" (request_id {self.request_id})"
            place.append(f"row {self.row}{request}")
        if self.column is not None:
            place.append(f"column {self.column}")
        more = f" ({self.count - 1} more such rows)" if self.count > 1 else ""
        return f"{', '.join(place)}: {self.reason}{more}" if place else self.reason + more


def value_problems(schema: Schema, offsets: np.ndarray, values: Mapping[str, np.ndarray | None]) -> Iterator[Problem]:
    """Problems in the values of R requests with T candidates, one per column and reason.

    Args:
        schema: names and kinds of the columns.
        offsets: (R + 1,) int64; request r owns candidates ``offsets[r]:offsets[r + 1]``.
        values: arrays of a :class:`emer.data.table.RequestTable` by attribute name, of the right shapes. What
            is None or absent is not checked.
    """
    request_id, exposed = values.get("request_id"), values.get("exposed")
    place = _Place(offsets, request_id)
    yield from _length_problems(place)
    if request_id is not None:
        yield from place.requests(_repeated(request_id), "request_id", "the request id stands in an earlier row")
    item_id = values.get("item_id")
    if item_id is not None:
        again = _repeated(item_id, np.repeat(np.arange(offsets.size - 1), np.diff(offsets)))
        yield from place.candidates(again, "item_id", "is twice in the request", item_id)
    categories = _category_of_column(schema)
    for column in request_columns(schema):
        array = values.get(column.field)
        if array is None:
            continue
        shown = array if column.index is None else array[:, column.index]
        seconds = column.field == "watch_time" or (
            column.field == "pxtr" and schema.objectives[column.index or 0].unit is Unit.SECONDS
        )
        found: list[tuple[np.ndarray, str]] = []
        if column.kind is Kind.FLOAT:
            found.append((~np.isfinite(shown), "is NaN or infinite"))
        if seconds:
            found.append((shown < 0, "is a negative number of seconds"))
        elif column.field == "pxtr":
            found.append(((shown < 0) | (shown > 1), "is a probability outside [0, 1]"))
        elif column.field == "negative":
            found.append((shown < 0, "is a negative count"))
        if column.field in ("label", "watch_time", "negative") and exposed is not None:
            found.append(((shown != 0) & ~exposed, "is feedback on an item that was not exposed; write 0 there"))
        if column.field == "explored" and exposed is not None:
            found.append((shown & ~exposed, "marks an item that was not exposed; write 0 there"))
        if column.name in categories:
            size = categories[column.name].size
            reason = f"is outside the ids 0..{size - 1} of the category; write 0 for unknown"
            found.append(((shown < 0) | (shown >= size), reason))
        for wrong, reason in found:
            if column.ragged:
                yield from place.candidates(wrong, column.name, reason, shown)
            else:
                yield from place.requests(wrong, column.name, reason, shown)


def _category_of_column(schema: Schema) -> dict[str, Category]:
    kinds = (
        ("user", schema.user_categories),
        ("context", schema.context_categories),
        ("item", schema.item_categories),
    )
    return {f"{prefix}_{category.name}": category for prefix, found in kinds for category in found}


def _repeated(values: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
    """True where a value stood before, in the same group."""
    order = np.argsort(values, kind="stable") if group is None else np.lexsort((values, group))
    same = values[order[1:]] == values[order[:-1]]
    if group is not None:
        same &= group[order[1:]] == group[order[:-1]]
    again = np.zeros(values.size, dtype=bool)
    again[order[1:]] = same
    return again


@dataclass(frozen=True)
class _Place:
    """Turns masks of wrong requests or candidates into problems that say where."""

    offsets: np.ndarray
    request_id: np.ndarray | None

    def requests(
        self, wrong: np.ndarray, column: str, reason: str, shown: np.ndarray | None = None
    ) -> Iterator[Problem]:
        rows = np.flatnonzero(wrong)
        if rows.size:
            value = "" if shown is None else f"{shown[rows[0]]} "
            yield self._problem(rows, column, value + reason)

    def candidates(self, wrong: np.ndarray, column: str, reason: str, shown: np.ndarray) -> Iterator[Problem]:
        places = np.flatnonzero(wrong)
        if places.size:
            rows = np.unique(np.searchsorted(self.offsets, places, side="right") - 1)
            position = places[0] - self.offsets[rows[0]]
            yield self._problem(rows, column, f"{shown[places[0]]} at list position {position} {reason}")

    def _problem(self, rows: np.ndarray, column: str, reason: str) -> Problem:
        row = int(rows[0])
        request_id = None if self.request_id is None else int(self.request_id[row])
        return Problem(reason, column, row, request_id, count=rows.size)


def _length_problems(place: _Place) -> Iterator[Problem]:
    lengths = np.diff(place.offsets)
    yield from place.requests(lengths == 0, "item_id", "the request is empty: it has no candidates")
    too_long = f"candidates are more than the {MAX_CANDIDATES:,} allowed in one request; cut the list"
    yield from place.requests(lengths > MAX_CANDIDATES, "item_id", too_long, lengths)
