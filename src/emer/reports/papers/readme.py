"""The README of an experiment, from its definition and its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.reports.papers.definitions import Experiment
from emer.reports.papers.ledger import judgement_cell, said
from emer.reports.papers.numbers import Numbers
from emer.reports.papers.offline import FLOOR
from emer.reports.papers.text import difference_cell, grid, log_name, published_cell, value_cell
from emer.reports.papers.verdicts import judge
from emer.world.population import ACTIVITY_LEVELS

INTERVALS = {
    "offline": "± is half the 95 % interval over users and seeds (of pooled AUCs over the seeds alone)",
    "speed": "brackets hold the 95 % interval over the seeds",
    "front": "± is half the 95 % interval over users and seeds (of the hypervolume over the seeds alone)",
    "ippo": "± is half the 95 % interval over users and seeds (of rounds over the seeds alone)",
    "skew": "± is half the 95 % interval over the seeds, which also draw which positives are left out",
    "online": "± is half the 95 % interval over worlds, which are the sample",
    "daily": "± is half the 95 % interval over worlds, which are the sample",
}
"""Kind of experiment -> what an interval counts."""

_SEEDS = "± is half the 95 % interval over the seeds"


def readme(definition: Experiment, numbers: Numbers, about: Mapping[str, Any]) -> str:
    """The text of ``README.md``.

    Args:
        definition: what is asked, published and claimed.
        numbers: of ``results.csv``.
        about: of ``results.json``: ``commands`` and ``problems`` (lines), ``commit``, ``minutes`` (of all runs
            together), ``runs`` (how many), ``seeds`` (of the runs or of the worlds), ``sizes`` (log -> words).
    """
    lines = [
        f"# {definition.title}",
        "",
        f"{definition.question} ({definition.paper})",
        "",
        "```sh",
        *about["commands"],
        "```",
        "",
        _how(definition, about),
        "",
        f"![{definition.title}](picture.png)",
        "",
        *_ours(definition, numbers),
        *_published(definition),
        *_claims(definition, numbers),
    ]
    if definition.notes:
        lines += ["## What to know", "", *(f"- {note}" for note in definition.notes), ""]
    lines += [
        "Made from [results.csv](results.csv) by `emer paper`; how the tables are made, and what their intervals and "
        "verdicts mean: [docs/paper_tables.md](../../docs/paper_tables.md).",
    ]
    return "\n".join(lines) + "\n"


def _how(definition: Experiment, about: Mapping[str, Any]) -> str:
    sizes = "; ".join(f"{log_name(data)}: {words}" for data, words in about["sizes"].items())
    sample = "worlds" if definition.kind in ("online", "daily") else "seeds"
    text = f"{about['runs']} runs, {sample} {about['seeds']}; to prepare, train and evaluate them took "
    text += f"{about['minutes']:.0f} minutes in all, one after the other. "
    text += f"{sizes}. Commit {about['commit']}."
    if about["problems"]:
        text += "\n\n**Not, or not in full, in the tables:**\n\n" + "\n".join(f"- {line}" for line in about["problems"])
    return text


def _ours(definition: Experiment, numbers: Numbers) -> list[str]:
    lines = ["## Ours", "", f"{INTERVALS.get(definition.kind, _SEEDS)}; {definition.unit}.", ""]
    for data in numbers.logs:
        lines += [f"### {log_name(data).capitalize() if data != 'kuairand' else log_name(data)}", ""]
        lines += (
            one_metric(definition, numbers, data) if len(definition.metrics) == 1 else table(definition, numbers, data)
        )
        lines.append("")
    return lines


def table(definition: Experiment, numbers: Numbers, data: str) -> list[str]:
    """Metrics by variants: values, then differences from the reference."""
    kind, online = definition.kind, definition.kind in ("online", "daily")
    there = numbers.variants(data)
    variants = [name for name in definition.variants if name in there]
    headings = [definition.variants[name] for name in variants]
    metrics = {
        name: text for name, text in {**definition.metrics, **definition.also}.items() if numbers.knows(data, name)
    }
    base = definition.reference if online else ""
    cells = [
        [value_cell(numbers.find(data, name, metric, base), kind, metric) for name in variants] for metric in metrics
    ]
    if online:
        return grid("% against " + definition.heading(base), list(metrics.values()), headings, cells)
    floors = [[value_cell(numbers.find(data, FLOOR, metric), kind, metric)] for metric in metrics]
    with_floor = [row + floor for row, floor in zip(cells, floors, strict=True)]
    shown = any(floor != ["–"] for floor in floors)
    lines = grid(
        "", list(metrics.values()), [*headings, "random"] if shown else headings, with_floor if shown else cells
    )
    if definition.reference not in variants:
        return lines
    others = [name for name in variants if name != definition.reference]
    if kind == "activity":  # a category of videos less a kind of users would be no difference of anything
        others = [name for name in others if name in ACTIVITY_LEVELS]
    gaps = [
        [difference_cell(numbers.difference(data, name, definition.reference, metric), kind, metric) for name in others]
        for metric in metrics
    ]
    title = f"Difference from {definition.heading(definition.reference)}, bold where the interval leaves out 0:"
    return [
        *lines,
        "",
        title,
        "",
        *grid("", list(metrics.values()), [definition.variants[name] for name in others], gaps),
    ]


def one_metric(definition: Experiment, numbers: Numbers, data: str) -> list[str]:
    """Variants by what is told of them: the metric, its difference from the reference, and what stands beside it."""
    [(metric, name)] = definition.metrics.items()
    there = numbers.variants(data)
    variants = [variant for variant in definition.variants if variant in there]
    columns = [name]
    if definition.reference:
        columns.append(f"against {definition.heading(definition.reference)}")
    columns += definition.also.values()
    cells = []
    for variant in [*variants, FLOOR]:
        row = [value_cell(numbers.find(data, variant, metric), definition.kind, metric)]
        if definition.reference:
            found = None
            if variant not in (definition.reference, FLOOR):
                found = numbers.difference(data, variant, definition.reference, metric)
            row.append(difference_cell(found, definition.kind, metric))
        row += [value_cell(numbers.find(data, variant, other), definition.kind, other) for other in definition.also]
        cells.append(row)
    if set(cells[-1]) == {"–"}:
        cells, names = cells[:-1], [definition.variants[v] for v in variants]
    else:
        names = [*(definition.variants[v] for v in variants), "*expected of a random order*"]
    return grid("", names, columns, cells)


def _published(definition: Experiment) -> list[str]:
    if not definition.published:
        return []
    lines = ["## Published", ""]
    for log, rows in definition.published.items():
        if len(definition.published) > 1:
            lines += [f"### {log.replace('_', ' ').capitalize()}", ""]
        variants = [name for name in definition.variants if any(name in row for row in rows.values())]
        metrics = list(rows)
        if len(metrics) == 1:
            cells = [[published_cell(rows[metrics[0]].get(name), definition.kind, metrics[0])] for name in variants]
            lines += grid("", [definition.variants[n] for n in variants], [definition.metrics[metrics[0]]], cells)
        else:
            cells = [[published_cell(rows[m].get(name), definition.kind, m) for name in variants] for m in metrics]
            names = [{**definition.metrics, **definition.also}[m] for m in metrics]
            lines += grid("", names, [definition.variants[n] for n in variants], cells)
        lines.append("")
    return lines


def _claims(definition: Experiment, numbers: Numbers) -> list[str]:
    if not definition.claims:
        return []
    logs: Sequence[str] = numbers.logs
    rows, cells = [], []
    for claim in definition.claims:
        rows.append(claim.key)
        judged = [judge(claim, numbers, data) if not claim.logs or data in claim.logs else None for data in logs]
        cells.append([said(claim), *("–" if one is None else judgement_cell(one, definition) for one in judged)])
    columns = ["claim", *(log_name(data) for data in logs)]
    return ["## Does it hold?", "", *grid("", rows, columns, cells, align="---"), ""]
