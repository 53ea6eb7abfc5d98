"""The steps from a long table to requests on this machine; Spark (:mod:`emer.data.spark`) shares all but reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emer.data.buckets import Buckets, buckets_for
from emer.data.csv_files import FIRST_LINE
from emer.data.grouping import RequestError, group
from emer.data.long_mapping import LongMapping
from emer.data.metadata import SPLITS
from emer.data.parquet import write_requests
from emer.data.raw import estimated_rows, is_text, read_part
from emer.data.stable_hash import bucket_of
from emer.data.time_cuts import TimeHistogram
from emer.errors import DataError
from emer.files import write_json
from emer.progress import counting


def build_requests(
    mapping: LongMapping, files: Sequence[Path], fractions: Sequence[float], between: Path, result: Path
) -> dict[str, Any]:
    """Write ``<split>/part-<bucket>.parquet`` below ``result``, on this machine, with bounded memory.

    Returns:
        Requests and candidates of each split.
    """
    rows = [estimated_rows(path) for path in files]
    count = buckets_for(sum(rows))
    buckets = Buckets(between / f"of-{count}", count)
    with counting("Reading", sum(rows)) as advance:
        for number, path in enumerate(files):
            if buckets.has(number):
                advance(rows[number])
            else:
                batches = _mapped(mapping, path, buckets.folder / f"times-{number:06}.parquet", advance)
                buckets.write(number, batches, bucket_of("request_id", count))
    times = TimeHistogram()
    for path in sorted(buckets.folder.glob("times-*.parquet")):
        times.join(TimeHistogram.load(path))
    cuts = histogram_cuts(times, files, fractions)
    counts: list[dict[str, Any]] = []
    with counting("Grouping", count) as advance:
        for number in range(count):
            done = buckets.folder / f"grouped-{number:06}.json"
            if not done.is_file():
                try:
                    found = write_bucket(buckets.read(number), mapping, cuts, result, f"part-{number:05}")
                except RequestError as fault:
                    raise _located(fault, mapping, files) from fault
                write_json(done, found)
            counts.append(json.loads(done.read_text()))
            advance(1)
    return total(counts)


def write_bucket(
    rows: pl.DataFrame, mapping: LongMapping, cuts: tuple[int, int], result: Path, name: str
) -> dict[str, dict[str, int]]:
    """Group the rows of a bucket and write each split's requests, if it has any.

    Returns:
        Requests and candidates of each split.
    """
    counts = {split: {"requests": 0, "candidates": 0} for split in SPLITS}
    if rows.is_empty():
        return counts
    table = group(rows, mapping.schema)
    part = np.searchsorted(np.array(cuts), table.time_ms, side="right")
    for number, split in enumerate(SPLITS):
        chosen = table.select(part == number)
        counts[split] = {"requests": len(chosen), "candidates": int(chosen.offsets[-1])}
        if len(chosen):
            write_requests(chosen, result / split / f"{name}.parquet")
    return counts


def total(counts: Sequence[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """The sums, split by split.

    Raises:
        DataError: a split has no request.
    """
    summed = {
        split: {key: sum(c[split][key] for c in counts) for key in ("requests", "candidates")} for split in SPLITS
    }
    for split, found in summed.items():
        if not found["requests"]:
            raise DataError(f"no request falls into the {split} split; give other data.source.fractions")
    return summed


def _mapped(mapping: LongMapping, path: Path, times: Path, advance: Any) -> Iterator[pl.DataFrame]:
    histogram = TimeHistogram()
    for batch in read_part(mapping.part(path)):
        rows = mapping.apply(batch)
        histogram.add(rows["time_ms"])
        advance(batch.height)
        yield rows
    histogram.save(times)


def _located(fault: RequestError, mapping: LongMapping, files: Sequence[Path]) -> DataError:
    """The fault with its rows' places: a second reading, made only once something went wrong."""

    def rows() -> Iterator[tuple[int, str]]:
        for path in files:
            for batch in read_part(mapping.part(path)):
                for value, line in faulty(fault, mapping.apply(batch).with_columns(batch["line"])):
                    yield value, f"{path}, " + (f"line {line + FIRST_LINE}" if is_text(path) else f"row {line}")

    return placed(fault, mapping, rows())


def faulty(fault: RequestError, rows: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Of the rows at fault: the value, and what ``line`` holds."""
    wrong = rows.filter(pl.col("request_id") == fault.request_id, pl.col(fault.column).is_in(fault.values))
    return wrong.select(fault.column, "line").iter_rows()


def placed(fault: RequestError, mapping: LongMapping, rows: Iterable[tuple[int, str]]) -> DataError:
    """The fault with two places in words; ``rows`` are values and places."""
    places: dict[int, str] = {}
    for value, place in rows:
        # Two values: the first row of each. One that is twice there: its first two rows.
        places.setdefault(value if len(fault.values) > 1 else len(places), place)
        if len(places) == 2:
            break
    own = next(c.column for c in mapping.columns if c.name == fault.column)
    text = str(fault).replace(f"column {fault.column}:", f"column {own}:")
    return DataError(f"{' and '.join(places.values())}: {text}")


def histogram_cuts(times: TimeHistogram, files: Sequence[Path], fractions: Sequence[float]) -> tuple[int, int]:
    """Where validation and test begin.

    Raises:
        DataError: the files hold no rows, or too few different times.
    """
    if times.bins.is_empty():
        raise DataError(f"{', '.join(str(path) for path in files[:3])}: no rows below the names of the columns")
    return times.cuts(fractions)
