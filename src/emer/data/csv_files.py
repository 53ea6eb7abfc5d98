"""Where a CSV file of a public data set is at fault: the header, or the first bad cell."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl

from emer.data.adapter import Part
from emer.errors import DataError


def check_header(path: Path, columns: Collection[str]) -> None:
    """Refuse a file that is empty, not UTF-8 text, or lacks one of ``columns``.

    Raises:
        DataError: naming what is missing and what is there.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [name.strip().strip('"') for name in file.readline().strip().split(",")]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file; is it still compressed, or in another encoding?") from error
    if header == [""]:
        raise DataError(f"{path} is empty")
    missing = [c for c in columns if c not in header]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header)}")


def locate(part: Part) -> DataError | None:
    """The first cell at fault: a second reading, as text, made only once something went wrong."""
    text = pl.scan_csv(
        part.path,
        glob=False,
        infer_schema=False,
        truncate_ragged_lines=True,
        null_values=part.null,
        row_index_name="line",
    ).select("line", *part.columns)
    faults = {
        name: pl.col(name).cast(kind, strict=False).is_null()
        & (pl.col(name).is_not_null() if name in part.optional else pl.lit(True))
        for name, kind in part.columns.items()
    }
    try:
        first = text.filter(pl.any_horizontal(faults.values())).head(1).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return None
    if first.is_empty():
        return None
    name = next(name for name, wrong in faults.items() if first.select(wrong).item())
    value = first[name][0]
    shown = "empty" if value is None else f"{value!r}, not a value of type {part.columns[name]}"
    return DataError(f"{part.path}, line {first['line'][0] + 2}, column {name}: the cell is {shown}")
