"""The long-form preparation on Spark: the same mapping, checks and grouping, run by its executors.

Spark reads the files in pieces and brings the rows of a bucket together; everything else is the code that one machine
runs, so that the requests are the same, file for file. Files and results lie on storage that driver and executors see
under one path.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from emer.data.adapter import Part
from emer.data.buckets import buckets_for
from emer.data.columns import Kind
from emer.data.csv_files import check_header
from emer.data.grouping import RequestError
from emer.data.long_build import faulty, histogram_cuts, placed, total, write_bucket
from emer.data.long_mapping import LongMapping
from emer.data.raw import Where, check_cells, estimated_rows, is_text, parquet_schema, typed
from emer.data.spark_session import session
from emer.data.stable_hash import bucket_of
from emer.data.time_cuts import TimeHistogram
from emer.errors import DataError, EmerError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NULL = "\0"  # Spark would read a quoted empty text as null; Polars does not
_FILE, _ROW, _BUCKET = "_emer_file", "_emer_row", "_emer_bucket"
_SQL = {Kind.INTEGER: "bigint", Kind.FLOAT: "float", Kind.BOOLEAN: "boolean"}
_HISTOGRAM = "width bigint, bin bigint, rows bigint"

Batches = Iterator[pa.RecordBatch]
Checked = Iterator[tuple[pl.DataFrame, Where]]
Then = Callable[[Checked], Batches]


def build_requests(
    mapping: LongMapping, files: Sequence[Path], fractions: Sequence[float], between: Path, result: Path
) -> dict[str, Any]:
    """As :func:`emer.data.long_build.build_requests`, with the same result; nothing is kept in ``between``.

    The files are read twice: first for the times, of which the split into train, validation and test comes.

    Raises:
        DataError: as there, but in a CSV file a faulty row is named by its request; or the file is of a kind that
            Spark reads otherwise.
        EmerError: Spark or Java is missing, or Spark fails.
    """
    kinds = _kinds(mapping, [file.absolute() for file in files])
    count = buckets_for(sum(map(estimated_rows, files)))
    shutil.rmtree(result)  # what an interrupted attempt has left
    result.mkdir()
    with session() as spark:
        cuts = histogram_cuts(_times(spark, mapping, kinds), files, fractions)
        rows = _rows(spark, mapping, kinds, count)
        folder = result.absolute()

        def write(group: pa.Table) -> pa.Table:  # no partial: Spark looks at the types of its arguments
            return _write_group(mapping, cuts, folder, group)

        done = rows.groupBy(_BUCKET).applyInArrow(write, "name string, counts string, fault string").toArrow()
        for row in done.sort_by("name").to_pylist():
            if row["fault"]:
                raise _located(spark, mapping, kinds, RequestError(*json.loads(row["fault"])))
    counts = {row["name"]: json.loads(row["counts"]) for row in done.to_pylist()}
    _check_written(counts, result)
    return total(list(counts.values()))


@dataclass(frozen=True)
class _Kind:
    """Files that Spark can read as one table.

    Attributes:
        files: absolute paths.
        csv: or Parquet.
        names: of all columns, in order.
    """

    files: tuple[Path, ...]
    csv: bool
    names: tuple[str, ...]


def _kinds(mapping: LongMapping, files: Sequence[Path]) -> list[_Kind]:
    """``files`` by their columns: Spark takes those of the first for those of all."""
    found: dict[tuple[Any, ...], list[Path]] = {}
    key: tuple[Any, ...]
    for path in files:
        part = mapping.part(path)
        if path.name.startswith(("_", ".")):
            raise DataError(f"{path}: Spark passes over files whose names begin with {path.name[0]}; rename it")
        if is_text(path):
            check_header(path, part.columns)
            key = (True, *pl.scan_csv(path, glob=False, infer_schema=False).collect_schema().names())
        elif path.suffix.lower() == ".parquet":
            schema = parquet_schema(part)
            for name in part.columns:
                _check_type(path, schema.field(name), part.columns[name] == pl.String)
            key = (False, *((field.name, str(field.type)) for field in schema if field.name in part.columns))
        else:
            raise DataError(f"{path}: Spark reads CSV and Parquet; write it so, or take data.source.engine=polars")
        found.setdefault(key, []).append(path)
    return [
        _Kind(tuple(paths), csv, tuple(names if csv else (name for name, _ in names)))
        for (csv, *names), paths in found.items()
    ]


def _check_type(path: Path, field: pa.Field, text: bool) -> None:
    """Refuse types that Spark cannot read, or gives other values than Polars does."""
    is_ = pa.types
    kind = field.type.value_type if is_.is_dictionary(field.type) else field.type
    known = (is_.is_integer, is_.is_floating, is_.is_decimal, is_.is_boolean, is_.is_string, is_.is_large_string)
    moment = is_.is_date32(kind) or (is_.is_timestamp(kind) and kind.unit in ("ms", "us"))
    if not any(is_known(kind) for is_known in known) and not (text and moment):
        reason = "on Spark it must be a number, a flag or text; write it so, or take data.source.engine=polars"
        raise DataError(f"{path}, column {field.name}: the type is {field.type}; {reason}")


def _read(spark: SparkSession, kind: _Kind, wanted: Sequence[str]) -> DataFrame:
    """The columns ``wanted``, those of CSV as text, with the file's name and in Parquet the row's position."""
    from pyspark.sql import functions as F

    paths = ["file://" + re.sub(r"([\[\]{}*?\\])", r"\\\1", str(path)) for path in kind.files]
    file = F.col("_metadata.file_name").alias(_FILE)
    if not kind.csv:
        columns = [F.col(f"`{name.replace('`', '``')}`") for name in wanted]
        return spark.read.parquet(*paths).select(*columns, file, F.col("_metadata.row_index").alias(_ROW))
    # Numbered, since a header may have a name twice. All cells are parsed, or a line with too few would not be noticed.
    spark.conf.set("spark.sql.csv.parser.columnPruning.enabled", "false")
    numbered = ", ".join(f"c{place} string" for place in range(len(kind.names)))
    table = spark.read.csv(
        paths, schema=numbered, header=True, mode="FAILFAST", escape='"', nullValue=_NULL, emptyValue=""
    )
    return table.select(*(F.col(f"c{kind.names.index(name)}").alias(name) for name in wanted), file)


def _rows(spark: SparkSession, mapping: LongMapping, kinds: Sequence[_Kind], buckets: int) -> DataFrame:
    """Every row with the columns of request Parquet and its bucket."""
    types = [f"`{column.name}` {_SQL[column.kind]}" for column in mapping.columns]
    schema = ", ".join([*types, f"{_BUCKET} int"])
    return _united(_mapped(spark, mapping, kind, partial(_bucketed, buckets), schema) for kind in kinds)


def _times(spark: SparkSession, mapping: LongMapping, kinds: Sequence[_Kind]) -> TimeHistogram:
    """The histogram of all rows, whatever the order in which Spark counts them."""
    # The request is read as well, for messages.
    only = replace(mapping, columns=tuple(c for c in mapping.columns if c.name in ("request_id", "time_ms")))
    counted = _united(_mapped(spark, only, kind, _counted, _HISTOGRAM) for kind in kinds)
    joined = counted.repartition(1).mapInArrow(_joined, _HISTOGRAM).toArrow()
    return _histogram(pl.DataFrame(joined))


def _united(tables: Iterator[DataFrame]) -> DataFrame:
    first = next(tables)
    for table in tables:
        first = first.unionAll(table)
    return first


def _located(spark: SparkSession, mapping: LongMapping, kinds: Sequence[_Kind], fault: RequestError) -> DataError:
    """The fault with the places of two of its rows: a third reading, made only once something went wrong."""
    find = partial(_faulty, fault.request_id, fault.column, fault.values)
    found = _united(_mapped(spark, mapping, kind, find, "value bigint, place string") for kind in kinds).toArrow()
    return placed(fault, mapping, sorted((row["value"], row["place"]) for row in found.to_pylist()))


def _mapped(spark: SparkSession, mapping: LongMapping, kind: _Kind, then: Then, out: str) -> DataFrame:
    wanted = list(mapping.part(kind.files[0]).columns)
    return _read(spark, kind, wanted).mapInArrow(partial(_apply, mapping, kind, then), out)


# What follows runs in the executors.


def _apply(mapping: LongMapping, kind: _Kind, then: Then, batches: Batches) -> Batches:
    part = mapping.part(kind.files[0])
    request = next(column.column for column in mapping.columns if column.name == "request_id")

    def mapped() -> Checked:
        for batch in batches:
            raw = pl.DataFrame(batch)
            place = partial(_place, kind, raw, request)
            yield mapping.apply(_checked(part, kind.csv, raw, place)), place

    return then(mapped())


def _place(kind: _Kind, raw: pl.DataFrame, request: str, row: int) -> str:
    path = next(path for path in kind.files if path.name == unquote(raw[_FILE][row]))
    return f"{path}, {request} {raw[request][row]}" if kind.csv else f"{path}, row {raw[_ROW][row]}"


def _checked(part: Part, csv: bool, raw: pl.DataFrame, place: Where) -> pl.DataFrame:
    """As :func:`emer.data.raw.read_part` does."""
    for name, type_ in part.columns.items():
        broken = raw[name].str.contains("\ufffd", literal=True) if csv and type_ == pl.String else pl.Series([False])
        if broken.any():
            raise DataError(f"{place(int(broken.arg_true()[0]))}, column {name}: this is not UTF-8; save the file so")
    cells = typed(part, raw, place)
    check_cells(part, cells, place)
    return cells


def _faulty(request_id: int, column: str, values: Sequence[int], batches: Checked) -> Batches:
    fault = RequestError(request_id, column, tuple(values), "")
    for rows, place in batches:
        for value, row in faulty(fault, rows.with_row_index("line")):
            yield pa.RecordBatch.from_pylist([{"value": value, "place": place(row)}])


def _bucketed(buckets: int, batches: Checked) -> Batches:
    for rows, _ in batches:
        yield from _arrow(rows.with_columns(bucket_of("request_id", buckets).alias(_BUCKET)))


def _counted(batches: Checked) -> Batches:
    times = TimeHistogram()
    for rows, _ in batches:
        times.add(rows["time_ms"])
    yield from _saved(times)


def _joined(batches: Batches) -> Batches:
    times = TimeHistogram()
    for batch in batches:
        for rows in pl.DataFrame(batch).partition_by("width"):
            times.join(_histogram(rows))
    yield from _saved(times)


def _saved(times: TimeHistogram) -> Batches:
    width = pl.lit(times.width, pl.Int64).alias("width")
    return _arrow(times.bins.select(width, pl.col("bin"), pl.col("rows").cast(pl.Int64)))


def _histogram(saved: pl.DataFrame) -> TimeHistogram:
    width = int(saved["width"][0]) if saved.height else 1
    return TimeHistogram(width, saved.select("bin", pl.col("rows").cast(pl.UInt64)))


def _arrow(rows: pl.DataFrame) -> Batches:
    yield from rows.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def _write_group(mapping: LongMapping, cuts: tuple[int, int], result: Path, group: pa.Table) -> pa.Table:
    """Write the requests of a bucket where :func:`emer.data.long_build.build_requests` would."""
    rows = pl.DataFrame(group)
    name = f"part-{rows[_BUCKET][0]:05}"
    counts, fault = "", ""
    try:
        counts = json.dumps(write_bucket(rows.drop(_BUCKET), mapping, cuts, result, name))
    except RequestError as error:
        fault = json.dumps([error.request_id, error.column, error.values, str(error).partition(": ")[2]])
    return pa.table({"name": [name], "counts": [counts], "fault": [fault]})


def _check_written(counts: dict[str, dict[str, dict[str, int]]], result: Path) -> None:
    """Refuse to go on where executors have written to a disk of their own."""
    for name, splits in counts.items():
        for split, found in splits.items():
            if found["requests"] and not (result / split / f"{name}.parquet").is_file():
                raise EmerError(
                    f"the executors of Spark wrote {name}.parquet to a {result / split} that is not the driver's; "
                    "give paths.cache_dir= on storage that all of them share"
                )
