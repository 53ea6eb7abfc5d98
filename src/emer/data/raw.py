"""Official files of a public data set, read batch by batch: memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from emer.data.adapter import Part
from emer.data.casts import cast
from emer.data.csv_files import FIRST_LINE, check_header, locate
from emer.errors import DataError

ROWS = 500_000
"""Rows of a batch."""

Where = Callable[[int], str]
"""Says where a row of a batch stands."""

_SAMPLE_BYTES = 1 << 20
_FEATHER_ROW_BYTES = 40


def read_part(part: Part, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The rows of ``part`` in file order, with their position ``line`` (int64, from 0).

    Args:
        part: what to read.
        rows: about how many rows a batch has.

    Raises:
        DataError: the file is missing, empty, damaged, cut short, or not of its kind; a column is missing; a cell
            cannot be read as its type, is empty where it must not be, or fails a check. File, line (row, where it is no
            text) and column are named.
    """
    if not part.path.is_file():
        raise DataError(f"{part.path} does not exist")
    read = _READERS.get(part.path.suffix.lower(), _csv)
    start = 0
    for batch in read(part, rows):
        named = batch.with_columns(pl.int_range(start, start + batch.height, dtype=pl.Int64).alias("line"))
        check_cells(part, named, partial(_line if read is _csv else _row, part.path, start))
        start += batch.height
        yield named if part.keep is None else named.filter(part.keep)


def read_table(part: Part) -> pl.DataFrame:
    """All rows of ``part`` at once, for tables of users and items; without ``line``.

    Raises:
        DataError: as :func:`read_part`.
    """
    batches = list(read_part(part))
    if not batches:
        return pl.DataFrame(schema=dict(part.columns))
    return pl.concat(batches).drop("line")


def is_text(path: Path) -> bool:
    """Is the file read as CSV? All are whose names do not end like those of another kind."""
    return path.suffix.lower() not in _READERS


def estimated_rows(path: Path) -> int:
    """About how many rows a file has, without reading it."""
    size = path.stat().st_size
    if path.suffix.lower() == ".parquet":
        try:
            return pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError):
            return 0  # read_part says what is wrong with it
    if not is_text(path):
        return size // _FEATHER_ROW_BYTES
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    return size * sample.count(b"\n") // max(1, len(sample))


def first_rows(parts: Sequence[Part], tables: Mapping[str, Sequence[str]]) -> list[pl.DataFrame]:
    """Tables of users and items out of rows of exposures: the first row of every id, in order of appearance.

    Memory grows with the ids, not with the rows.

    Args:
        parts: files with all these columns.
        tables: column of ids -> other columns of its table.

    Returns:
        One table for each of ``tables``.

    Raises:
        DataError: as :func:`read_part`.
    """
    types = parts[0].columns
    found = {key: [pl.DataFrame(schema={c: types[c] for c in (key, *rest)})] for key, rest in tables.items()}
    merged = dict.fromkeys(tables, 0)
    for part in parts:
        for batch in read_part(part):
            for key, columns in tables.items():
                found[key].append(_firsts(batch.select(key, *columns), key))
                # Merged when twice as long as after the last time, so that every row is merged a few times only.
                if sum(frame.height for frame in found[key]) > 2 * merged[key] + ROWS:
                    found[key] = [_firsts(pl.concat(found[key]), key)]
                    merged[key] = found[key][0].height
    return [_firsts(pl.concat(found[key]), key) for key in tables]


