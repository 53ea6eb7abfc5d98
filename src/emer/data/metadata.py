"""Where a request Parquet file says what it holds: its own metadata, or a ``schema.json`` beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from emer.data.places import Place
from emer.errors import DataError
from emer.requests import Schema

KEY = b"emer"
FORMAT = 1
SIDECAR = "schema.json"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Metadata:
    """Schema of a file, and the IPUT floor (seconds) of its stored ranks; None where it does not say."""

    schema: Schema
    iput_floor: float | None = None

    def to_json(self) -> bytes:
        content = {"format": FORMAT, "schema": self.schema.to_dict(), "iput_floor": self.iput_floor}
        return json.dumps(content).encode()


def find_metadata(path: Place, own: bytes | None, given: Schema | None) -> Metadata:
    """Metadata of the file at ``path``.

    Args:
        path: the Parquet file, for messages and for the place of ``schema.json``: its folder, or the one
            above where its folder is ``train``, ``validation`` or ``test``.
        own: the file's own metadata under :data:`KEY`, if it has any.
        given: a schema that the caller knows; it stands in for a missing one.

    Raises:
        DataError: none of the three is there, one cannot be read, or two of them disagree.
    """
    sources: list[tuple[str, Metadata]] = []
    if own is not None:
        sources.append((f"the metadata of {path}", _parse(own, f"the metadata of {path}")))
    sidecar = _sidecar(path)
    if sidecar is not None:
        sources.append((str(sidecar), _parse(sidecar.read_bytes(), str(sidecar))))
    if given is not None:
        sources.append(("the schema asked for", Metadata(given)))
    if not sources:
        raise DataError(
            f"{path}: the file does not say which objectives it holds, and no {SIDECAR} lies beside it. "
            f'Write {path.parent / SIDECAR} with {{"format": {FORMAT}, "schema": {{"objectives": [...]}}}}; '
            "docs/request_format.md shows one"
        )
    name, metadata = sources[0]
    for other_name, other in sources[1:]:
        if other.schema != metadata.schema:
            raise DataError(f"{other_name} and {name} differ: {schema_difference(other.schema, metadata.schema)}")
    return metadata


def schema_difference(one: Schema, other: Schema) -> str:
    """The first difference between two schemas, in words."""
    left, right = one.to_dict(), other.to_dict()
    for key in left:
        if left[key] != right[key]:
            missing = [entry for entry in left[key] if entry not in right[key]]
            extra = [entry for entry in right[key] if entry not in left[key]]
            if missing or extra:
                return f"{key} {json.dumps(missing)} against {json.dumps(extra)}"
            return f"the order of {key}"
    return "nothing"


def time_range(file: pq.FileMetaData) -> np.ndarray:
    """(2,) int64, first and last ``time_ms`` by the file's own statistics; (0,) where a row group has none."""
    names = [file.schema.column(i).path for i in range(file.num_columns)]
    if "time_ms" not in names:
        return np.zeros(0, dtype=np.int64)
    groups = (file.row_group(group).column(names.index("time_ms")) for group in range(file.num_row_groups))
    found = [column.statistics for column in groups]
    if any(statistics is None or not statistics.has_min_max for statistics in found):
        return np.zeros(0, dtype=np.int64)
    return np.array([min(s.min for s in found), max(s.max for s in found)], dtype=np.int64)


def _sidecar(path: Place) -> Place | None:
    folders = [path.parent]
    if path.parent.name in SPLITS:
        folders.append(path.parent.parent)
    return next((folder / SIDECAR for folder in folders if (folder / SIDECAR).is_file()), None)


def _parse(raw: bytes, name: str) -> Metadata:
    try:
        content: Any = json.loads(raw)
    except ValueError as error:
        raise DataError(f"{name} is not JSON: {error}") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise DataError(f'{name} must be a JSON object with the keys "format" and "schema"')
    if content.get("format") != FORMAT:
        raise DataError(f"{name} says format {content.get('format')!r}; this version of emer reads format {FORMAT}")
    floor = content.get("iput_floor")
    if floor is not None and not (isinstance(floor, int | float) and floor > 0):
        raise DataError(f"{name} says iput_floor {floor!r}; it must be a positive number of seconds")
    try:
        return Metadata(Schema.from_dict(content["schema"]), floor)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
