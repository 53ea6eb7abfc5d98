"""From the columns of a file to the arrays of a table."""

from __future__ import annotations

import numpy as np

from emer.data.arrays import DTYPES, shapes
from emer.data.columns import rank_columns, request_columns
from emer.data.metadata import Metadata
from emer.requests import Schema


def assembled(
    schema: Schema, flat: dict[str, np.ndarray], requests: int, candidates: int
) -> dict[str, np.ndarray | None]:
    """Arrays of a table by attribute. A column that could not be read leaves zeros or None: both pass."""
    values: dict[str, np.ndarray | None] = {}
    shape = shapes(schema, requests, candidates)
    for column in request_columns(schema):
        if column.index is None:
            values[column.field] = flat.get(column.name)
            continue
        block = values.get(column.field)
        if block is None:
            block = values[column.field] = np.zeros(shape[column.field], DTYPES[column.field])
        if column.name in flat:
            block[:, column.index] = flat[column.name]
    return {name: values.get(name, np.zeros(s, DTYPES[name])) for name, s in shape.items()}


def with_ranks(
    metadata: Metadata, flat: dict[str, np.ndarray], values: dict[str, np.ndarray | None]
) -> dict[str, np.ndarray | None]:
    """``values`` with the stored ranks, where there are any."""
    columns = rank_columns(metadata.schema)
    if any(column.name not in flat for column in columns):
        return values
    objectives = range(len(metadata.schema.objectives))
    raw = np.stack([flat[columns[k].name] for k in objectives], axis=1)
    if metadata.iput_floor is None:
        return values | {"rank_gap": raw}
    iput = raw.copy()
    for column in columns[len(objectives) :]:
        iput[:, column.index or 0] = flat[column.name]
    return values | {"rank_gap": raw, "iput_rank_gap": iput}
