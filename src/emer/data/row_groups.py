"""Request Parquet one row group at a time: memory holds a row group, however large the files are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emer.data.checks import Problem
from emer.data.metadata import KEY, find_metadata, schema_difference
from emer.data.reading import _FileReader, refuse
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Schema


def count_requests(files: Sequence[Path]) -> int:
    """Requests in ``files`` by their footers; those that cannot be opened count 0."""
    total = 0
    for path in files:
        try:
            total += pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError):
            continue
    return total


def row_groups(files: Sequence[Path], schema: Schema | None = None) -> Iterator[tuple[Path, RequestTable]]:
    """Every row group of ``files``, in order, checked as :func:`emer.data.parquet.read_requests` does.

    Request ids that repeat are noticed within a row group only.

    Args:
        files: must agree in schema and optional columns.
        schema: for files that carry none.

    Raises:
        DataError: the first problem, with file, row (of the file), column and reason.
    """
    first: tuple[Path, RequestTable] | None = None
    for path in files:
        for table in _of_file(path, schema):
            if first is None:
                first = (path, table)
            _check_alike(path, table, *first)
            yield path, table


def _of_file(path: Path, schema: Schema | None) -> Iterator[RequestTable]:
    start = 0

    def found(problem: Problem) -> None:
        refuse(problem if problem.row is None else replace(problem, row=problem.row + start))

    reader = _FileReader(path, schema, found)
    file = reader._open()
    assert file is not None  # else refused
    with file:
        metadata = find_metadata(path, (file.schema_arrow.metadata or {}).get(KEY), schema)
        columns = reader._present(file.schema_arrow, metadata.schema)
        if file.metadata.num_rows == 0:
            raise DataError(f"{path}: the file has no rows; delete it")
        for group in range(file.num_row_groups):
            try:
                data = file.read_row_group(group, [column.name for column in columns])
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path}: the file is damaged or truncated, write it again ({error})") from error
            if data.num_rows:
                table = reader._table(metadata, data, columns)
                assert table is not None  # else refused
                yield table
            start += data.num_rows


def _check_alike(path: Path, table: RequestTable, first_path: Path, first: RequestTable) -> None:
    if table.schema != first.schema:
        difference = schema_difference(table.schema, first.schema)
        raise DataError(f"{path}: the schema is not that of {first_path}: {difference}")
    for name in table.differing_columns(first):
        has = "has" if getattr(first, name) is not None else "lacks"
        reason = f"{first_path} {has} this column and this file does not agree; write it in all or in none"
        raise DataError(f"{path}, column {name}: {reason}")
