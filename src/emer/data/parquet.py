"""The request Parquet format: one row per request, list columns, schema in the file's metadata.

docs/request_format.md describes it for teams that write it from Spark or SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emer.data.arrays import OPTIONAL
from emer.data.arrow_types import ARROW
from emer.data.checks import Problem
from emer.data.columns import Column, Kind, rank_columns, request_columns
from emer.data.metadata import KEY, Metadata, schema_difference
from emer.data.places import Place, place
from emer.data.reading import Found, read_file, refuse
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.files import atomic_path
from emer.requests import Schema


def write_requests(table: RequestTable, path: Path | str, row_group_size: int = 1024) -> None:
    """Write ``table`` with its ranks to one Parquet file (zstd), whole or not at all.

    Args:
        table: at least one request.
        path: the file; an older one is replaced.
        row_group_size: requests per row group.

    Raises:
        DataError: the table is empty.
    """
    if len(table) == 0:
        raise DataError(f"{path}: there are no requests to write")
    fields, arrays, repetitive = [], [], []
    for column in request_columns(table.schema) + rank_columns(table.schema):
        array = _arrow(table, column)
        if array is not None:
            fields.append(pa.field(column.name, array.type, nullable=False))
            arrays.append(array)
            if column.kind is not Kind.FLOAT:  # a dictionary of distinct floats only costs time and space
                repetitive.append(f"{column.name}.list.element" if column.ragged else column.name)
    metadata = {KEY: Metadata(table.schema, table.iput_floor).to_json()}
    with atomic_path(Path(path)) as temporary:
        pq.write_table(
            pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata)),
            temporary,
            row_group_size=row_group_size,
            compression="zstd",
            use_dictionary=repetitive,
        )


def read_requests(
    paths: Place | str | Sequence[Place | str], *, iput_floor: float = 1.0, schema: Schema | None = None
) -> RequestTable:
    """Read and check request Parquet files.

    Args:
        paths: files, or folders whose ``*.parquet`` files are read in order of their names; also URLs.
        iput_floor: seconds; IPUT ranks stored for another floor are recomputed.
        schema: for files that carry no metadata and have no ``schema.json``; must agree with theirs.

    Returns:
        All requests, in the order of files and rows.

    Raises:
        DataError: the first problem found, with file, row, column and reason.
    """
    listed = list(paths) if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    files = [file for path in listed for file in parquet_files(place(path))]
    read = read_files(files, schema, refuse)
    check_repeats(read, refuse)
    return joined(read).with_iput_floor(iput_floor)


def parquet_files(path: Place) -> list[Place]:
    """``path`` if it is a file, else the Parquet files in that folder (hidden ones and ``_`` names left out).

    Raises:
        DataError: nothing is there, or a folder without Parquet files.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    found = sorted(file for file in path.glob("*.parquet") if not file.name.startswith((".", "_")))
    if not found:
        raise DataError(f"{path}: the folder holds no *.parquet file")
    return found


def read_files(files: Iterable[Place], schema: Schema | None, found: Found) -> list[tuple[Place, RequestTable]]:
    """Each sound file with its table; all must have one schema and the same optional columns."""
    read: list[tuple[Place, RequestTable]] = []
    for path in files:
        table = read_file(path, schema, found)
        if table is None:
            continue
        if read:
            first_path, first = read[0]
            if not check_alike(path, Contents.of(table), first_path, Contents.of(first), found):
                continue
        read.append((path, table))
    return read


@dataclass(frozen=True)
class Contents:
    """What files of one log must agree on: the schema, and which optional columns there are."""

    schema: Schema
    optional: tuple[str, ...]

    @classmethod
    def of(cls, table: RequestTable) -> Contents:
        return cls(table.schema, tuple(name for name in OPTIONAL if getattr(table, name) is not None))


def check_alike(path: Place, contents: Contents, first_path: Place, first: Contents, found: Found) -> bool:
    """Report where a file differs from the first one; False if their schemas do."""
    if contents.schema != first.schema:
        difference = schema_difference(contents.schema, first.schema)
        found(Problem(f"the schema is not that of {first_path}: {difference}", file=str(path)))
        return False
    for name in OPTIONAL:
        if (name in contents.optional) != (name in first.optional):
            has = "has" if name in first.optional else "lacks"
            reason = f"{first_path} {has} this column and this file does not agree; write it in all or in none"
            found(Problem(reason, name, file=str(path)))
    return True


def check_repeats(read: Sequence[tuple[Place, RequestTable]], found: Found) -> None:
    """Report request ids that stand in two files."""
    if not read:
        return
    ids = np.concatenate([table.request_id for _, table in read])
    sizes = [len(table) for _, table in read]
    file = np.repeat(np.arange(len(read)), sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    later, earlier = order[again + 1], order[again]
    for first in np.unique(file[later], return_index=True)[1]:  # one report per file
        this, that = later[first], earlier[first]
        reason = f"the request id stands in {read[file[that]][0]}, row {row[that]} as well"
        where = str(read[file[this]][0])
        found(Problem(reason, "request_id", int(row[this]), int(ids[this]), file=where))


def joined(read: Sequence[tuple[Place, RequestTable]]) -> RequestTable:
    """The tables of files one after the other, with the IPUT floor of the first."""
    floor = read[0][1].iput_floor
    return RequestTable.concat([table.with_iput_floor(floor) for _, table in read])


def _arrow(table: RequestTable, column: Column) -> pa.Array | None:
    values = getattr(table, column.field)
    if values is None:
        return None
    if column.index is not None:
        values = values[:, column.index]
    array = pa.array(np.ascontiguousarray(values), ARROW[column.kind])
    if not column.ragged:
        return array
    fits = table.offsets[-1] <= np.iinfo(np.int32).max
    kind, edges = (pa.ListArray, pa.int32()) if fits else (pa.LargeListArray, pa.int64())
    return kind.from_arrays(pa.array(table.offsets, edges), array)
