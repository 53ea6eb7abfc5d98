"""Candidates of every split, written by bucket of users and by day."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emer.data.assemble import RequestSettings, candidates, check_split, too_few
from emer.data.log_store import LogStore
from emer.data.metadata import SPLITS
from emer.errors import DataError
from emer.files import atomic_path, write_json
from emer.progress import counting
from emer.ranking import MAX_CANDIDATES


@dataclass(frozen=True)
class Assembly:
    """The first step from a stored log to requests: what is to be ranked. What an earlier attempt wrote is kept.

    Attributes:
        store: the log.
        settings: how exposures become requests.
        folder: for ``candidates/<split>/<bucket>/<day>.parquet``, and ``pool/<day>.parquet``: how often each item was
            shown on a day, for the sampling of unexposed candidates.
    """

    store: LogStore
    settings: RequestSettings
    folder: Path

    def run(self) -> None:
        """Write them.

        Raises:
            DataError: a split has no exposures, or none of its requests has enough of them.
        """
        for split in SPLITS:
            check_split(self.store.days, self.settings, split, self.store.tables.name)
        first_id = 0
        with counting("Requests", len(SPLITS) * self.store.buckets) as advance:
            for split in SPLITS:
                requests = 0
                for bucket in range(self.store.buckets):
                    requests += self._bucket(split, bucket, first_id + requests)
                    advance(1)
                if not requests:
                    raise too_few(self.settings, split)
                first_id += requests

    def files(self, split: str, bucket: int) -> dict[int, Path]:
        """Day -> candidates of a bucket."""
        found = sorted(self._place(split, bucket).glob("[!.]*.parquet"), key=lambda path: int(path.stem))
        return {int(path.stem): path for path in found}

    def of_day(self, day: int) -> list[tuple[str, int, Path]]:
        """Split, bucket and file of all candidates of a day."""
        found = ((split, bucket) for split in SPLITS for bucket in range(self.store.buckets))
        return [(s, b, path) for s, b in found if (path := self._place(s, b) / f"{day}.parquet").is_file()]

    def _place(self, split: str, bucket: int) -> Path:
        return self.folder / "candidates" / split / f"{bucket:05}"

    def _bucket(self, split: str, bucket: int, first_id: int) -> int:
        done = self._place(split, bucket) / "done.json"
        if done.is_file():
            return int(json.loads(done.read_text())["requests"])
        first, last = self.settings.days[split]
        days = [day for day in self.store.days if first <= day <= last]
        rows = self.store.rows(bucket, days, candidates=self.settings.grouping == "logged")
        contexts = self.store.tables.context_categories
        made = candidates(
            rows, self.settings, split, contexts, pool=self._pool, starts=self._starts, part=bucket, first_id=first_id
        )  # fmt: skip
        requests = 0
        if made.height:
            longest = made.group_by("request_id").agg(pl.len(), pl.col("user_id").first()).sort("len").row(-1)
            if longest[1] > MAX_CANDIDATES:
                raise DataError(
                    f"a {self.settings.grouping} request of user {longest[2]} has {longest[1]:,} candidates, more than "
                    f"the {MAX_CANDIDATES:,} allowed; choose grouping=windows, or fewer unexposed"
                )
            requests = made["request_id"].n_unique()
            for (day,), part in made.partition_by("day", as_dict=True, maintain_order=True).items():
                with atomic_path(self._place(split, bucket) / f"{day}.parquet") as temporary:
                    part.write_parquet(temporary, compression="lz4")
        write_json(done, {"requests": requests})
        return requests

    def _starts(self, day: int) -> int:
        before = [self.store.last_time(d) for d in self.store.days if d < day]
        return max(before) + 1 if before else -(2**63)

    def _pool(self, day: int) -> pl.DataFrame:
        path = self.folder / "pool" / f"{day}.parquet"
        if not path.is_file():
            shown = self.store.scan([day]).group_by("item_id").agg(pl.len().cast(pl.Int64).alias("weight"))
            with atomic_path(path) as temporary:
                shown.collect(engine="streaming").sort("item_id").write_parquet(temporary)
        return pl.read_parquet(path)
