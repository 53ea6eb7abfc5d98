"""Measures losses, metrics, files and the simulated world beside other ways to them, and writes RESULTS.md.

python benchmarks/run.py                       # everything, some ten minutes, into benchmarks/
python benchmarks/run.py --only gauc --only step   # two sections, into outputs/benchmarks/
python benchmarks/run.py --quick               # small sizes: does it work? Its figures mean nothing
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import accuracy, batch, gauc, memory, pairwise, prepare, reading, scaling, soft_rank, step, world
from benchmarks.report import GOAL_HEADER, Section, Table, markdown
from benchmarks.timing import Setting
from emer.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]

SECTIONS: dict[str, Callable[[Setting], Section]] = {
    "pairwise": pairwise.run,
    "ties": pairwise.run_ties,
    "scaling": scaling.run,
    "memory": memory.run,
    "accuracy": accuracy.run,
    "auc_pairs": batch.run_auc_pairs,
    "training": batch.run_training,
    "soft_rank": soft_rank.run,
    "gauc": gauc.run,
    "step": step.run,
    "world": world.run,
    "reading": reading.run,
    "prepare": prepare.run,
}
PACKAGES = (
    *("torch", "numpy", "numba", "pyarrow", "polars", "pandas"),
    *("scipy", "scikit-learn", "torchmetrics", "torchsort", "sardine-rec"),
)
FIGURE = "cost.svg"

HOW_TO_READ = """\
Figures are medians over n samples (in brackets); a baseline that takes over 4 s may be a single one. One sample is the
mean of as many calls as fill 20 ms, after a warm-up. At 1 thread they are the process's CPU time, at more the wall
time: read ratios (`x`, how many times as fast as the row's baseline) inside one table only. Everything ran on the CPU;
no GPU was measured."""


def main() -> None:
    """Run the sections that the command line asks for."""
    arguments = _arguments()
    out = arguments.out or (
        ROOT / "outputs" / "benchmarks" if arguments.only or arguments.quick else ROOT / "benchmarks"
    )
    names = [name for name in SECTIONS if not arguments.only or name in arguments.only]
    began, load = time.perf_counter(), os.getloadavg()[0]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    sections = []
    # No thread that refreshes: its time would count as that of whatever is being measured.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("", total=len(names))
        setting = Setting(
            arguments.threads, arguments.quick, lambda what: progress.update(task, description=what, refresh=True)
        )
        for name in names:
            sections.append(SECTIONS[name](setting))
            progress.update(task, advance=1, description=name, refresh=True)
    machine = _machine(load, time.perf_counter() - began)
    figure = next((section for section in sections if section.name == "scaling"), None)
    if figure is not None:
        scaling.draw(figure, out / FIGURE)
    write_json(out / "results.json", {"machine": machine} | {section.name: section.raw for section in sections})
    write_text(out / "RESULTS.md", _report(sections, machine, arguments.quick, figure is not None))
    print(f"{out / 'RESULTS.md'}: {len(sections)} sections")
    for goal in (goal for section in sections for goal in section.goals if not goal.met(goal.required)):
        print("missed: {0}: {3}, required {1}".format(*goal.row()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few samples, to test the benchmark itself"
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run this section only; may be repeated")
    parser.add_argument("--threads", type=_threads, help="numbers of threads, 1,2 by default (1 with --quick)")
    parser.add_argument(
        "--out", type=Path, help="folder for the results; benchmarks/, or outputs/benchmarks/ with --only or --quick"
    )
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or ((1,) if arguments.quick else (1, 2))
    return arguments


def _threads(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        numbers = (0,)
    if numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2")
    return numbers


def _machine(load: float, seconds: float) -> dict[str, str]:
    return {
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "load": f"{load:.1f} before, {os.getloadavg()[0]:.1f} after (this run is part of the second)",
        "took": f"{seconds / 60:.1f} minutes",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _report(sections: list[Section], machine: dict[str, str], quick: bool, figure: bool) -> str:
    parts = ["# Benchmarks\n"]
    if quick:
        parts.append("**A quick run at small sizes: its figures mean nothing.**\n")
    parts += ["\n".join(f"- {key}: {value}" for key, value in machine.items()) + "\n", HOW_TO_READ + "\n"]
    goals = [goal.row() for section in sections for goal in section.goals]
    if goals:
        parts += ["## Goals\n", markdown(Table("What was promised", GOAL_HEADER, goals))]
    for section in sections:
        parts += [f"## {section.title}\n", section.text + "\n"]
        if figure and section.name == "scaling":
            parts.append(f"![Cost against N]({FIGURE})\n")
        parts += [markdown(table) for table in section.tables]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
