"""Rows cut into buckets by a key, on disk: one pass over the input, and then each bucket at once.

What has to be together to be understood (a request's candidates, a user's exposures) is anywhere in a big file. Sorting
it would need the whole of it; here each batch is sorted by bucket and written as one *run*, and a bucket is read as the
same piece of every run. Neither step holds more than a batch or a bucket.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from emer.files import atomic_path, write_text

ROWS = 1_000_000
"""Rows that a bucket has, about."""


def buckets_for(rows: int, per_bucket: int = ROWS) -> int:
    """How many buckets ``rows`` make."""
    return max(1, -(-rows // per_bucket))


class Buckets:
    """Rows in ``count`` buckets below ``folder``, written part by part.

    A part that was written to its end is not written again, so that what was interrupted goes on there.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count

    def has(self, part: int) -> bool:
        """Was part number ``part`` written to its end?"""
        return self._done(part).is_file()

    def write(self, part: int, batches: Iterable[pl.DataFrame], key: pl.Expr) -> None:
        """Write the rows of a part.

        Args:
            part: its number.
            batches: its rows, all with the same columns.
            key: bucket of a row, an Int32 below ``count``; the same for rows that belong together.
        """
        folder = self._done(part).parent
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, batch in enumerate(batches):
            with atomic_path(folder / f"{number:06}.arrow") as temporary:
                self._write_run(temporary, batch, key)
        write_text(self._done(part), "")

    def read(self, bucket: int) -> pl.DataFrame:
        """The rows of a bucket, in the order of parts and of their rows."""
        pieces = []
        for path in sorted(self.folder.glob("part-*/*.arrow")):
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as run:
                pieces.append(pl.DataFrame(run.get_batch(bucket)))
        return pl.concat(pieces) if pieces else pl.DataFrame()

    def _done(self, part: int) -> Path:
        return self.folder / f"part-{part:06}" / "done"

    def _write_run(self, path: Path, batch: pl.DataFrame, key: pl.Expr) -> None:
        keyed = batch.with_columns(key.alias("_bucket")).sort("_bucket", maintain_order=True)
        sizes = np.bincount(keyed["_bucket"].to_numpy(), minlength=self.count)
        edges = np.concatenate([[0], np.cumsum(sizes)])
        table = keyed.drop("_bucket").to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        whole = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
            for start, stop in itertools.pairwise(edges):
                writer.write_batch(whole.slice(start, stop - start))
