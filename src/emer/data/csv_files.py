"""CSV files of a public data set: read with types, and errors that name file, line and column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from emer.errors import DataError

Types = Mapping[str, pl.DataType | type[pl.DataType]]


def read_csv(
    path: Path,
    columns: Types,
    *,
    optional: Collection[str] = (),
    checks: Mapping[str, pl.Expr] | None = None,
    where: pl.Expr | None = None,
) -> pl.DataFrame:
    """The named columns of a CSV file with a header line.

    Args:
        path: the file.
        columns: name -> type. Other columns of the file are not read.
        optional: columns that may hold empty cells; these become null.
        checks: column -> Boolean expression that must hold in every row.
        where: keep only the rows for which this holds (applied while reading).

    Raises:
        DataError: the file is missing, empty or not text; a column is missing; a cell cannot be read as its
            type, is empty where it must not be, or fails a check. Lines are counted from 1, the header.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    _check_header(path, columns)
    scan = pl.scan_csv(path, schema_overrides=dict(columns), infer_schema=False, row_index_name="line")
    scan = scan.select("line", *columns)
    try:
        frame = (scan if where is None else scan.filter(where)).collect()
    except pl.exceptions.PolarsError as error:
        raise _located(path, columns, optional) or DataError(
            f"{path} cannot be read as CSV: {_first_line(error)}"
        ) from error
    if any(frame[c].null_count() for c in columns if c not in optional):
        raise _located(path, columns, optional) or DataError(f"{path} has empty cells")
    for name, holds in (checks or {}).items():
        wrong = frame.filter(~holds)
        if not wrong.is_empty():
            raise DataError(f"{path}, line {wrong['line'][0] + 2}, column {name}: {wrong[name][0]} is not possible")
    return frame.drop("line")


def _check_header(path: Path, columns: Collection[str]) -> None:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [name.strip().strip('"') for name in file.readline().strip().split(",")]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file; is it still compressed?") from error
    if header == [""]:
        raise DataError(f"{path} is empty")
    missing = [c for c in columns if c not in header]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header)}")


def _located(path: Path, columns: Types, optional: Collection[str]) -> DataError | None:
    """The first cell at fault: a second reading, as text, made only once something went wrong."""
    try:
        text = pl.read_csv(path, columns=list(columns), infer_schema=False, truncate_ragged_lines=True)
    except pl.exceptions.PolarsError:
        return None
    faults = []
    for name, kind in columns.items():
        wrong = text[name].cast(kind, strict=False).is_null()
        if name in optional:
            wrong &= text[name].is_not_null()
        if wrong.any():
            faults.append((int(wrong.arg_true()[0]), name))
    if not faults:
        return None
    row, name = min(faults)
    value = text[name][row]
    shown = "empty" if value is None else f"{value!r}, not a value of type {columns[name]}"
    return DataError(f"{path}, line {row + 2}, column {name}: the cell is {shown}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