def _firsts(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    return frame.unique(key, keep="first", maintain_order=True)


def _csv(part: Part, rows: int) -> Iterator[pl.DataFrame]:
    check_header(part.path, part.columns)
    scan = pl.scan_csv(
        part.path, glob=False, schema_overrides=dict(part.columns), infer_schema=False, null_values=part.null
    ).select(*part.columns)
    try:
        for batch in scan.collect_batches(chunk_size=rows, maintain_order=True):
            if batch.height:
                yield batch
    except pl.exceptions.PolarsError as error:
        raise locate(part) or DataError(f"{part.path} cannot be read as CSV: {first_line(error)}") from error


def _feather(part: Part, rows: int) -> Iterator[pl.DataFrame]:
    try:
        with pa.memory_map(str(part.path)) as source:
            names = pa.ipc.open_file(source).schema.names
            _check_names(part, names)
            # Other columns are not even decompressed.
            options = pa.ipc.IpcReadOptions(included_fields=[names.index(c) for c in part.columns])
            file = pa.ipc.open_file(source, options=options)
            start = 0
            for number in range(file.num_record_batches):
                batch = pl.DataFrame(file.get_batch(number).select(list(part.columns)))
                for cut in batch.iter_slices(rows):
                    yield typed(part, cut, partial(_row, part.path, start))
                    start += cut.height
    except (pa.ArrowException, OSError) as error:
        reason = "is not a Feather (Arrow IPC) file, or one that was cut short"
        raise DataError(f"{part.path} {reason}; get it again ({first_line(error)})") from error


def _parquet(part: Part, rows: int) -> Iterator[pl.DataFrame]:
    parquet_schema(part)
    scan = pl.scan_parquet(part.path, glob=False).select(*part.columns)
    start = 0
    try:
        for batch in scan.collect_batches(chunk_size=rows, maintain_order=True):
            if batch.height:
                yield typed(part, batch, partial(_row, part.path, start))
                start += batch.height
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _no_parquet(part, error) from error


def parquet_schema(part: Part) -> pa.Schema:
    """All columns of a Parquet file.

    Raises:
        DataError: it is no Parquet file, or lacks a column of ``part``.
    """
    try:
        schema = pq.read_schema(part.path)
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(part, error) from error
    _check_names(part, schema.names)
    return schema


def _no_parquet(part: Part, error: Exception) -> DataError:
    reason = "is not a Parquet file, or one that was cut short"
    return DataError(f"{part.path} {reason}; write it again ({first_line(error)})")


def _check_names(part: Part, names: list[str]) -> None:
    missing = [c for c in part.columns if c not in names]
    if missing:
        raise DataError(f"{part.path} lacks the column {', '.join(missing)}; it has {', '.join(names)}")
    twice = [c for c in part.columns if names.count(c) > 1]
    if twice:
        raise DataError(f"{part.path} has the column {', '.join(twice)} twice; rename one of them")


_READERS = {".feather": _feather, ".arrow": _feather, ".parquet": _parquet}


def _line(path: Path, start: int, row: int) -> str:
    return f"{path}, line {start + row + FIRST_LINE}"


def _row(path: Path, start: int, row: int) -> str:
    return f"{path}, row {start + row}"


def typed(part: Part, batch: pl.DataFrame, place: Where) -> pl.DataFrame:
    """The columns of ``part`` in its types, out of others that hold the same values.

    Args:
        part: names and types.
        batch: some of its rows.
        place: says in words where a row of ``batch`` stands.

    Raises:
        DataError: a value cannot be read as its type; names place, column and value.
    """
    columns = []
    for name, kind in part.columns.items():
        values = batch[name]
        found, wrong = cast(values, kind)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            shown = values.dtype if values.dtype.is_nested() else repr(values[row])
            raise part.advised(name, f"{place(row)}, column {name}: {shown} is not a value of type {kind}")
        columns.append(found)
    return pl.DataFrame(columns)


def check_cells(part: Part, batch: pl.DataFrame, place: Where) -> None:
    """Refuse rows with empty cells, or that fail a check of ``part``; arguments as of :func:`typed`.

    Raises:
        DataError: names place, column and value.
    """
    for name in part.columns:
        if name not in part.optional and batch[name].null_count():
            row = int(batch[name].is_null().arg_true()[0])
            raise part.advised(name, f"{place(row)}, column {name}: the cell is empty")
    for name, holds in part.checks.items():
        wrong = batch.select((~holds).arg_true()).to_series()
        if len(wrong):
            row = int(wrong[0])
            shown = repr(batch[name][row]) if batch[name].dtype == pl.String else batch[name][row]
            raise part.advised(name, f"{place(row)}, column {name}: {shown} is not possible")


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def data_folder(root: str | Path | None, advice: str, below: str = "") -> Path:
    """The folder of the official files: ``root``, or ``below`` in it where there is such a folder.

    Raises:
        DataError: ``root`` is not set or not a folder; ends with ``advice``.
    """
    if not root:
        raise DataError(f"data.root is not set. {advice}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. {advice}")
    return folder / below if (folder / below).is_dir() else folder


def existing(path: Path, advice: str) -> Path:
    """``path``, which must be a file.

    Raises:
        DataError: it is not there; ends with ``advice``.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. {advice}")
    return path
