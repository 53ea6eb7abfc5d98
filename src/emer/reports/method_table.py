"""The table that ends a sweep: each method's mean over seeds with an interval, and its paired difference from one.

``emer report`` (:mod:`emer.reports.content`) takes any runs and says what does not go together; here that is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emer.errors import EmerError
from emer.files import write_text
from emer.metrics.seed_intervals import SeedInterval, interval_over_seeds, seed_difference, seed_interval
from emer.online.presentation import csv_text
from emer.reports.comparison import COMPARED
from emer.reports.runs import COSTS, METRICS, POOLED, Run, differing, read_runs
from emer.reports.section_intervals import mean, plain
from emer.reports.words import count, four, leaves_out_0, p_value, signed, with_error


@dataclass(frozen=True)
class Row:
    """One method on one log."""

    label: str
    seeds: tuple[int, ...]
    values: dict[str, SeedInterval]
    differences: dict[str, SeedInterval]
    costs: dict[str, float | None]


def method_rows(runs: Sequence[Run], reference: str) -> list[Row]:
    """Runs of one log, by method, best label GAUC first.

    Args:
        runs: each (method, seed) once.
        reference: label of the method that the others are compared with, on the seeds that both have.

    Raises:
        EmerError: a method has two runs with one seed, or runs of different settings; or the methods were evaluated on
            different requests, or with different ``loader.iput_floor``.
    """
    _check_comparable(runs)
    by_label = _by_label(runs)
    against = by_label.get(reference, {})
    rows = []
    for label, seeds in by_label.items():
        members = [seeds[s] for s in sorted(seeds)]
        common = sorted(set(seeds) & set(against))
        requests = [run.per_request for run in members]
        values = {name: seed_interval(requests, name) for name in METRICS}
        values[POOLED] = interval_over_seeds(_present(run.metrics.get(POOLED) for run in members))
        differences = {}
        if common and label != reference:
            mine, theirs = ([side[s].per_request for s in common] for side in (seeds, against))
            differences = {name: seed_difference(mine, theirs, name) for name in METRICS}
            sums = [(seeds[s].metrics.get(POOLED), against[s].metrics.get(POOLED)) for s in common]
            differences[POOLED] = interval_over_seeds([a - b for a, b in sums if a is not None and b is not None])
        costs = {name: mean(run.costs.get(name) for run in members) for name in COSTS}
        rows.append(Row(label, tuple(sorted(seeds)), values, differences, costs))
    return sorted(rows, key=lambda row: -_or_least(row.values[METRICS[0]].estimate))


def _check_comparable(runs: Sequence[Run]) -> None:
    first, key = runs[0], "loader.iput_floor"
    for run in runs:
        who = f"{first.folder} and {run.folder} on {run.data}"
        if not np.array_equal(run.per_request["request_id"], first.per_request["request_id"]):
            raise EmerError(f"{who} were evaluated on different requests; compare runs on the same test requests")
        if run.settings.get(key) != first.settings.get(key):
            raise EmerError(
                f"{who} differ in {key} ({first.settings.get(key)} and {run.settings.get(key)}), which IPUT GAUC "
                "depends on; evaluate all with one"
            )


def _by_label(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    """Label -> seed -> run, of which the seeds alone differ."""
    by_label: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds = by_label.setdefault(run.label, {})
        if run.seed in seeds:
            raise EmerError(
                f"{run.label} has two runs with seed {run.seed} on {run.data}: {seeds[run.seed].folder} and "
                f"{run.folder}; compare one sweep at a time"
            )
        first = next(iter(seeds.values()), run)
        keys = differing([first.settings, run.settings])
        if keys:
            shown = ", ".join(f"{key}={first.settings.get(key)} and {run.settings.get(key)}" for key in keys[:3])
            raise EmerError(
                f"{run.label} on {run.data} has runs of different settings ({shown}) in {first.folder} and "
                f"{run.folder}; seeds alone are averaged: compare one sweep at a time"
            )
        seeds[run.seed] = run
    return by_label


def as_markdown(rows: Sequence[Row], runs: Sequence[Run], reference: str) -> str:
    """The table of one log: values, then differences from ``reference`` in a second table, then the random floor."""
    names = COMPARED
    lines = ["| method | seeds | " + " | ".join(names) + " | parameters | rows/s | seconds |"]
    lines.append("|---" * (len(names) + 5) + "|")
    for row in rows:
        cells = [with_error(plain(row.values[name])) for name in names]
        cells += [count(row.costs["parameters"]), count(row.costs["train_rows_per_second"])]
        lines.append(f"| {row.label} | {len(row.seeds)} | {' | '.join(cells)} | {count(row.costs['fit_seconds'])} |")
    floors = [mean(run.metrics.get(f"random/{name}") for run in runs) for name in names]
    lines.append("| *expected of a random order* | | " + " | ".join(map(four, floors)) + " | | | |")
    if not any(row.differences for row in rows):
        lines += ["", f"No difference from {reference}: no other method has a seed in common with it here."]
        return "\n".join(lines) + "\n"
    heading = (
        f"Difference from {reference}, 95 % interval, p-value; bold where the interval leaves out 0. The p-values "
    )
    heading += "are not corrected for the number of rows: of twenty equal methods, one will look different."
    lines += ["", heading, ""]
    lines += ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        if row.differences:
            lines.append(f"| {row.label} | " + " | ".join(_difference(row.differences[name]) for name in names) + " |")
    return "\n".join(lines) + "\n"


def as_csv(runs: Sequence[Run]) -> str:
    """Every run's numbers, one row each, in full precision."""
    names = [*METRICS, POOLED]
    rows = (
        [run.label, run.data, run.seed, run.identity, *map(run.metrics.get, names), *map(run.costs.get, COSTS)]
        for run in sorted(runs, key=lambda r: (r.data, r.label, r.seed))
    )
    return csv_text(["method", "data", "seed", "identity", *names, *COSTS], rows)


def write_method_table(folders: Iterable[Path], target: Path, reference: str = "emer") -> str:
    """Read runs, write ``methods.md`` and ``methods.csv`` into ``target``, and return the text of the former.

    Args:
        folders: run folders; unfinished ones are named below the table, never averaged.
        target: an existing folder.
        reference: label of the method that the others are compared with.

    Raises:
        EmerError: there is no finished run, or a method has two with one seed.
    """
    runs, missing = read_runs(folders)
    if not runs:
        raise EmerError(f"there is no finished run to compare in {target}" + "".join(f"\n{line}" for line in missing))
    parts = []
    for data in dict.fromkeys(run.data for run in runs):
        members = [run for run in runs if run.data == data]
        requests = members[0].per_request["request_id"].size
        parts.append(
            f"## {data}\n\nMean over seeds ± half the 95 % interval, {requests} test requests. Intervals count users "
            f"and seeds, those of {POOLED} the seeds alone.\n"
        )
        parts.append(as_markdown(method_rows(members, reference), members, reference))
    if missing:
        parts.append("Not in the tables:\n\n" + "".join(f"- {line}\n" for line in missing))
    text = "\n".join(parts)
    write_text(target / "methods.csv", as_csv(runs))
    write_text(target / "methods.md", text)
    return text


def _present(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _difference(interval: SeedInterval) -> str:
    found = plain(interval)
    text = f"**{signed(found)}**" if leaves_out_0(found["low"], found["high"]) else signed(found)
    return text if found["p"] is None else f"{text} (p {p_value(found['p'])})"
