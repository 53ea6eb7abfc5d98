"""Reads one request Parquet file into a table, and says exactly where it breaks the format."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emer.data.arrays import DTYPES
from emer.data.arrow_types import fits, shown, unfit
from emer.data.checks import Problem, value_problems
from emer.data.columns import Column, rank_columns, request_columns
from emer.data.flat import assembled, with_ranks
from emer.data.metadata import KEY, Metadata, find_metadata, time_range
from emer.data.places import Place, open_parquet, size_of
from emer.data.ranks import iput_rank_gaps, rank_gaps
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Schema

Found = Callable[[Problem], None]
"""Receives each problem: :func:`refuse` raises it, a report collects it."""

_RANKS_CHECKED = 8


def refuse(problem: Problem) -> None:
    """Raise ``problem`` as a DataError."""
    raise DataError(str(problem))


def read_file(path: Place, schema: Schema | None, found: Found) -> RequestTable | None:
    """The requests of one file, in file order, with the IPUT floor that the file states (1 s if none).

    Stored ranks are kept once a sample of them agrees with the pxtrs. Every problem goes to ``found``; if
    that returns, reading goes on with what is sound. None if there was any problem.

    Args:
        path: the file.
        schema: for files that carry none; must agree with theirs.
        found: see :data:`Found`.
    """
    return FileReader(path, schema, found).read()


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        metadata: its schema and IPUT floor.
        columns: those to read: there, and of a type that fits.
        sizes: requests of each row group.
        time_ms: (2,) the first and the last, or (0,) where the file keeps no statistics.
    """

    metadata: Metadata
    columns: tuple[Column, ...]
    sizes: tuple[int, ...]
    time_ms: np.ndarray


