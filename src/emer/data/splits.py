"""Train, validation and test: three sub folders, or one folder cut along time."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from emer.data.metadata import SPLITS
from emer.data.parquet import check_repeats, joined, parquet_files, read_files
from emer.data.places import Place, place
from emer.data.reading import refuse
from emer.data.table import RequestTable
from emer.data.time_cuts import check_fractions
from emer.errors import DataError
from emer.requests import Schema

log = logging.getLogger(__name__)

DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)


class Splits(NamedTuple):
    """The three parts of a log."""

    train: RequestTable
    validation: RequestTable
    test: RequestTable


def split_files(root: Place | str) -> dict[str, list[Place]]:
    """Parquet files by split, or all under ``"all"`` where ``root`` is a flat folder (or one file).

    Raises:
        DataError: no such folder, no Parquet files, some of the three sub folders missing, or files both in
            sub folders and beside them.
    """
    root = place(root)
    there = [name for name in SPLITS if (root / name).is_dir()]
    if not there:
        if root.is_dir() and not any(root.glob("*.parquet")):
            raise DataError(f"{root}: the folder holds neither the sub folders {', '.join(SPLITS)} nor *.parquet files")
        return {"all": parquet_files(root)}
    missing = [name for name in SPLITS if name not in there]
    if missing:
        raise DataError(
            f"{root}: the sub folder {missing[0]} is missing. Give all of {', '.join(SPLITS)}, or put the "
            "files into the folder itself to have them split by time"
        )
    if any(root.glob("*.parquet")):
        raise DataError(f"{root}: *.parquet files lie beside the sub folders {', '.join(SPLITS)}; move them")
    return {name: parquet_files(root / name) for name in SPLITS}


def read_splits(
    root: Place | str,
    *,
    iput_floor: float = 1.0,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    schema: Schema | None = None,
) -> Splits:
    """Read a log in request Parquet format.

    Args:
        root: a folder (or its URL) with the sub folders train, validation and test, or a flat one that is cut by
            :func:`split_by_time`.
        iput_floor: seconds, as in :func:`emer.data.parquet.read_requests`.
        fractions: shares of a flat folder's requests; unused with sub folders.
        schema: for files that carry none.

    Raises:
        DataError: the first problem found. Splits that overlap in time are only warned about.
    """
    files = split_files(root)
    read = read_files([path for paths in files.values() for path in paths], schema, refuse)
    check_repeats(read, refuse)
    if "all" in files:
        return split_by_time(joined(read).with_iput_floor(iput_floor), fractions)
    tables = dict(read)
    parts = [[(path, tables[path]) for path in files[name]] for name in SPLITS]
    splits = Splits(*(joined(part).with_iput_floor(iput_floor) for part in parts))
    for warning in overlaps({name: table.time_ms for name, table in splits._asdict().items()}):
        log.warning("%s: %s", root, warning)
    return splits


def overlaps(time_ms: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What is odd about the times of splits: one that does not lie wholly before the next."""
    there = [name for name in SPLITS if name in time_ms and time_ms[name].size]
    for earlier, later in itertools.pairwise(there):
        last, first = int(time_ms[earlier].max()), int(time_ms[later].min())
        if last >= first:
            yield (
                f"{earlier} ends at time_ms {last}, not before {later} begins at {first}: "
                "the results then tell less about requests yet to come"
            )


def split_by_time(table: RequestTable, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> Splits:
    """Cut a log along time, each part sorted by ``time_ms`` and then ``request_id``.

    Every request of one part is strictly earlier than every one of the next: a cut that would fall among
    requests of one timestamp moves to the nearest change of timestamp.

    Raises:
        DataError: the fractions are not three positive numbers that sum to 1, or there are fewer than three
            distinct timestamps.
    """
    check_fractions(fractions, "fractions")
    order = np.lexsort((table.request_id, table.time_ms))
    time = table.time_ms[order]
    changes = np.flatnonzero(time[1:] != time[:-1]) + 1
    if changes.size < 2:
        raise DataError(
            f"the log has {changes.size + 1} distinct time_ms in {len(table)} requests; a split along time "
            "needs 3. Give the sub folders train, validation and test instead"
        )
    wanted = np.array([fractions[0], fractions[0] + fractions[1]]) * len(table)
    first = int(np.abs(changes[:-1] - wanted[0]).argmin())
    second = first + 1 + int(np.abs(changes[first + 1 :] - wanted[1]).argmin())
    cuts = [0, changes[first], changes[second], len(table)]
    return Splits(*(table.select(order[start:stop]) for start, stop in itertools.pairwise(cuts)))
