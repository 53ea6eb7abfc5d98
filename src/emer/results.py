"""What an evaluation writes, and the table it ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from emer.files import atomic_path, write_json
from emer.metrics.intervals import Interval, metric_difference, metric_interval
from emer.metrics.summary import GAUC_WEIGHT, IDENTITY, MIN_REQUESTS
from emer.requests import Schema

PerRequest = Mapping[str, np.ndarray]

_FAMILIES = {
    "pxtr_gauc": "pxtr GAUC",
    "iput_gauc": "IPUT GAUC",
    "exposed_pxtr_gauc": "pxtr GAUC, shown",
    "label_gauc": "label GAUC",
}


@dataclass(frozen=True)
class Evaluation:
    """Summary and per-request values of one scorer (see emer.metrics)."""

    summary: dict[str, float | None]
    per_request: dict[str, np.ndarray]


def write_evaluation(folder: Path, evaluation: Evaluation, split: str = "test") -> None:
    """Write ``metrics.json`` (flat, names prefixed with the split) and ``per_request.parquet``, atomically."""
    with atomic_path(folder / "per_request.parquet") as temporary:
        pq.write_table(pa.table(dict(evaluation.per_request)), temporary, compression="zstd")
    write_json(folder / "metrics.json", {f"{split}/{name}": value for name, value in evaluation.summary.items()})


def compare(method: Evaluation, baselines: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Every GAUC of the method and of each baseline, with 95 % intervals, and the paired differences.

    Returns:
        JSON-ready: metric -> {"method": interval, "random": floor, <baseline>: interval,
        "<baseline> difference": interval of method minus baseline}.
    """
    content: dict[str, Any] = {}
    for name in gauc_names(method.per_request):
        row: dict[str, Any] = {
            "method": _plain(metric_interval(method.per_request, name)),
            "random": method.summary.get(f"random/{name}"),
        }
        for baseline, evaluation in baselines.items():
            row[baseline] = _plain(metric_interval(evaluation.per_request, name))
            difference = metric_difference(method.per_request, evaluation.per_request, name)
            row[f"{baseline} difference"] = _plain(difference)
        content[name] = row
    return content


def gauc_names(per_request: PerRequest) -> list[str]:
    """Every GAUC and each family's mean, in the table's order."""
    names = []
    for family in GAUC_WEIGHT:
        members = [n for n in per_request if n.startswith(f"{family}/") and n not in IDENTITY]
        names += members
        if members:
            names.append(f"{family}/mean")
    return names


def _plain(interval: Interval) -> dict[str, float | int | None]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(interval).items()}


def print_table(
    title: str,
    label: str,
    comparison: Mapping[str, Any],
    baselines: list[str],
    schema: Schema,
    console: Console,
) -> None:
    """This method, each baseline and random, per objective; differences carry their 95 % interval."""
    noisy = {o.name for o in schema.objectives if o.noisy}
    noisy |= {o.feedback for o in schema.objectives if o.noisy and o.feedback}
    table = Table(title=title, title_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column(label, justify="right")
    for baseline in baselines:
        table.add_column(baseline.replace("_", " "), justify="right")
        table.add_column("difference ± 95 %", justify="right")
    table.add_column("random", justify="right")
    family = None
    starred = False
    for name, row in comparison.items():
        head, member = name.split("/", 1)
        if head != family:
            table.add_section()
            table.add_row(f"[bold]{_FAMILIES[head]}[/bold]")
            family = head
        star = " *" if member in noisy or row["method"]["users"] < MIN_REQUESTS else ""
        starred |= bool(star)
        cells = [f"  {member}{star}", _number(row["method"]["estimate"])]
        for baseline in baselines:
            cells += [_number(row[baseline]["estimate"]), _difference(row[f"{baseline} difference"])]
        table.add_row(*cells, _number(row["random"]))
    console.print(table)
    if starred:
        console.print("* too few users or positives in this log: the figure is noise", style="dim")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _difference(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return "-"
    low, high = interval["low"], interval["high"]
    text = f"{interval['estimate']:+.4f} ±{(high - low) / 2:.4f}"
    if low > 0:
        return f"[green]{text}[/green]"
    return f"[red]{text}[/red]" if high < 0 else text
