"""Seconds and memory of making request Parquet out of a long table, beside pandas."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.long_rows import CANDIDATES, FEEDBACK, PXTRS, write_rows
from benchmarks.report import Section, Table
from benchmarks.timing import Setting, three_digits

PANDAS = importlib.util.find_spec("pandas") is not None
ROWS, SAMPLES = (5_000_000, 50_000_000), (3, 1)
PEER_ROWS, PEER_SAMPLES = (1_000_000, 2_000_000), 3
QUICK_ROWS, QUICK_PEER_ROWS = (5_000, 20_000), (1_000, 2_000)

OURS, PEER = "**ours**", "pandas"
_WAYS = {OURS: "ours", PEER: "pandas"}


def run(setting: Setting) -> Section:
    """Section J of the report."""
    section = Section(
        "prepare",
        "Preparing a long table",
        f"Parquet with one row per candidate becomes request Parquet: {len(PXTRS)} pxtrs, exposed, {len(FEEDBACK)} "
        f"labels and watch time, {CANDIDATES} candidates per request, whose rows lie all over the files; split along "
        "time. Every figure is a process of its own, on all cores: wall time without imports, and the peak of resident "
        "memory (VmHWM), libraries included. Files are in the page cache. pandas is `read_parquet`, "
        '`groupby("request_id").agg(list)`, `sort_values("time_ms")` and `to_parquet` of each split: it leaves out '
        "every check of values and requests, the order within a request, and the ranks, which ours computes and "
        "stores. `x` is how many times as fast as pandas.",
    )
    if not Path("/proc/self/status").exists():
        section.text = "Not measured: reading a process's peak needs Linux."
        return section
    section.tables.append(_growth(section, setting))
    section.tables.append(_beside_pandas(section, setting))
    return section


def _growth(section: Section, setting: Setting) -> Table:
    sizes = QUICK_ROWS if setting.quick else ROWS
    found: dict[int, dict[str, Any]] = {}
    for rows, samples in zip(sizes, (1, 1) if setting.quick else SAMPLES, strict=True):
        found[rows] = _measured(setting, rows, (OURS,), samples)[OURS]
        section.raw[f"{rows} rows"] = {OURS: found[rows]}
    small, large = (found[rows] for rows in sizes)
    keys = ("seconds", "rows_per_second", "peak_bytes", "written_bytes")
    ratios = {key: large[key] / small[key] for key in keys}
    section.raw["growth"] = ratios
    lines: list[tuple[str, ...]] = [(f"{rows:,}", *_cells(figures)) for rows, figures in found.items()]
    growth = (three_digits(ratio) for ratio in (sizes[1] / sizes[0], *ratios.values()))
    lines.append(tuple(f"{ratio}x" for ratio in growth))
    return Table("Growth", ("rows", "seconds", "rows per second", "peak memory", "written"), lines)


def _beside_pandas(section: Section, setting: Setting) -> Table:
    lines: list[tuple[str, ...]] = []
    for rows in QUICK_PEER_ROWS if setting.quick else PEER_ROWS:
        ways = (PEER, OURS) if PANDAS else (OURS,)
        found = _measured(setting, rows, ways, 1 if setting.quick else PEER_SAMPLES)
        section.raw[f"{rows} rows, beside pandas"] = found
        if not PANDAS:
            lines.append((f"{rows:,}", PEER, "not installed: `pip install 'emer[spark]'`", "", "", "", ""))
        for way, figures in found.items():
            over = "" if way == PEER or not PANDAS else f"{three_digits(found[PEER]['seconds'] / figures['seconds'])}x"
            lines.append((f"{rows:,}", way, *_cells(figures), over))
    header = ("rows", "", "seconds", "rows per second", "peak memory", "written", "over pandas")
    return Table("Beside pandas", header, lines)


def _measured(setting: Setting, rows: int, ways: tuple[str, ...], samples: int) -> dict[str, dict[str, Any]]:
    """Medians of ``samples`` processes for each way, which take turns."""
    with tempfile.TemporaryDirectory() as folder:
        setting.tell(f"prepare {rows:,} rows: writing them")
        write_rows(Path(folder) / "rows", rows)
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for sample in range(samples):
            for way, figures in taken.items():
                setting.tell(f"prepare {rows:,} rows, sample {sample + 1}: {way.strip('*')}")
                figures.append(_in_own_process(_WAYS[way], Path(folder) / "rows"))
    found: dict[str, dict[str, Any]] = {}
    for way, figures in taken.items():
        found[way] = {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        found[way] |= {"rows_per_second": rows / found[way]["seconds"], "samples": samples}
    return found


def _in_own_process(way: str, rows: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=rows.parent) as out:
        command = [sys.executable, "-m", "benchmarks.long_rows", way, str(rows), out]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    megabytes = (f"{three_digits(figures[key] / 1e6)} MB" for key in ("peak_bytes", "written_bytes"))
    seconds = f"{three_digits(figures['seconds'])} (n {figures['samples']})"
    return seconds, three_digits(figures["rows_per_second"]), *megabytes
