"""Pictures of the papers' figures, each of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emer.pages.svg import COLOURS
from emer.reports.papers.definitions import Experiment
from emer.reports.papers.numbers import Numbers
from emer.reports.papers.text import log_name, value_cell

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
_DASHES = ("-", "--", ":", "-.")


def activity(definition: Experiment, numbers: Numbers) -> Figure:
    """Tables of colours: each behaviour by activity, and by category; the colour is against the column's mean."""
    [data] = numbers.logs
    there = numbers.variants(data)
    groups = (
        ("users, by activity", [v for v in definition.variants if v in there and not v.startswith("category")]),
        ("videos, by category", [v for v in definition.variants if v in there and v.startswith("category")]),
    )
    metrics = list(definition.metrics)
    figure = Figure(figsize=(8.6, 0.9 + 0.3 * max(len(rows) for _, rows in groups)), layout="constrained")
    for axes, (title, variants) in zip(figure.subplots(1, 2), groups, strict=True):
        rates = np.array([[_of(numbers, data, v, m) for m in metrics] for v in variants])
        shown = np.log2(rates / np.nanmean(rates, axis=0))
        axes.imshow(shown, cmap="PuOr_r", vmin=-1.2, vmax=1.2, aspect="auto")
        for i, row in enumerate(rates):
            for j, rate in enumerate(row):
                axes.text(j, i, f"{100 * rate:.2g} %", ha="center", va="center", fontsize=8)
        axes.set_xticks(
            range(len(metrics)), [definition.metrics[m] for m in metrics], rotation=40, ha="right", fontsize=8
        )
        axes.set_yticks(range(len(variants)), [definition.variants[v] for v in variants], fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle("Share of shown videos with the behaviour; colour: against the column's mean", fontsize=9)
    return figure


def losses(definition: Experiment, numbers: Numbers) -> Figure:
    """Every seed's loss of each objective and their mean, with and without evolving weights."""
    figure = Figure(figsize=(4.6 * len(numbers.logs) + 0.6, 4.4), layout="constrained")
    for axes, data in zip(np.atleast_1d(figure.subplots(1, len(numbers.logs))), numbers.logs, strict=True):
        told = [m for m in definition.metrics if numbers.knows(data, m)]
        metrics = [m for m in told if m not in ("loss/mean", "loss/sd")]
        for index, (variant, name) in enumerate(definition.variants.items()):
            name += f" (sd over objectives {_of(numbers, data, variant, 'loss/sd'):.3f})"
            shift = 0.18 * (index - (len(definition.variants) - 1) / 2)
            for place, metric in enumerate(metrics):
                values = list(numbers.of_seeds(data, variant, metric).values())
                if not values:
                    continue
                label = name if place == 0 else None
                mark, colour = MARKS[index], COLOURS[index]
                axes.plot(values, [place + shift] * len(values), mark, color=colour, alpha=0.35, ms=4)
                axes.plot([np.mean(values)], [place + shift], mark, color=colour, ms=7, label=label)
        axes.set_yticks(range(len(metrics)), [definition.metrics[m] for m in metrics], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(log_name(data), fontsize=10, pad=34)
        _plain(axes, "", "")
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    figure.supxlabel("pair loss of each objective: every seed, and the mean (large)", fontsize=9)
    return figure


def daily(definition: Experiment, numbers: Numbers) -> Figure:
    """Difference up to each day, with the interval over worlds."""
    figure = Figure(figsize=(5.0 * len(numbers.logs) + 0.6, 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(numbers.logs), sharey=True))
    for axes, data in zip(panels, numbers.logs, strict=True):
        for index, (variant, name) in enumerate(definition.variants.items()):
            found = [(numbers.find(data, variant, m, definition.reference), m) for m in definition.metrics]
            told = [(number, int(metric.split("@")[1]) + 1) for number, metric in found if number is not None]
            days, colour = [day for _, day in told], COLOURS[index]
            axes.plot(days, [n.value for n, _ in told], MARKS[index] + "-", color=colour, label=name)
            axes.fill_between(days, [n.low for n, _ in told], [n.high for n, _ in told], color=colour, alpha=0.2, lw=0)
        axes.axhline(0, color="0.5", lw=0.8)
        axes.set_title(log_name(data), fontsize=10)
        _plain(axes, "day", "")
    panels[0].set_ylabel(
        "days with a visit up to then, difference from\nthe fusion formula, % (band: 95 % over worlds)"
    )
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def front(definition: Experiment, numbers: Numbers) -> Figure:
    """Each method's points for its weights, joined, one metric against the other."""
    across, up = definition.metrics
    figure = Figure(figsize=(5.4 * len(numbers.logs), 4.4), layout="constrained")
    for axes, data in zip(np.atleast_1d(figure.subplots(1, len(numbers.logs))), numbers.logs, strict=True):
        methods: dict[str, list[str]] = {}
        for variant in definition.variants:
            methods.setdefault(variant.rsplit("_", 1)[0], []).append(variant)
        for index, (method, variants) in enumerate(methods.items()):
            points = np.array([[_of(numbers, data, v, metric) for metric in (across, up)] for v in variants])
            colour, mark = COLOURS[index], MARKS[index]
            for variant in variants:
                seeds = [numbers.of_seeds(data, variant, metric) for metric in (across, up)]
                axes.plot(list(seeds[0].values()), list(seeds[1].values()), mark, color=colour, alpha=0.25, ms=4)
            volume = numbers.find(data, method, "hypervolume")
            told = "" if volume is None else f", hypervolume {value_cell(volume, definition.kind, volume.metric)}"
            name = definition.variants[variants[0]].split(",")[0]
            axes.plot(points[:, 0], points[:, 1], mark + _DASHES[index], color=colour, ms=8, label=name + told)
            for variant, point in zip(variants, points, strict=True):
                ratio = definition.variants[variant].split(", ")[1]
                axes.annotate(ratio, point, textcoords="offset points", xytext=(6, 5), fontsize=7.5, color=colour)
        _plain(axes, f"GAUC of {definition.metrics[across]}", f"GAUC of {definition.metrics[up]}")
        axes.set_title(f"{log_name(data)}: mean over seeds (large), every seed (small)", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    return figure


def relations(definition: Experiment, numbers: Numbers) -> Figure:
    """The labels' correlations and the network's attention, as matrices."""
    figure = Figure(figsize=(7.6, 3.9 * len(numbers.logs)), layout="constrained")
    rows = figure.subplots(len(numbers.logs), 2, squeeze=False)
    [variant] = definition.variants
    kinds = (("correlation", "labels: rank correlation", 2), ("attention", "network: attention", 3))
    for drawn, data in zip(rows, numbers.logs, strict=True):
        found = [r.metric.split("/")[1:] for r in numbers.rows if r.data == data and r.metric.startswith("attention/")]
        names = list(dict.fromkeys(name for pair in found for name in pair))
        for axes, (kind, title, digits) in zip(drawn, kinds, strict=True):
            matrix = np.full((len(names), len(names)), np.nan)
            for one, other in {(a, b) for a, b in found}:
                value = _of(numbers, data, variant, f"{kind}/{one}/{other}")
                i, j = names.index(one), names.index(other)
                matrix[i, j] = matrix[j, i] = value
            axes.imshow(matrix, cmap="Blues")
            middle = np.nanmin(matrix) + 0.6 * (np.nanmax(matrix) - np.nanmin(matrix))
            for i, j in np.argwhere(~np.isnan(matrix)):
                colour = "white" if matrix[i, j] > middle else "black"
                axes.text(j, i, f"{matrix[i, j]:z.{digits}f}", ha="center", va="center", fontsize=7.5, color=colour)
            axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
            axes.set_yticks(range(len(names)), names, fontsize=8)
            axes.set_title(f"{log_name(data)}, {title}", fontsize=9)
            axes.spines[:].set_visible(False)
    return figure


def ippo(definition: Experiment, numbers: Numbers) -> Figure:
    """The label weights that IPPO tries, round by round: mean and range over the seeds, as far as all got."""
    figure = Figure(figsize=(5.8 * len(numbers.logs), 4.0), layout="constrained")
    for axes, data in zip(np.atleast_1d(figure.subplots(1, len(numbers.logs))), numbers.logs, strict=True):
        told: dict[str, dict[int, list[float]]] = {}
        for row in numbers.rows:
            if row.data == data and row.seed is not None and row.metric.startswith("weight/"):
                label, step = row.metric.removeprefix("weight/").split("@")
                told.setdefault(label, {}).setdefault(int(step), []).append(row.value)
        for index, (label, of_rounds) in enumerate(told.items()):
            # Where some seeds have stopped early, the mean of the others would jump.
            most = max(map(len, of_rounds.values()))
            rounds = sorted(step for step, values in of_rounds.items() if len(values) == most)
            style = {"color": COLOURS[index % len(COLOURS)], "ls": _DASHES[index // len(COLOURS) % len(_DASHES)]}
            axes.plot(
                rounds,
                [np.mean(of_rounds[r]) for r in rounds],
                **style,
                marker=MARKS[index],
                markevery=10,
                label=label,
            )
            low, high = ([pick(of_rounds[r]) for r in rounds] for pick in (min, max))
            axes.fill_between(rounds, low, high, color=COLOURS[index % len(COLOURS)], alpha=0.12, lw=0)
        _plain(axes, "round of IPPO", "weight of the label (mean and range over seeds)")
        axes.set_title(log_name(data), fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _of(numbers: Numbers, data: str, variant: str, metric: str) -> float:
    found = numbers.find(data, variant, metric)
    return np.nan if found is None else found.value


def _plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


DRAWN: Mapping[str, Callable[[Experiment, Numbers], Figure]] = {
    "activity": activity,
    "losses": losses,
    "daily": daily,
    "front": front,
    "relations": relations,
    "ippo": ippo,
}
"""Kind of experiment -> its picture; the others are tables."""
