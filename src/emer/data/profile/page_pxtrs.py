"""The sections of the page that are about the pxtrs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.pages.html import Cell, figure, folded, paragraph, side, table, text
from emer.pages.pictures import heat, ranges, reliability

Content = Mapping[str, Any]


def pxtrs(content: Content) -> str:
    """Distributions, ties and constants."""
    splits, objectives = content["splits"], content["schema"]["objectives"]
    keys = list(next(iter(splits.values()))["pxtr"][objectives[0]["name"]])
    rows: list[list[Cell]] = [
        [o["name"], split, *(c["pxtr"][o["name"]][key] for key in keys)]
        for o in objectives
        for split, c in splits.items()
    ]
    said = (
        "Over all candidates: mean, extremes, share of zeros; share of lists in which the pxtr is constant, share of "
        f"pairs within lists that it leaves tied; quantiles of a sample of {text(content['sampled']['candidates'])} "
        "candidates of all splits, or its part of a split"
    )
    figures = []
    for unit, log, x in (
        ("probability", True, "predicted probability, logarithmic"),
        ("seconds", False, "predicted seconds"),
    ):
        names = [o["name"] for o in objectives if o["unit"] == unit]
        if names:
            bars = [(n, {s: _five(c["pxtr"][n]) for s, c in splits.items()}) for n in names]
            alt = f"Quantiles of {', '.join(names)} by split. The numbers stand in the table beside it."
            caption = f"From 1 to 99 % (thin), from 25 to 75 % (thick) and median (mark) of each pxtr: {x}."
            figures.append(figure(ranges(bars, x=x, log=log, alt=alt), caption))
    head = ["objective", "unit", "role", "predicts", "noisy"]
    meaning = [[o["name"], o["unit"], o["role"], o["feedback"], o["noisy"]] for o in objectives]
    numbers = table(["objective", "split", *(key.replace("_", " ") for key in keys)], rows, said)
    return side(table(head, meaning, "Objectives"), *figures) + numbers


def calibration(content: Content) -> str:
    """Mean prediction against mean outcome, and what was found when the pxtrs were made."""
    splits = content["splits"]
    names = list(dict.fromkeys(name for c in splits.values() for name in c["quality"]))
    outside = _out_of_sample(content["out_of_sample"])
    if not names:
        return paragraph("No objective predicts a label or watch time that is logged on exposed candidates.") + outside
    units = {o["name"]: " (s)" if o["unit"] == "seconds" else "" for o in content["schema"]["objectives"]}
    keys = ("target", "rows", "predicted", "actual", "ece", "auc", "gauc", "lists")
    rows: list[list[Cell]] = []
    figures, bins = [], []
    for name in names:
        of = {s: c["quality"][name] for s, c in splits.items() if name in c["quality"]}
        rows += [[name, s, *(q[key] for key in keys)] for s, q in of.items()]
        target = next(iter(of.values()))["target"]
        alt = f"Mean {target} against mean {name} in bins, by split. The numbers stand in a table below."
        caption = f"{name} against {target}{units[name]}: bins of equal count; on the grey line it is right on average."
        svg = reliability({s: q["bins"] for s, q in of.items()}, unit=units[name], alt=alt)
        figures.append(figure(svg, caption, narrow=True))
        cells = [[s, *bin_] for s, q in of.items() for bin_ in zip(*(q["bins"][k] for k in _BINS), strict=True)]
        bins.append(table(["split", "predicted", "actual", "rows"], cells, f"{name} against {target}"))
    said = (
        "On exposed candidates ("
        + ", ".join(f"{s} {text(n)}" for s, n in content["sampled"]["exposed"].items())
        + " of them, a sample where that is fewer than there are): mean prediction and outcome, expected calibration "
        "error in bins of equal count (in seconds for watch time), AUC over all, and GAUC within lists with the lists "
        "it rests on"
    )
    head = ["objective", "split", "against", *keys[1:]]
    return table(head, rows, said) + side(*figures) + folded("Bins as numbers", side(*bins)) + outside


_BINS = ("predicted", "actual", "rows")


def _out_of_sample(quality: Content) -> str:
    pooled, by_day = quality["pooled"], quality["by_day"]
    if not pooled:
        return ""
    keys = list(next(iter(pooled.values())))
    rows = [[name, *(f[key] for key in keys)] for name, f in pooled.items()]
    parts = [table(["objective", *keys], rows, "Out of sample, when the pxtrs were made (calibration.json)")]
    for key in keys:
        days = [[day, *(f[name][key] for name in pooled)] for day, f in by_day.items()]
        parts.append(table(["day", *pooled], days, f"{key} by day"))
    return parts[0] + folded("Out of sample, by day", side(*parts[1:]))


def orders(content: Content) -> str:
    """GAUC of every column against every target."""
    gauc = content["gauc"]
    targets = list(next(iter(gauc.values())))
    if not targets:
        return paragraph("There is no feedback to order.")
    names = [name.removeprefix("pxtr_").removeprefix("number_") for name in gauc]
    values = [[gauc[column][target]["gauc"] for target in targets] for column in gauc]
    alt = f"GAUC of {', '.join(gauc)} against {', '.join(targets)}. The numbers stand in the table beside it."
    caption = (
        "Within the lists of all splits, how a column orders the exposed candidates by each feedback (GAUC, weighted "
        "by exposed candidates): .5 is chance, orange is above, blue below."
    )
    rows = [
        [column, target, of[target]["gauc"], of[target]["lists"]] for column, of in gauc.items() for target in targets
    ]
    numbers = table(["column", "target", "GAUC", "lists"], rows, "GAUC, and lists whose exposed candidates differ")
    picture = figure(heat(names, targets, values, centre=0.5, reach=0.35, alt=alt), caption)
    best = []
    for target in targets:
        told = {column: of[target]["gauc"] for column, of in gauc.items() if of[target]["gauc"] is not None}
        if told:
            column = max(told, key=lambda c: told[c])
            best.append([target, column, told[column], gauc[column][target]["lists"]])
    beside = table(["target", "best column", "GAUC", "lists"], best, "The column that orders each target best")
    return side(picture, beside) + folded("All of them as numbers", numbers)


def correlations(content: Content) -> str:
    """Between objectives, labels, and numbers and labels."""
    found = content["correlations"]
    objectives = [o["name"] for o in content["schema"]["objectives"]]
    labels = [f["name"] for f in content["schema"]["feedback"]]
    figures, tables = [], []
    for key, names, title in (
        ("within_lists", objectives, "Spearman's, within lists (mean over lists)"),
        ("spearman", objectives, "Spearman's, over all candidates of the sample"),
        ("pearson", objectives, "Pearson's, over all candidates of the sample"),
        ("labels", labels, "Pearson's of labels (phi), over all exposed candidates"),
    ):
        if names:
            alt = f"{title}: {', '.join(names)}. The numbers stand in a table below."
            figures.append(figure(heat(names, names, found[key], centre=0, reach=1, alt=alt), f"{title}."))
            tables.append(_matrix(names, found[key], title))
    rows = [[number, label, v["r"], v["auc"]] for number, of in found["numbers"].items() for label, v in of.items()]
    said = "Item numbers against labels over the exposed candidates of the sample: Pearson's r and AUC"
    numbers = [table(["number", "label", "r", "AUC"], rows, said)] if rows else []
    return side(*figures) + folded("As numbers", side(*tables, *numbers))


def _matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], title: str) -> str:
    return table(["", *names], [[name, *row] for name, row in zip(names, values, strict=True)], title)


def _five(spread: Mapping[str, float]) -> tuple[float, ...] | None:
    five = tuple(spread[key] for key in ("p01", "p25", "p50", "p75", "p99"))
    return None if None in five else five
