"""A split of a request log in memory: flat numpy columns, cut into padded batches on demand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from emer.data.arrays import (
    DTYPES,
    NOT_IN_BATCHES,
    OPTIONAL,
    PER_REQUEST,
    check_iput_floor,
    checked_offsets,
    converted,
    shapes,
)
from emer.data.checks import value_problems
from emer.data.ranks import iput_rank_gaps, rank_gaps
from emer.errors import DataError
from emer.requests import RequestBatch, Schema


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestTable:
    """R requests with T candidates in all, stored back to back. Make one with :meth:`build`.

    Request r owns candidates ``offsets[r]:offsets[r + 1]``. Meanings and units are those of
    :class:`emer.requests.RequestBatch`.

    Attributes:
        schema: names and kinds of the columns.
        iput_floor: seconds; predicted watch time is clamped to at least this in the IPUT ranks.
        offsets: (R + 1,) int64.
        request_id, user_id, time_ms: (R,) int64.
        user_categories, context_categories: (R, F) int64.
        item_id: (T,) int64.
        pxtr: (T, K) float32.
        rank_gap, iput_rank_gap: (T, K) int16.
        exposed: (T,) bool. label: (T, M) bool.
        explored: (T,) bool, exposed by chance instead of by score; None where not logged. Batches leave it out.
        watch_time, negative, previous_score: (T,) float32, or None where not logged.
        item_categories: (T, F) int64. item_numbers: (T, F) float32.
    """

    schema: Schema
    iput_floor: float
    offsets: np.ndarray
    request_id: np.ndarray
    user_id: np.ndarray
    time_ms: np.ndarray
    user_categories: np.ndarray
    context_categories: np.ndarray
    item_id: np.ndarray
    pxtr: np.ndarray
    rank_gap: np.ndarray
    iput_rank_gap: np.ndarray
    exposed: np.ndarray
    explored: np.ndarray | None = None
    label: np.ndarray
    watch_time: np.ndarray | None
    negative: np.ndarray | None
    previous_score: np.ndarray | None
    item_categories: np.ndarray
    item_numbers: np.ndarray

    @classmethod
    def build(
        cls,
        *,
        schema: Schema,
        offsets: ArrayLike,
        request_id: ArrayLike,
        user_id: ArrayLike,
        time_ms: ArrayLike,
        item_id: ArrayLike,
        pxtr: ArrayLike,
        exposed: ArrayLike,
        explored: ArrayLike | None = None,
        label: ArrayLike | None = None,
        watch_time: ArrayLike | None = None,
        negative: ArrayLike | None = None,
        previous_score: ArrayLike | None = None,
        user_categories: ArrayLike | None = None,
        context_categories: ArrayLike | None = None,
        item_categories: ArrayLike | None = None,
        item_numbers: ArrayLike | None = None,
        iput_floor: float = 1.0,
    ) -> Self:
        """Check the columns against the contract and rank every candidate within its request.

        Shapes as in the class; a column block that the schema leaves empty may be None. Integers and floats
        of any width are accepted, and 0 / 1 numbers for booleans.

        Raises:
            DataError: a shape, type or value breaks the contract; names column, row and reason.
        """
        check_iput_floor(iput_floor)
        given = {
            "request_id": request_id,
            "user_id": user_id,
            "time_ms": time_ms,
            "user_categories": user_categories,
            "context_categories": context_categories,
            "item_id": item_id,
            "pxtr": pxtr,
            "exposed": exposed,
            "explored": explored,
            "label": label,
            "watch_time": watch_time,
            "negative": negative,
            "previous_score": previous_score,
            "item_categories": item_categories,
            "item_numbers": item_numbers,
        }
        edges = checked_offsets(offsets)
        shape = shapes(schema, edges.size - 1, int(edges[-1]))
        values = {name: converted(name, array, shape[name]) for name, array in given.items()}
        for problem in value_problems(schema, edges, values):
            raise DataError(str(problem))
        return cls.trusted(schema=schema, offsets=edges, iput_floor=iput_floor, **values)

    @classmethod
    def trusted(cls, *, schema: Schema, offsets: np.ndarray, iput_floor: float, **values: Any) -> Self:
        """:meth:`build` for checked columns of the right types; missing ranks are computed."""
        if values.get("rank_gap") is None:
            values["rank_gap"] = rank_gaps(values["pxtr"], offsets)
        if values.get("iput_rank_gap") is None:
            values["iput_rank_gap"] = iput_rank_gaps(schema, values["pxtr"], values["rank_gap"], offsets, iput_floor)
        return cls(schema=schema, offsets=offsets, iput_floor=float(iput_floor), **values)

    def __len__(self) -> int:
        return self.offsets.size - 1

    @property
    def lengths(self) -> np.ndarray:
        """(R,) int64: candidates of each request."""
        return np.diff(self.offsets)

    def batch(self, rows: ArrayLike) -> RequestBatch:
        """The requests at ``rows`` ((B,) int, in that order), padded to the longest of them.

        ``RequestBatch.row`` is ``rows``: the position of each request in this table.
        """
        rows = self._rows(rows)
        start = self.offsets[rows]
        lengths = self.offsets[rows + 1] - start
        position = np.arange(lengths.max(initial=0))
        mask = position < lengths[:, None]
        index = np.where(mask, start[:, None] + position, 0)
        padding = None if mask.all() else ~mask

        def cut(array: np.ndarray | None) -> torch.Tensor | None:
            if array is None:
                return None
            block = array.take(index, axis=0)
            if padding is not None:
                block[padding] = 0
            return torch.from_numpy(block)

        tensors = {name: cut(getattr(self, name)) for name in DTYPES if name not in (*PER_REQUEST, *NOT_IN_BATCHES)}
        tensors |= {name: torch.from_numpy(getattr(self, name)[rows]) for name in PER_REQUEST}
        label = tensors.pop("label")
        assert label is not None
        return RequestBatch(
            schema=self.schema,
            iput_floor=self.iput_floor,
            mask=torch.from_numpy(mask),
            label=label.to(torch.float32),
            row=torch.from_numpy(rows),
            **tensors,  # type: ignore[arg-type]  # optional columns alone may be None
        )

    def select(self, rows: ArrayLike) -> Self:
        """The requests at ``rows`` ((r,) int or (R,) bool), in that order, as a table of their own."""
        rows = self._rows(rows)
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return self._replace(
            offsets,
            {
                name: None if array is None else array[rows if name in PER_REQUEST else index]
                for name, array in self._columns()
            },
        )

    def with_iput_floor(self, iput_floor: float) -> Self:
        """The same requests with IPUT ranks for another floor in seconds (itself if nothing changes)."""
        check_iput_floor(iput_floor)
        if iput_floor == self.iput_floor:
            return self
        gaps = iput_rank_gaps(self.schema, self.pxtr, self.rank_gap, self.offsets, iput_floor)
        return replace(self, iput_floor=float(iput_floor), iput_rank_gap=gaps)

    @classmethod
    def concat(cls, tables: Sequence[Self]) -> Self:
        """The requests of ``tables`` one table after the other.

        Raises:
            DataError: the tables differ in schema, IPUT floor or logged columns, or share a request id.
        """
        if not tables:
            raise DataError("there are no request tables to join")
        first = tables[0]
        if len(tables) == 1:
            return first
        for table in tables[1:]:
            if table.schema != first.schema or table.iput_floor != first.iput_floor:
                raise DataError("request tables with different schemas or IPUT floors cannot be joined")
            for name in table.differing_columns(first):
                raise DataError(f"column {name} is in some request tables and missing in others")
        if np.unique(np.concatenate([t.request_id for t in tables])).size < sum(map(len, tables)):
            raise DataError("the request tables to join share request ids")
        starts = np.cumsum([0] + [table.item_id.size for table in tables])
        parts = [table.offsets[:-1] + start for table, start in zip(tables, starts[:-1], strict=True)]
        return first._replace(
            np.concatenate([*parts, starts[-1:]]),
            {
                name: None if array is None else np.concatenate([getattr(t, name) for t in tables])
                for name, array in first._columns()
            },
        )

    def differing_columns(self, other: Self) -> list[str]:
        """Optional columns that one of the two tables has and the other lacks."""
        return [name for name in OPTIONAL if (getattr(self, name) is None) != (getattr(other, name) is None)]

    def fingerprint(self) -> str:
        """SHA-256 of schema, IPUT floor and every value: equal content, equal fingerprint."""
        digest = hashlib.sha256(json.dumps([self.schema.to_dict(), self.iput_floor]).encode())
        for name, array in (("offsets", self.offsets), *self._columns()):
            digest.update(f"{name} {None if array is None else array.shape}".encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _columns(self) -> Iterator[tuple[str, np.ndarray | None]]:
        for name in DTYPES:
            yield name, getattr(self, name)

    def _replace(self, offsets: np.ndarray, columns: dict[str, np.ndarray | None]) -> Self:
        return type(self)(schema=self.schema, iput_floor=self.iput_floor, offsets=offsets, **columns)  # type: ignore[arg-type]

    def _rows(self, rows: ArrayLike) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.dtype == np.bool_:
            return np.flatnonzero(rows)
        return rows.astype(np.int64)
