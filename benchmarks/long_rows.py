"""A log in long form, and two ways to requests: as a program, one of them in a process of its own.

Nothing here imports torch, so that it does not count as memory of a way that does without it.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CANDIDATES, PROBABILITIES = 50, 7
PXTRS = (*(f"p{k}" for k in range(PROBABILITIES)), "pvtr")
FEEDBACK = ("click", "like")
PER_REQUEST = ("user_id", "time_ms")
PER_CANDIDATE = ("item_id", *PXTRS, "exposed", *FEEDBACK, "watch_time")
FRACTIONS = (0.7, 0.1, 0.2)
_FILE, _CHUNK = 5_000_000, 500_000
_IMPORTS = {"ours": "emer.data.long_source", "pandas": "pandas"}


def mapping() -> dict[str, object]:
    """What :class:`emer.data.long_mapping.LongMapping` has to know of the columns."""
    same = {name: name for name in ("request_id", *PER_REQUEST, "item_id", "exposed", "watch_time")}
    objectives = {name: {"column": name, "unit": "s" if name == "pvtr" else "probability"} for name in PXTRS}
    return same | {"objectives": objectives, "feedback": {name: name for name in FEEDBACK}}


def write_rows(folder: Path, rows: int) -> None:
    """Parquet files of ``rows`` rows (a multiple of :data:`CANDIDATES`), those of a request spread over all files."""
    folder.mkdir()
    step = round(rows * 0.618)  # golden section: whatever is next to each other comes to lie far apart
    while math.gcd(step, rows) > 1:
        step += 1
    inverse = pow(step, -1, rows)
    for number, begin in enumerate(range(0, rows, _FILE)):
        end = min(begin + _FILE, rows)
        writer = None
        for start in range(begin, end, _CHUNK):
            table = _chunk(np.arange(start, min(start + _CHUNK, end)) * inverse % rows, rows)
            writer = writer or pq.ParquetWriter(folder / f"{number:03}.parquet", table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _chunk(place: np.ndarray, rows: int) -> pa.Table:
    request, candidate = place // CANDIDATES, place % CANDIDATES
    draw, size = np.random.default_rng(int(place[0])), place.size
    columns: dict[str, np.ndarray] = {
        "request_id": request * 2_654_435_761 % 2**32,
        "user_id": request * 40_503 % (rows // 1000 + 1),
        "time_ms": 1_700_000_000_000 + request * 997,
        "item_id": candidate + draw.integers(0, 100_000, size) * CANDIDATES,
    }
    columns |= {name: draw.random(size, dtype=np.float32) for name in PXTRS}
    columns["exposed"] = candidate < 10
    columns |= {name: (draw.random(size) < 0.1) & (candidate < 10) for name in FEEDBACK}
    columns["watch_time"] = draw.random(size, dtype=np.float32) * (candidate < 10)
    return pa.table(columns)


def ours(rows: Path, out: Path) -> int:
    """Bytes that :class:`emer.data.long_source.LongSource` writes."""
    from emer.data.long_source import LongSource

    (out / "mapping.yaml").write_text(json.dumps(mapping()), encoding="utf-8")
    source = LongSource(root=str(rows), mapping=str(out / "mapping.yaml"), fractions=FRACTIONS)
    return _bytes(source.prepare(out / "cache"))


def with_pandas(rows: Path, out: Path) -> int:
    """Bytes that pandas writes: lists by request, cut along time. Nothing is checked, sorted within or ranked."""
    import pandas as pd

    table = pd.read_parquet(rows)
    how = dict.fromkeys(PER_REQUEST, "first") | dict.fromkeys(PER_CANDIDATE, list)
    requests = table.groupby("request_id").agg(how).sort_values("time_ms")
    first, second = (round(share * len(requests)) for share in (FRACTIONS[0], FRACTIONS[0] + FRACTIONS[1]))
    for split, part in {
        "train": requests[:first],
        "validation": requests[first:second],
        "test": requests[second:],
    }.items():
        (out / split).mkdir()
        part.to_parquet(out / split / "part-0.parquet", compression="zstd")
    return _bytes(out)


WAYS: dict[str, Callable[[Path, Path], int]] = {"ours": ours, "pandas": with_pandas}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _peak_bytes() -> int:
    """The most that this process has held; a new program starts from zero, as ru_maxrss does not."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def main() -> None:
    """Go the way named first, and print what it took."""
    way, rows, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    importlib.import_module(_IMPORTS[way])
    start = time.perf_counter()
    written = WAYS[way](rows, out)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_bytes": _peak_bytes(), "written_bytes": written}))


if __name__ == "__main__":
    main()
