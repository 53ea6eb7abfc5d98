"""Peak memory of the pairwise loss above its inputs; as a program, measures one case in its own process."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.pairwise import QUICK_SHAPES, Shape, inputs, ours
from benchmarks.report import Goal, Section, Table
from benchmarks.timing import Setting, three_digits

RUNS: dict[str, Callable[..., object]] = {
    "printed formula": lambda s, t, g: peers.printed_formula(s, t),
    "Rax's style": lambda s, t, g: peers.where_mask(s, t),
    "allRank's style": lambda s, t, g: peers.pair_lists(s, t),
    "collapsed, dense": lambda s, t, g: peers.collapsed(s, g, torch.ones(len(g), g.shape[2])),
    "ours: near_linear": lambda s, t, g: ours(s, None, g, "near_linear"),
    "ours: kernel": lambda s, t, g: ours(s, None, g, "kernel"),
}
SHAPES: dict[Shape, tuple[str, ...]] = {
    (64, 12, 500): tuple(RUNS),
    (1, 12, 50_000): ("ours: near_linear", "ours: kernel"),
}
GOALS: dict[tuple[Shape, str], float] = {
    ((64, 12, 500), "ours: near_linear"): 35,
    ((64, 12, 500), "ours: kernel"): 2,
    ((1, 12, 50_000), "ours: near_linear"): 100,
    ((1, 12, 50_000), "ours: kernel"): 100,
}


def run(setting: Setting) -> Section:
    """Section B of the report."""
    shapes = {QUICK_SHAPES[1]: ("printed formula", "ours: kernel")} if setting.quick else SHAPES
    section = Section(
        "memory",
        "Memory",
        "Peak of the process (VmHWM) during forward and backward, above what it held just before: inputs, libraries "
        "and compiled code do not count. Each figure is a process of its own, 1 thread, ranks given.",
    )
    if not Path("/proc/self/clear_refs").exists():
        section.text = "Not measured: reading a process's peak needs Linux."
        return section
    rows: dict[str, dict[Shape, float]] = {}
    for shape, names in shapes.items():
        for name in names:
            setting.tell(f"memory {shape}: {name}")
            peak = _in_own_process(name, shape)
            rows.setdefault(name, {})[shape] = peak
            section.raw[f"{shape} {name}"] = {"peak_megabytes": peak}
            if (shape, name) in GOALS:
                section.goals.append(
                    Goal(f"memory, {name}, {shape}", peak, GOALS[shape, name], unit="MB", at_most=True)
                )
    table = [
        (name, *(f"{three_digits(peaks[s])} MB" if s in peaks else "not run" for s in shapes))
        for name, peaks in rows.items()
    ]
    section.tables.append(Table("Peak above the inputs, (B, K, N)", ("", *map(str, shapes)), table))
    return section


def _in_own_process(name: str, shape: Shape) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", name, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout)


def peak_megabytes(name: str, shape: Shape) -> float:
    """MB by which ``RUNS[name]`` raises this process's peak."""
    torch.set_num_threads(1)
    RUNS[name](*inputs((2, 2, 20)))
    scores, targets, ranks = inputs(shape)
    ctypes.CDLL(None).malloc_trim(0)  # what making the inputs has freed would hide as much of the peak
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = _peak_kilobytes()
    RUNS[name](scores, targets, ranks)
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


if __name__ == "__main__":
    B, K, N = map(int, sys.argv[2:])
    print(peak_megabytes(sys.argv[1], (B, K, N)))
