"""A log of exposures on disk, by day and by bucket of users: memory does not grow with the log."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from emer.data.adapter import OPTIONAL, Adapter, Part
from emer.data.buckets import Buckets, buckets_for
from emer.data.log import LogTables
from emer.data.raw import estimated_rows, read_part
from emer.data.stable_hash import bucket_of, share_of
from emer.errors import DataError
from emer.files import atomic_path, write_json
from emer.progress import counting


@dataclass(frozen=True)
class LogStore:
    """What :func:`store_log` wrote.

    Attributes:
        folder: with ``<bucket>/<day>.parquet`` and ``<bucket>/index.json``.
        buckets: how many. All exposures of a user are in one.
        tables: users, items and the names of the columns.
    """

    folder: Path
    buckets: int
    tables: LogTables

    @cached_property
    def index(self) -> list[dict[str, Any]]:
        """Of each bucket: ``counts`` and ``days``, and of each day ``shown`` (rows), ``last_time``, ``positives``."""
        return [json.loads((_bucket(self.folder, b) / "index.json").read_text()) for b in range(self.buckets)]

    @cached_property
    def days(self) -> tuple[int, ...]:
        """Days with exposures, ascending."""
        found = {int(day) for bucket in self.index for day, of_day in bucket["days"].items() if of_day["shown"]}
        return tuple(sorted(found))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the exposures."""
        return tuple(pl.read_parquet_schema(next(self.folder.glob("*/*.parquet"))))

    @property
    def has_watch_time(self) -> bool:
        return "watch_seconds" in self.columns

    @property
    def counts(self) -> dict[str, int]:
        """What the adapter counted, all buckets together; with ``users`` and ``items`` that have exposures."""
        total: Counter[str] = Counter()
        for bucket in self.index:
            total.update(bucket["counts"])
        seen = self.scan(self.days).select(pl.col("user_id", "item_id").n_unique())
        users, items = seen.collect(engine="streaming").row(0)
        return dict(total) | {"users": users, "items": items}

    def positives(self, label: str, first: int, last: int) -> int:
        """Exposures with ``label`` on the days ``first`` to ``last``."""
        return sum(
            day["positives"][label]
            for bucket in self.index
            for number, day in bucket["days"].items()
            if first <= int(number) <= last
        )

    def last_time(self, day: int) -> int:
        """time_ms of the day's last row."""
        return max(b["days"][str(day)]["last_time"] for b in self.index if str(day) in b["days"])

    def rows(self, bucket: int, days: Sequence[int], *, candidates: bool = False) -> pl.DataFrame:
        """Exposures of a bucket's users on these days, sorted by day and time.

        Args:
            bucket: its number.
            days: ascending.
            candidates: also the rows that were logged but not shown.
        """
        paths = [path for day in days if (path := self._file(bucket, day)).is_file()]
        if not paths:
            return pl.DataFrame(schema=pl.read_parquet_schema(next(self.folder.glob("*/*.parquet"))))
        found = pl.concat([pl.read_parquet(path, glob=False) for path in paths])
        return found if candidates or "exposed" not in self.columns else found.filter("exposed")

    def scan(self, days: Sequence[int]) -> pl.LazyFrame:
        """All exposures of these days, to be read in a stream."""
        paths = [p for day in days for b in range(self.buckets) if (p := self._file(b, day)).is_file()]
        found = pl.scan_parquet(paths, glob=False)
        return found.filter("exposed") if "exposed" in self.columns else found

    def _file(self, bucket: int, day: int) -> Path:
        return _bucket(self.folder, bucket) / f"{day}.parquet"


def store_log(adapter: Adapter, folder: Path, *, user_share: float = 1.0, per_bucket: int = 1_000_000) -> LogStore:
    """Read the files of a data set and map them. Parts and buckets that an earlier attempt wrote are kept.

    Args:
        adapter: of the data set.
        folder: for ``raw`` (removed again) and ``log``.
        user_share: in (0, 1]; keep this share of the users.
        per_bucket: rows of a bucket, about.

    Raises:
        DataError: a file is missing or faulty, the settings make no sense, or no row is left.
    """
    check_share(user_share)
    parts = adapter.parts()
    tables = adapter.tables()
    sizes = [estimated_rows(part.path) for part in parts]
    buckets = Buckets(folder / "raw", buckets_for(int(sum(sizes) * user_share), per_bucket))
    store = LogStore(folder / "log", buckets.count, tables)
    todo = [b for b in range(buckets.count) if not (_bucket(store.folder, b) / "index.json").is_file()]
    with counting("Reading", sum(sizes)) as advance:
        for number, part in enumerate(parts):
            if todo and not buckets.has(number):
                batches = _batches(part, number, adapter.user, user_share, advance)
                buckets.write(number, batches, bucket_of(adapter.user, buckets.count))
    with counting("Mapping", len(todo)) as advance:
        for number in todo:
            _map_bucket(adapter, tables, buckets.read(number), _bucket(store.folder, number))
            advance(1)
    shutil.rmtree(buckets.folder, ignore_errors=True)
    if not store.days:
        raise DataError(f"{', '.join(part.path.name for part in parts)}: no exposure to read")
    return store


def check_share(user_share: float) -> None:
    """Refuse what is no share of the users.

    Raises:
        DataError: it does not lie in (0, 1].
    """
    if not isinstance(user_share, int | float) or not 0 < user_share <= 1:
        raise DataError(f"user_share is {user_share!r}; it must lie in (0, 1]")


def _batches(part: Part, number: int, user: str, user_share: float, advance: Any) -> Iterator[pl.DataFrame]:
    for batch in read_part(part):
        advance(batch.height)
        kept = batch if user_share == 1 else batch.filter(share_of(user, user_share))
        yield kept.with_columns(pl.lit(number, pl.Int32).alias("part"))


def _map_bucket(adapter: Adapter, tables: LogTables, raw: pl.DataFrame, folder: Path) -> None:
    index: dict[str, Any] = {"counts": {}, "days": {}}
    folder.mkdir(parents=True, exist_ok=True)
    if raw.height:
        exposures, index["counts"] = adapter.exposures(raw)
        tables.check(exposures)
        exposures = exposures.cast({name: kind for name, kind in OPTIONAL.items() if name in exposures.columns})
        for (day,), rows in exposures.partition_by("day", as_dict=True, maintain_order=True).items():
            with atomic_path(folder / f"{day}.parquet") as temporary:
                rows.write_parquet(temporary, compression="lz4")
            index["days"][str(day)] = {
                "shown": int(rows["exposed"].sum()) if "exposed" in rows.columns else rows.height,
                "last_time": rows["time_ms"].max(),
                "positives": {label: int(rows[label].sum()) for label in tables.labels},
            }
    write_json(folder / "index.json", index)


def _bucket(folder: Path, number: int) -> Path:
    return folder / f"{number:05}"
