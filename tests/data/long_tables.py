"""A table in long form with every kind of column, its mapping, and what its requests are in plain Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from emer.data.columns import request_columns
from emer.data.long_source import LongSource
from emer.data.metadata import SPLITS
from emer.data.parquet import read_requests
from emer.errors import DataError

from .toy_views import Row, write_csv

MAPPING: dict[str, Any] = {
    "request_id": "request",
    "user_id": {"column": "user", "text": True},
    "item_id": "video",
    "time_ms": {"column": "time", "unit": "s"},
    "objectives": {
        "pctr": {"column": "score_click", "feedback": "click"},
        "pvtr": {"column": "score_watch", "unit": "s"},
        "pltr": {"column": "score_like", "role": "interaction"},
    },
    "exposed": "shown",
    "explored": "random",
    "feedback": {"click": "clicked", "long": {"column": "long_view", "satisfaction": "positive"}},
    "watch_time": {"column": "watched_ms", "unit": "ms"},
    "negative": "dislikes",
    "previous_score": "old_score",
    "user_categories": {"age": {"column": "age", "size": 9}},
    "context_categories": {"hour": {"column": "hour", "size": 24}},
    "item_categories": {"topic": {"column": "topic", "buckets": 50}},
    "item_numbers": {"length": "length"},
}
COLUMNS = (
    "request", "user", "video", "time", "score_click", "score_watch", "score_like", "shown", "random", "clicked",
    "long_view", "watched_ms", "dislikes", "old_score", "age", "hour", "topic", "length",
)  # fmt: skip
TOPICS = ("music", "Nachrichten, Ä", "日本", None, "7")


def candidate(r: int, v: int, **changes: Any) -> Row:
    """Video ``v`` in request number ``r``; every value depends on the two numbers alone."""
    g = random.Random(1000 * r + v)
    shown = g.random() < 0.6
    return {
        "request": 10**12 + 7 * r, "user": f"user-{r % 5}", "video": v,
        "time": 1_700_000_000 + 60 * (r // 2), "score_click": round(g.random(), 3),
        "score_watch": round(60 * g.random(), 2), "score_like": round(g.random() / 10, 4), "shown": int(shown),
        "random": int(shown and g.random() < 0.2), "clicked": int(g.random() < 0.5), "long_view": int(g.random() < 0.3),
        "watched_ms": g.randrange(60_000), "dislikes": g.randrange(3), "old_score": round(g.gauss(0, 1), 3),
        "age": r % 5 % 9, "hour": r % 24, "topic": TOPICS[v % 5],
        "length": round(100 * g.random(), 1),
    } | changes  # fmt: skip


def log_of(requests: int, most: int = 6) -> list[Row]:
    """Rows of ``requests`` requests with 1 to ``most`` candidates, shuffled."""
    g = random.Random(requests)
    rows = [candidate(r, v) for r in range(requests) for v in g.sample(range(40), g.randint(1, most))]
    g.shuffle(rows)
    return rows


IN_ORDER = [candidate(r, v) for r in range(8) for v in range(3)]
"""Row 3 r + v is candidate v of request r, on line 3 r + v + 2."""


def changed(rows: Sequence[Row], row: int, **changes: Any) -> list[Row]:
    """The rows, one of them with other values."""
    return [r | changes if number == row else r for number, r in enumerate(rows)]


def write_long(path: Path, rows: Sequence[Row]) -> Path:
    """CSV, Parquet or Arrow IPC, after the path's ending."""
    if path.suffix == ".csv":
        return write_csv(path, list(rows[0]), rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({c: [r[c] for r in rows] for c in rows[0]}, strict=False)
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_ipc(path)
    return path


def write_mapping(folder: Path, mapping: Any = None, **changes: Any) -> Path:
    """``map.yaml`` in the folder; a changed key that is None is left out."""
    content = {k: v for k, v in ((MAPPING if mapping is None else mapping) | changes).items() if v is not None}
    path = folder / "map.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def prepared(folder: Path, root: Path, mapping: Path | None = None, **settings: Any) -> Path:
    """Requests of ``root``, made in ``folder``/cache."""
    mapping = write_mapping(folder) if mapping is None else mapping
    return LongSource(root=str(root), mapping=str(mapping), **settings).prepare(folder / "cache")


def requests_in(folder: Path) -> dict[int, dict[str, Any]]:
    """Every request of a prepared folder by its id: columns of request Parquet, lists as tuples."""
    found = {}
    for split in SPLITS:
        table = read_requests(folder / split)
        for r in range(len(table)):
            inside = slice(table.offsets[r], table.offsets[r + 1])
            request: dict[str, Any] = {"split": split}
            for column in request_columns(table.schema):
                values = getattr(table, column.field)
                if values is not None:
                    values = values if column.index is None else values[:, column.index]
                    request[column.name] = tuple(values[inside].tolist()) if column.ragged else values[r].item()
            found[request["request_id"]] = request
    return found


def text_id(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def by_hand(rows: Sequence[Row], topic: Any) -> dict[int, dict[str, Any]]:
    """What :func:`requests_in` must find in rows of :func:`log_of`, without ``split``: grouped one row at a time.

    ``topic`` is the id of a topic's text.
    """
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["request"], []).append(row)

    def single(value: float) -> float:
        return float(np.float32(value))

    found = {}
    for request, candidates in groups.items():
        candidates = sorted(candidates, key=lambda row: row["video"])
        first = candidates[0]
        request_of: dict[str, Any] = {
            "request_id": request, "user_id": text_id(first["user"]), "time_ms": 1000 * first["time"],
            "user_age": first["age"], "context_hour": first["hour"],
        }  # fmt: skip
        lists = {
            "item_id": lambda row: row["video"],
            "pxtr_pctr": lambda row: single(row["score_click"]),
            "pxtr_pvtr": lambda row: single(row["score_watch"]),
            "pxtr_pltr": lambda row: single(row["score_like"]),
            "exposed": lambda row: row["shown"] == 1,
            "explored": lambda row: row["random"] == 1,
            "label_click": lambda row: row["shown"] == row["clicked"] == 1,
            "label_long": lambda row: row["shown"] == row["long_view"] == 1,
            "watch_time": lambda row: single(np.float32(row["watched_ms"] * row["shown"]) * np.float32(1e-3)),
            "negative": lambda row: float(row["dislikes"] * row["shown"]),
            "previous_score": lambda row: single(row["old_score"]),
            "item_topic": lambda row: topic(row["topic"]),
            "number_length": lambda row: single(row["length"]),
        }
        found[request] = request_of | {name: tuple(map(value, candidates)) for name, value in lists.items()}
    return found


def as_text(rows: list[Row], separator: str = ",", newline: str = "\n", quote: str = "") -> str:
    lines = [list(rows[0]), *([("" if v is None else str(v)) for v in row.values()] for row in rows)]
    return "".join(separator.join(f"{quote}{cell}{quote}" for cell in line) + newline for line in lines)


def refusal(folder: Path, root: Path, mapping: Path | None = None, **options: Any) -> str:
    """What is said of a faulty table, below ``folder``; and nothing may be left of the attempt."""
    with pytest.raises(DataError) as caught:
        prepared(folder, root, mapping, **options)
    assert not list((folder / "cache").glob("**/*"))
    return str(caught.value)
