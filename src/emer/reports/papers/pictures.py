"""The picture of a table: what is published, and what we measure, on the same scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from emer.online.presentation import save_png
from emer.pages.svg import COLOURS, bare
from emer.reports.papers import figure_pictures
from emer.reports.papers.definitions import Experiment
from emer.reports.papers.figure_pictures import MARKS
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.text import log_name

BLUE_ORANGE = LinearSegmentedColormap.from_list("blue_orange", ["#2b7bba", "#ffffff", "#e6843c"])
"""Blue below, orange above; both ends bear black text, and colour-blind readers can tell them apart."""


@dataclass(frozen=True)
class Panel:
    """One table of a picture.

    Attributes:
        title: whose numbers.
        cells: (metric, variant) -> number; a published one has no interval.
    """

    title: str
    cells: dict[tuple[str, str], Number]


def draw(definition: Experiment, numbers: Numbers, target: Path) -> None:
    """Write ``target``, a PNG."""
    special = figure_pictures.DRAWN.get(definition.kind)
    if special is not None:
        figure = special(definition, numbers)
    else:
        panels = _panels(definition, numbers)
        many = len(definition.metrics) > 2 and len(definition.variants) > 2
        figure = _heat(definition, panels) if many else _dots(definition, panels)
    save_png(figure, target, dpi=130)


def _panels(definition: Experiment, numbers: Numbers) -> list[Panel]:
    """Published tables first, as differences from the reference where there is one."""
    base = definition.reference
    online = definition.kind == "online"
    panels = []
    for log, rows in definition.published.items():
        cells = {}
        for metric, row in rows.items():
            for variant, value in row.items():
                if online or not base:
                    cells[metric, variant] = Number("", variant, "", metric, None, value)
                elif base in row and variant != base:
                    gap = math.log(value / row[base]) if metric == "log_speed" else value - row[base]
                    cells[metric, variant] = Number("", variant, base, metric, None, gap)
        panels.append(Panel(f"published ({log.replace('_', ' ')})", cells))
    for data in numbers.logs:
        cells = {}
        for metric in definition.metrics:
            for variant in definition.variants:
                found = numbers.find(data, variant, metric) if not base else None
                if base and variant != base:
                    found = numbers.difference(data, variant, base, metric)
                if found is not None:
                    cells[metric, variant] = found
        panels.append(Panel(f"ours, {log_name(data)}", cells))
    return panels


def _heat(definition: Experiment, panels: Sequence[Panel]) -> Figure:
    """Metrics by variants, each panel's colours full at its own largest number."""
    variants = [
        name for name in definition.variants if any((m, name) in p.cells for p in panels for m in definition.metrics)
    ]
    metrics = [name for name in definition.metrics if any((name, v) in p.cells for p in panels for v in variants)]
    digits = 2 if definition.kind == "online" else 3
    width = 1.6 + len(panels) * (0.62 * len(variants) + 0.35)
    figure = Figure(figsize=(width, 1.9 + 0.34 * len(metrics)), layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True):
        _heat_panel(axes, panel, variants, metrics, definition, digits)
    against = definition.heading(definition.reference)
    unit = "%" if definition.kind == "online" else "GAUC"
    figure.suptitle(
        f"Difference from {against} ({unit}); bold: beyond the 95 % interval. Colours by panel", fontsize=9
    )  # fmt: skip
    return figure


def _heat_panel(
    axes: Axes, panel: Panel, variants: Sequence[str], metrics: Sequence[str], definition: Experiment, digits: int
) -> None:
    values = np.array([[_value(panel.cells.get((m, v))) for v in variants] for m in metrics])
    reach = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
    axes.imshow(values, cmap=BLUE_ORANGE, norm=TwoSlopeNorm(0.0, -reach or -1.0, reach or 1.0), aspect="auto")
    for i, metric in enumerate(metrics):
        for j, variant in enumerate(variants):
            number = panel.cells.get((metric, variant))
            text = "–" if number is None else _cell(number.value, digits)
            weight = "bold" if number is not None and number.certain else "normal"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, weight=weight)
    axes.set_xticks(
        range(len(variants)), [definition.variants[v] for v in variants], rotation=40, ha="right", fontsize=8
    )
    axes.set_yticks(range(len(metrics)), [definition.metrics[m] for m in metrics], fontsize=8)
    axes.tick_params(length=0)
    axes.set_title(panel.title, fontsize=9)
    axes.spines[:].set_visible(False)


def _cell(value: float, digits: int) -> str:
    """Per cent as they are; GAUC without the zero before the point."""
    text = f"{value:+.{digits}f}"
    return text if digits == 2 else bare(text)


def _value(number: Number | None) -> float:
    return math.nan if number is None else number.value


def _dots(definition: Experiment, panels: Sequence[Panel]) -> Figure:
    """One row per metric and variant, a panel beside the other, each with a scale of its own."""
    rows = [
        (metric, variant)
        for metric in definition.metrics
        for variant in definition.variants
        if any((metric, variant) in panel.cells for panel in panels)
    ]
    if definition.published and not definition.reference:  # what is not published is not what the table is about
        told = {key for panel in panels if panel.title.startswith("published") for key in panel.cells}
        rows = [row for row in rows if row in told] or rows
    labels = [_row_name(definition, metric, variant) for metric, variant in rows]
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1.9 + 2.9 * columns, lines * (1.1 + 0.3 * len(rows))), layout="constrained")
    drawn = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, panel in zip(drawn, panels, strict=False):
        for place, key in enumerate(rows):
            number = panel.cells.get(key)
            if number is None:
                continue
            colour = COLOURS[list(definition.variants).index(key[1]) % len(COLOURS)]
            mark = MARKS[list(definition.variants).index(key[1]) % len(MARKS)]
            half = [[number.value - number.low], [number.high - number.value]]
            error = None if math.isnan(number.low) else half
            hollow = {"mfc": "white"} if panel.title.startswith("published") else {}
            axes.errorbar([number.value], [place], xerr=error, fmt=mark, color=colour, ms=5, capsize=2, **hollow)
        if definition.reference:
            axes.axvline(0, color="0.5", lw=0.8)
        axes.set_title(panel.title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in drawn[len(panels) :]:
        axes.set_visible(False)
    drawn[0].set_yticks(range(len(rows)), labels, fontsize=8)
    drawn[0].invert_yaxis()
    figure.supxlabel(_axis(definition), fontsize=9)
    return figure


def _row_name(definition: Experiment, metric: str, variant: str) -> str:
    if len(definition.variants) == 1:
        return definition.metrics[metric]
    if len(definition.metrics) == 1 or not definition.reference:
        return definition.variants[variant]
    return f"{definition.metrics[metric]}, {definition.variants[variant]}"


def _axis(definition: Experiment) -> str:
    against = definition.heading(definition.reference)
    if definition.kind == "speed":
        return f"speed, difference from {against} (log scale, 0.1 is about 10 %)"
    if definition.kind == "online":
        return f"difference from {against}, %, with its 95 % interval over worlds"
    if definition.reference:
        return f"difference from {against}, with its 95 % interval"
    return "with its 95 % interval; each panel has a scale of its own"
