"""A public data set as one log in memory, to compare with."""

from __future__ import annotations

import polars as pl

from emer.data.adapter import Adapter
from emer.data.log import InteractionLog
from emer.data.raw import read_part
from emer.errors import DataError


def load_log(adapter: Adapter) -> tuple[InteractionLog, dict[str, int]]:
    """The whole log in memory, with the counts of :meth:`emer.data.adapter.Adapter.exposures`.

    Raises:
        DataError: a file is missing or faulty.
    """
    batches = [
        batch.with_columns(pl.lit(number, pl.Int32).alias("part"))
        for number, part in enumerate(adapter.parts())
        for batch in read_part(part)
    ]
    if not batches:
        raise DataError(f"{adapter.about.name}: the files hold no exposure")
    tables = adapter.tables()
    exposures, counts = adapter.exposures(pl.concat(batches))
    known = {name: getattr(tables, name) for name in tables.__dataclass_fields__}
    return InteractionLog(**known, exposures=exposures), counts
