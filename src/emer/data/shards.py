"""The files of one split as blocks (Parquet row groups), any of which can be read alone."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emer.data.arrays import check_iput_floor
from emer.data.metadata import SPLITS
from emer.data.parquet import Contents, check_alike
from emer.data.places import Place
from emer.data.reading import FileReader, Header, refuse
from emer.data.splits import overlaps, split_files
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Schema

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shards:
    """Where each of the B blocks of a split stands. Files are in order of their names; make one with :meth:`index`.

    Attributes:
        contents: schema and optional columns of all files.
        iput_floor: seconds, of the tables that are read; ranks stored for another floor are computed anew.
        files: the files.
        given: the schema that was asked for, or None.
        file, group: (B,) int64, the file of each block and its row group there.
        first: (B + 1,) int64, position of each block's first request in the split.
        time_ms: first and last time of each file that says so.
    """

    contents: Contents
    iput_floor: float
    files: tuple[Place, ...]
    given: Schema | None
    file: np.ndarray
    group: np.ndarray
    first: np.ndarray
    time_ms: np.ndarray

    @classmethod
    def index(cls, files: Sequence[Place], *, iput_floor: float = 1.0, schema: Schema | None = None) -> Shards:
        """Read the headers of ``files``, no requests.

        Raises:
            DataError: the first file that is missing, damaged, of another schema or without a column.
        """
        check_iput_floor(iput_floor)
        headers: list[Header] = []
        contents: list[Contents] = []
        for path in files:
            header = FileReader(path, schema, refuse).header()
            assert header is not None  # what is wrong was raised
            optional = tuple(column.name for column in header.columns if column.optional)
            headers.append(header)
            contents.append(Contents(header.metadata.schema, optional))
            check_alike(path, contents[-1], files[0], contents[0], refuse)
        # An empty row group is allowed, and nothing to read.
        blocks = [
            (file, group, size)
            for file, header in enumerate(headers)
            for group, size in enumerate(header.sizes)
            if size > 0
        ]
        file, group, size = np.array(blocks, dtype=np.int64).T
        return cls(
            contents=contents[0],
            iput_floor=iput_floor,
            files=tuple(files),
            given=schema,
            file=file,
            group=group,
            first=np.concatenate([[0], np.cumsum(size)]),
            time_ms=np.concatenate([header.time_ms for header in headers]),
        )

    @property
    def schema(self) -> Schema:
        return self.contents.schema

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def sizes(self) -> np.ndarray:
        """(B,) requests of each block."""
        return np.diff(self.first)

    def block(self, number: int) -> RequestTable:
        """One block, checked as a whole file would be.

        Raises:
            DataError: a value breaks the contract, or the file was changed since :meth:`index`; names file and row.
        """
        path = self.files[self.file[number]]
        table = FileReader(path, self.given, refuse).read(int(self.group[number]))
        assert table is not None  # what is wrong was raised
        if len(table) != self.sizes[number] or table.schema != self.schema:
            raise DataError(f"{path}: the file has changed while it was in use; start again")
        return table.with_iput_floor(self.iput_floor)

    def sample(self, requests: int) -> RequestTable:
        """At most ``requests`` requests, of whole blocks that lie evenly over the split; all where it has no more.

        Raises:
            DataError: as :meth:`block`.
        """
        blocks = self.sizes.size
        count = min(blocks, -(-requests * blocks // len(self)))
        numbers = np.linspace(0, blocks - 1, count).astype(np.int64)
        table = self.joined(numbers, [self.block(number) for number in numbers])
        if len(table) <= requests:
            return table
        return table.select(np.linspace(0, len(table) - 1, requests).astype(np.int64))

    def joined(self, numbers: Iterable[int], parts: Sequence[RequestTable]) -> RequestTable:
        """Parts of the blocks ``numbers``, one after the other.

        Raises:
            DataError: two of them share a request id.
        """
        try:
            return RequestTable.concat(parts)
        except DataError as error:
            files = ", ".join(dict.fromkeys(str(self.files[self.file[number]]) for number in numbers))
            raise DataError(f"{files}: {error}; `emer validate` names the rows") from error


def index_splits(root: Place | str, *, iput_floor: float = 1.0, schema: Schema | None = None) -> dict[str, Shards]:
    """Index train, validation and test of a log whose requests stay in its files.

    Arguments as in :func:`emer.data.splits.read_splits`. That a request id stands in two places is not seen here;
    ``emer validate`` sees it.

    Raises:
        DataError: as :meth:`Shards.index`, or ``root`` is a flat folder. Splits that overlap in time, by the files'
            own statistics, are only warned about.
    """
    files = split_files(root)
    if "all" in files:
        raise DataError(
            f"{root}: a folder without the sub folders {', '.join(SPLITS)} is split by time, which needs all of it in "
            "memory. Write the three sub folders, or set loader.stream=false"
        )
    found = {name: Shards.index(files[name], iput_floor=iput_floor, schema=schema) for name in SPLITS}
    train = found["train"]
    for shards in found.values():
        check_alike(shards.files[0], shards.contents, train.files[0], train.contents, refuse)
    for warning in overlaps({name: shards.time_ms for name, shards in found.items()}):
        log.warning("%s: %s", root, warning)
    return found


class BlockReader:
    """Reads requests of a split by block and row. The last block is kept: the next window often begins in it."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self._last: tuple[int, RequestTable] | None = None

    def read(self, block: np.ndarray, row: np.ndarray) -> RequestTable:
        """The requests at ``row`` of ``block`` ((n,) each), in that order; runs of one block are read once.

        Raises:
            DataError: as :meth:`Shards.block`; or a request id stands in two blocks.
        """
        edges = [0, *(np.flatnonzero(np.diff(block)) + 1), block.size]
        numbers, parts = block[edges[:-1]], []
        for start, stop in itertools.pairwise(edges):
            table, rows = self._block(int(block[start])), row[start:stop]
            whole = rows.size == len(table) and np.array_equal(rows, np.arange(rows.size))
            parts.append(table if whole else table.select(rows))
        return self.shards.joined(numbers, parts)

    def _block(self, number: int) -> RequestTable:
        if self._last is None or self._last[0] != number:
            self._last = None  # two of them at once would cost memory
            self._last = number, self.shards.block(number)
        return self._last[1]
