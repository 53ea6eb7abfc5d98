"""Pictures of a report's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.pages.charts import Curve, Point, curves, radar, scatter
from emer.pages.html import Cell, Shown, figure, folded, side, table
from emer.pages.pictures import ranges
from emer.reports.fronts import staircase
from emer.reports.histories import CURVES
from emer.reports.page_tables import SectionContent, places
from emer.reports.runs import METRICS
from emer.reports.words import four, plural, title

_RADAR = 6
_OPEN = 4
"""Pictures of one kind that are shown without being asked for."""
_IN_RANGES = 4
_NUMBERS = "The numbers stand in report.json."
_COST_TITLES = {"fit_seconds": "seconds of training", "parameters": "trained parameters"}


def radars(section: SectionContent) -> str:
    """GAUC of every objective, of the reference and the best others."""
    parts = []
    for family in ("label_gauc", "pxtr_gauc"):
        content = section["objectives"].get(family)
        if content is None:
            continue
        drawn = section["drawn"][:_RADAR]
        kept = [i for i in range(len(content["members"])) if any(content["methods"][n][i] is not None for n in drawn)]
        series = {name: [content["methods"][name][i] for i in kept] for name in drawn}
        values = [v for row in series.values() for v in row if v is not None]
        if len(kept) < 3:
            continue
        low, high = min(0.5, *values), max(values)
        alt = f"{title(family)} by objective of {', '.join(drawn)}. The numbers stand in the table above."
        svg = radar(series, [content["members"][i] for i in kept], low=low, high=high, alt=alt)
        said = f"{title(family)}: from {low:.2f} in the middle to {high:.2f} at the rim. {_which(section, _RADAR)}"
        parts.append(figure(svg, said))
    return side(*parts)


def learning(section: SectionContent) -> str:
    """Learning curves: GAUC of all that are drawn, losses by what they are a loss of."""
    parts: list[str] = []
    losses: list[str] = []
    for metric in CURVES:
        bands = {name: section["curves"].get(metric, {}).get(name) for name in section["drawn"]}
        bands = {name: band for name, band in bands.items() if band}
        if not bands:
            continue
        if not metric.endswith("loss"):
            parts.append(_curves(bands, metric, _which(section, len(section["drawn"]))))
            continue
        for objective in dict.fromkeys(section["loss_of"][name] for name in bands):
            of = {name: band for name, band in bands.items() if section["loss_of"][name] == objective}
            said = f"Objective: {objective}; losses of different objectives do not compare."
            losses.append(_curves(of, metric, said))
    return side(*parts, *losses) if len(losses) <= _OPEN else side(*parts) + folded("Losses", side(*losses))


def evolving(section: SectionContent) -> str:
    """Weights of the objectives along training."""
    parts = []
    for name in [n for n in section["drawn"] if n in section["weights"]]:
        content = section["weights"][name]
        by = {"step": "optimiser step", "epoch": "epoch"}[content["by"]]
        series = {objective: _curve(band) for objective, band in content["objectives"].items()}
        alt = f"Mean weight of {', '.join(series)} by {by} in {name}. {_NUMBERS}"
        said = (
            f"{name}: mean weight of every objective by {by} (no unit): mean over seeds, band from least to greatest."
        )
        parts.append(figure(curves(series, x=by, y="weight", alt=alt), said))
    rest = folded(plural(len(parts) - _OPEN, "more method"), side(*parts[_OPEN:])) if len(parts) > _OPEN else ""
    return side(*parts[:_OPEN]) + rest


def prior_losses(section: SectionContent) -> str:
    """How the prior loss spreads over objectives."""
    content = section["losses"]
    having = [name for name in section["drawn"] if any(name in of for of in content.values())]
    parts = []
    for start in range(0, len(having), _IN_RANGES):
        names = having[start : start + _IN_RANGES]
        rows = [(objective, {name: of.get(name) for name in names}) for objective, of in content.items()]
        alt = f"Prior loss of {', '.join(content)} in validation, for {', '.join(names)}. {_NUMBERS}"
        svg = ranges(rows, x="prior loss in validation", log=False, alt=alt)
        said = (
            "Prior loss of every objective over the epochs and seeds: thin, least to greatest; thick, the middle half; "
            "mark, median (EMER's figure 4 shows the like). Narrow and alike is what balanced weights are for."
        )
        parts.append(figure(svg, said))
    return side(*parts)


def pareto(section: SectionContent) -> str:
    """Fronts, each with its table, and with its picture where it is of two metrics."""
    parts = []
    number = places(section)
    for front in section["fronts"]:
        names = [title(name) for name in front["metrics"]]
        rows: list[list[Cell]] = []
        for p in sorted(front["points"], key=lambda p: number[p["method"]]):
            volumes = [Shown(f"{p[name]:.6f}", p[name]) for name in ("alone", "own")]
            rows.append([p["method"], *(Shown(four(v), v) for v in p["values"]), p["front"], *volumes])
        said = (
            f"Front of {', '.join(names)}; its hypervolume above the random order is {front['volume']:.6f}. Alone: "
            "what it would lose without the method; own: the volume of the method's seeds by themselves."
        )
        if front["skipped"]:
            said += f" Without one of the metrics: {', '.join(front['skipped'])}."
        listed = table(["method", *names, "on the front", "alone", "own"], rows, said, sort=True)
        drawn = _front(front, number, names) if len(names) == 2 else ""
        parts.append(side(drawn, listed))
    return "".join(parts)


def ippo(section: SectionContent) -> str:
    """Archives of IPPO."""
    parts = []
    for one in section["archives"]:
        labels = one["labels"]
        rows: list[list[Cell]] = [
            [f"round {e['round']}, {e['model']}", *(Shown(four(v), v) for v in (*e["weights"], *e["gaucs"]))]
            for e in one["entries"]
        ]
        head = ["entry", *(f"weight, {name}" for name in labels), *(f"GAUC, {name}" for name in labels)]
        said = (
            f"{one['method']}, seed {one['seed']}: weights that no others of the archive dominate, after "
            f"{plural(one['rounds'], 'round')} of which {one['accepted']} accepted. The GAUCs are of each entry's own "
            "window."
        )
        parts.append(table(head, rows, said))
    return folded(plural(len(parts), "archive") + " of IPPO", *parts) if parts else ""


def costs(section: SectionContent) -> str:
    """Quality against what it costs."""
    number, parts = places(section), []
    for key, words in _COST_TITLES.items():
        found = []
        for row in section["table"]:
            v, cost = row["values"][METRICS[0]], row["costs"][key]
            if cost and v["estimate"] is not None:
                chosen = row["method"] == section["reference"]
                name = row["method"]
                found.append(Point(str(number[name]), name, cost, v["estimate"], v["low"], v["high"], chosen))
        if found:
            alt = f"Label GAUC against {words} of {len(found)} methods; the numbers stand in the table of methods."
            svg = scatter(found, x=f"{words} (logarithmic)", y="label GAUC", log=True, alt=alt)
            free = len(section["table"]) - len(found)
            said = f"Label GAUC with its 95 % interval against {words}. {_key(section)}"
            said += f" {plural(free, 'method')} without {words} not shown." * bool(free)
            parts.append(figure(svg, said))
    return side(*parts)


def _front(front: Mapping[str, Any], number: Mapping[str, int], names: Sequence[str]) -> str:
    found = []
    for p in front["points"]:
        x, y = p["values"]
        found.append(Point(str(number[p["method"]]), p["method"], x, y, None, None, p["front"]))
    origin = tuple(front["origin"])
    corners = staircase([tuple(p["values"]) for p in front["points"] if p["front"]], origin)
    alt = f"{names[1]} against {names[0]} of {len(found)} methods, and their front; the numbers stand in the table."
    svg = scatter(found, x=names[0], y=names[1], front=corners, origin=origin, alt=alt)
    said = "Means over seeds; squares are on the front (dashed: what it dominates above the random order, grey lines)."
    return figure(svg, f"{said} Numbers are those of the table of methods.")


def _curves(bands: Mapping[str, Mapping[str, Any]], metric: str, said: str) -> str:
    series = {name: _curve(band) for name, band in bands.items()}
    alt = f"{title(metric)} by epoch of {', '.join(series)}. {_NUMBERS}"
    caption = (
        f"{title(metric)[0].upper()}{title(metric)[1:]} by epoch: mean over the seeds that got so far, band from least "
        f"to greatest. {said}"
    )
    return figure(curves(series, x="epoch", y=title(metric), alt=alt), caption)


def _curve(band: Mapping[str, Any]) -> Curve:
    return Curve(band["x"], band["mean"], band["low"], band["high"])


def _which(section: SectionContent, most: int) -> str:
    left = len(section["table"]) - min(most, len(section["drawn"]))
    return f"The reference and the best others in label GAUC; {left} left out." if left else "All methods."


def _key(section: SectionContent) -> str:
    return f"Numbers are those of the table of methods; the square is {section['reference']}."