class FileReader:
    """One request Parquet file, read whole or by row group; problems go to ``found`` as in :func:`read_file`."""

    def __init__(self, path: Place, schema: Schema | None, found: Found) -> None:
        self.path = path
        self.schema = schema
        self.sound = True
        self._found = found
        self._first_row = 0
        self.request_id: np.ndarray | None = None

    def found(self, problem: Problem) -> None:
        self.sound = False
        row = None if problem.row is None else problem.row + self._first_row
        self._found(replace(problem, file=str(self.path), row=row))

    def header(self) -> Header | None:
        """Metadata and columns, checked without reading a value; None if the file cannot be read at all."""
        file = self._open()
        if file is None:
            return None
        with file:
            return self._header(file)

    def read(self, group: int | None = None) -> RequestTable | None:
        """All requests, or those of one row group; None if there was any problem."""
        file = self._open()
        if file is None:
            return None
        with file:
            header = self._header(file)
            if header is None:
                return None
            names = [column.name for column in header.columns]
            try:
                data = file.read(names) if group is None else file.read_row_group(group, names)
            except (pa.ArrowException, OSError) as error:
                self.found(Problem(f"the file is damaged or truncated, write it again ({error})"))
                return None
        self._first_row = sum(header.sizes[:group]) if group is not None else 0
        return self._table(header.metadata, data, header.columns)

    def _open(self) -> pq.ParquetFile | None:
        if not self.path.is_file():
            self.found(Problem("there is no such file"))
        elif size_of(self.path) == 0:
            self.found(Problem("the file is empty (0 bytes); delete it or write it again"))
        else:
            try:
                return open_parquet(self.path)
            except (pa.ArrowException, OSError) as error:
                reason = "not a Parquet file, or one that was cut short; write it again"
                self.found(Problem(f"{reason} ({str(error).splitlines()[0]})"))
        return None

    def _header(self, file: pq.ParquetFile) -> Header | None:
        own = (file.schema_arrow.metadata or {}).get(KEY)
        try:
            metadata = find_metadata(self.path, own, self.schema)
        except DataError as error:
            self.sound = False
            self._found(Problem(str(error)))
            return None
        columns = self._present(file.schema_arrow, metadata.schema)
        if file.metadata.num_rows == 0:
            self.found(Problem("the file has no rows; delete it"))
            return None
        sizes = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        return Header(metadata, tuple(columns), sizes, time_range(file.metadata))

    def _present(self, arrow: pa.Schema, schema: Schema) -> list[Column]:
        """The columns to read: those there and of a type that fits."""
        wanted, ranks = request_columns(schema), rank_columns(schema)
        names = set(arrow.names)
        unused = sorted(names - {column.name for column in wanted + ranks})
        for name in sorted({name for name in names if arrow.names.count(name) > 1}):
            self.found(Problem("the file has two columns of this name", name))
            names.discard(name)
        for column in wanted:
            if column.name in arrow.names:
                continue
            near = difflib.get_close_matches(column.name, unused, n=1, cutoff=0.75)
            if near and column.optional:
                self.found(Problem(f"the format knows no such column; did you mean {column.name}?", near[0]))
            elif not column.optional:
                hint = f"did you misname it {near[0]}?" if near else f"the file has {', '.join(arrow.names)}"
                self.found(Problem(f"the column is missing; {hint}", column.name))
        missing = [column.name for column in ranks if column.name not in arrow.names]
        if missing and len(missing) < len(ranks):
            reason = "the column is missing while other rank columns are there; write all of them or none"
            self.found(Problem(reason, missing[0]))
            ranks = ()
        columns = []
        for column in wanted + ranks:
            if column.name not in names:
                continue
            actual = arrow.field(column.name).type
            if fits(actual, column):
                columns.append(column)
            else:
                expected = f"list<{column.kind}>" if column.ragged else str(column.kind)
                self.found(Problem(f"has type {shown(actual)}, expected {expected}", column.name))
        return columns

    def _table(self, metadata: Metadata, data: pa.Table, columns: Iterable[Column]) -> RequestTable | None:
        flat: dict[str, np.ndarray] = {}
        shape: _Lists | None = None
        for column in columns:
            if not column.ragged:
                values = self._values(data[column.name], column, None)
            else:
                lists = self._lists(data[column.name], column, shape)
                if lists is None:
                    continue
                shape = shape or lists
                values = self._values(pc.list_flatten(data[column.name]), column, lists.offsets)
            if values is not None:
                flat[column.name] = values
            if column.name == "request_id":
                self.request_id = values
        if shape is None:
            return None
        values_by_field = assembled(metadata.schema, flat, data.num_rows, int(shape.offsets[-1]))
        for problem in value_problems(metadata.schema, shape.offsets, values_by_field):
            self.found(problem)
        if not self.sound:
            return None
        table = RequestTable.trusted(
            schema=metadata.schema,
            offsets=shape.offsets,
            iput_floor=metadata.iput_floor or 1.0,
            **with_ranks(metadata, flat, values_by_field),
        )
        self._check_ranks(table)
        return table if self.sound else None

    def _lists(self, values: pa.ChunkedArray, column: Column, first: _Lists | None) -> _Lists | None:
        lengths = pc.list_value_length(values)
        if lengths.null_count:
            self._at(np.flatnonzero(lengths.is_null().to_numpy()), column, "the list is null; write every list")
            return None
        offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(), dtype=np.int64)])
        if first is not None and not np.array_equal(offsets, first.offsets):
            lengths, expected = np.diff(offsets), np.diff(first.offsets)
            rows = np.flatnonzero(lengths != expected)
            reason = f"has {lengths[rows[0]]} values while {first.name} has {expected[rows[0]]}"
            self._at(rows, column, reason)
            return None
        return _Lists(column.name, offsets)

    def _values(self, values: pa.ChunkedArray, column: Column, offsets: np.ndarray | None) -> np.ndarray | None:
        """Values in the type of the contract; ``offsets`` says which request each belongs to."""
        if values.null_count:
            wrong, reason = values.is_null().to_numpy(), "a value is null; write 0 where nothing was measured"
        else:
            if pa.types.is_decimal(values.type):
                values = values.cast(pa.float64())
            array = values.to_numpy()
            wrong, reason = unfit(array, column.kind)
            if wrong is None:
                with np.errstate(over="ignore"):  # becomes infinite, which the value checks report
                    return array.astype(DTYPES[column.field], copy=False)
        places = np.flatnonzero(wrong)
        if offsets is not None:
            places = np.unique(np.searchsorted(offsets, places, side="right") - 1)
        self._at(places, column, reason)
        return None

    def _at(self, rows: np.ndarray, column: Column, reason: str) -> None:
        row = int(rows[0])
        request_id = None if self.request_id is None else int(self.request_id[row])
        self.found(Problem(reason, column.name, row, request_id, count=rows.size))

    def _check_ranks(self, table: RequestTable) -> None:
        rows = np.unique(np.linspace(0, len(table) - 1, _RANKS_CHECKED).astype(np.int64))
        sample = table.select(rows)
        raw = rank_gaps(sample.pxtr, sample.offsets)
        iput = iput_rank_gaps(table.schema, sample.pxtr, raw, sample.offsets, table.iput_floor)
        for prefix, stored, right in (
            ("rank", sample.rank_gap, raw),
            ("iput_rank", sample.iput_rank_gap, iput),
        ):
            places = np.argwhere(stored != right)
            if places.size:
                candidate, k = places[0]
                row = int(rows[np.searchsorted(sample.offsets, candidate, side="right") - 1])
                reason = (
                    f"the stored rank gap {stored[candidate, k]} is not that of the pxtrs, "
                    f"{right[candidate, k]}; drop all rank_ and iput_rank_ columns, they are then computed"
                )
                name = f"{prefix}_{table.schema.objective_names[k]}"
                self.found(Problem(reason, name, row, int(table.request_id[row])))
                return


@dataclass(frozen=True)
class _Lists:
    """Where the lists of column ``name`` begin and end: (R + 1,) int64."""

    name: str
    offsets: np.ndarray
