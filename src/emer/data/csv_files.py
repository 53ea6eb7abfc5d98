"""Where a CSV file of a public data set is at fault: the header, or the first bad cell."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from emer.data.adapter import Part
from emer.errors import DataError

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "|"}

FIRST_LINE = 2
"""Line of a CSV file's first row, as an editor counts it: the header is line 1."""


def check_header(path: Path, columns: Collection[str]) -> None:
    """Refuse a file that is empty, not UTF-8 text, or lacks one of ``columns`` or has it twice.

    Raises:
        DataError: naming what is missing and what is there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            header = next(csv.reader([line]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a UTF-8 text file; is it still compressed, or in another encoding?") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if "\0" in line:
        raise DataError(f"{path} is not a UTF-8 text file; save it as UTF-8")
    if not line.strip():
        raise DataError(f"{path} is empty, or its first line is; the first line names the columns")
    missing = [c for c in columns if c not in header]
    if missing:
        other = next((name for mark, name in _SEPARATORS.items() if len(header) == 1 and mark in line), None)
        hint = "" if other is None else f"; its cells are separated by {other}: write it with commas"
        if {name.strip() for name in header}.issuperset(missing):
            hint = "; its names have spaces around them: remove these"
        raise DataError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header)}{hint}")
    twice = [c for c in columns if header.count(c) > 1]
    if twice:
        raise DataError(f"{path} has the column {', '.join(twice)} twice; rename one of them")


def locate(part: Part) -> DataError | None:
    """The first cell at fault: a second reading, as text, made only once something went wrong."""
    text = pl.scan_csv(part.path, glob=False, infer_schema=False, null_values=part.null, row_index_name="line").select(
        "line", *part.columns
    )
    faults = {
        name: pl.col(name).cast(kind, strict=False).is_null()
        & (pl.col(name).is_not_null() if name in part.optional else pl.lit(True))
        for name, kind in part.columns.items()
    }
    try:
        first = text.filter(pl.any_horizontal(faults.values())).head(1).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return _malformed(part.path)
    if first.is_empty():
        return _malformed(part.path)
    name = next(name for name, wrong in faults.items() if first.select(wrong).item())
    value = first[name][0]
    shown = "empty" if value is None else f"{value!r}, not a value of type {part.columns[name]}"
    return part.advised(name, f"{part.path}, line {first['line'][0] + FIRST_LINE}, column {name}: the cell is {shown}")


def _malformed(path: Path) -> DataError | None:
    """The first line that is no UTF-8, has a quote where none may be, or more cells than the header."""
    record: list[str] = []
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        with path.open("rb") as file:
            for line in file:
                number += 1
                record.append(line.decode())
                yield record[-1]

    rows = csv.reader(lines(), strict=True)
    begin, width, fault = 1, None, None
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                fault = f"{len(row)} cells, and the header has {width}; a cell with a comma in it stands in quotes"
            elif '"' in "".join(row) and '""' not in "".join(record):
                fault = "a quote inside a cell; put the cell in quotes and write the quote twice"
            if fault is not None:
                return DataError(f"{path}, line {begin}: {fault}")
            begin = number + 1
            record.clear()
    except UnicodeDecodeError:
        return DataError(f"{path}, line {number}: this is not UTF-8; save the file as UTF-8")
    except csv.Error as error:
        return DataError(f"{path}, line {begin}: this is no CSV ({error}); is a quote not closed?")
    return None
