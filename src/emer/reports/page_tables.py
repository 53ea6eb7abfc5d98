"""Tables of a report's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.metrics.summary import MIN_REQUESTS
from emer.pages.html import Cell, Shown, figure, folded, paragraph, side, table
from emer.pages.pictures import ranges
from emer.pages.svg import diverging
from emer.reports.comparison import COMPARED
from emer.reports.runs import COSTS, METRICS
from emer.reports.words import (
    count,
    four,
    leaves_out_0,
    p_value,
    plural,
    seeds,
    setting,
    signed,
    sure,
    title,
    with_error,
)

SectionContent = Mapping[str, Any]
"""One of the ``sections`` of a content made by :func:`emer.reports.content.report_content`."""

_NOTHING = "–"
_OPEN_SETTINGS = 12
"""Rows of the table of settings that are shown without being asked for."""


def places(section: SectionContent) -> dict[str, int]:
    """Method -> its number in the table, best first: its name in matrices and scatters."""
    return {row["method"]: i + 1 for i, row in enumerate(section["table"])}


def methods(section: SectionContent) -> str:
    """The table, with the random floor."""
    number = places(section)
    rows: list[list[Cell]] = []
    for row in section["table"]:
        values = row["values"]
        cells: list[Cell] = [row["method"], Shown(str(number[row["method"]]), number[row["method"]])]
        cells.append(Shown(seeds(row["seeds"]), len(row["seeds"])))
        cells += [Shown(with_error(values[name]), values[name]["estimate"]) for name in COMPARED]
        cells += [Shown(count(row["costs"][name]), row["costs"][name]) for name in COSTS]
        rows.append(cells)
    floor: list[Cell] = ["random order (expected)", "", ""]
    floor += [Shown(four(section["floors"][name]), section["floors"][name]) for name in COMPARED] + ["", "", ""]
    head = ["method", "no.", "seeds", *map(title, COMPARED), "parameters", "rows/s", "seconds"]
    caption = (
        f"Mean over seeds ± half the 95 % interval on {section['requests']:,} test requests of {section['users']:,} "
        "users, best label GAUC first. Intervals count users and seeds, those of the sum of label AUCs the seeds "
        "alone. Parameters are the trained ones; rows/s are candidates per second in training, seconds those of the "
        "training. A click on a head sorts."
    )
    return table(head, rows, caption, foot=[floor], sort=True)


def against_reference(section: SectionContent) -> str:
    """Differences from the reference, as a table and for label GAUC as a picture."""
    reference, number = section["reference"], places(section)
    found = sorted(section["differences"], key=lambda row: number[row["method"]])
    rows: list[list[Cell]] = []
    for row in found:
        cells: list[Cell] = [row["method"]]
        for name in COMPARED:
            d = row["metrics"][name]
            cells.append(Shown(signed(d), d["estimate"], strong=sure(d)))
            cells += [Shown(p_value(d["p"]), d["p"]), Shown(p_value(d["holm"]), d["holm"])]
        rows.append(cells)
    head = ["method", *(words for name in COMPARED for words in (title(name), "p", "Holm"))]
    caption = (
        f"Difference from {reference} ± half the 95 % interval, request by request on the seeds that both have. p is "
        "two-sided; Holm's is corrected for all p-values of this table, and bold means that it is below 0.05. Without "
        "an interval: no seed in common, or one seed only (sum of AUCs)."
    )
    note = paragraph(section["reference_note"]) if section["reference_note"] else ""
    parts = [table(head, rows, caption, sort=True)]
    bars = []
    for row in found:
        d = row["metrics"][METRICS[0]]
        if d["low"] is not None:
            five = (d["low"], d["low"], d["estimate"], d["high"], d["high"])
            bars.append((f"{number[row['method']]} {row['method']}", {"all": five}))
    if bars:
        alt = f"Difference in label GAUC from {reference} of {len(bars)} methods; the numbers stand in the table."
        svg = ranges(bars, x="difference in label GAUC", log=False, alt=alt, key=False)
        parts.append(figure(svg, f"Difference in label GAUC from {reference}, with its 95 % interval."))
    return note + side(*parts)


def matrix(section: SectionContent) -> str:
    """Every method against every other one."""
    content = section["pairwise"]
    names, number = content["methods"], places(section)
    found = {(pair["first"], pair["second"]): (1, pair) for pair in content["pairs"]}
    found |= {(pair["second"], pair["first"]): (-1, pair) for pair in content["pairs"]}
    reach = max((abs(pair["estimate"]) for pair in content["pairs"] if pair["estimate"] is not None), default=0) or 1
    rows: list[list[Cell]] = []
    for first in names:
        cells: list[Cell] = [f"{number[first]} {first}"]
        for second in names:
            sign, pair = found.get((first, second), (0, None))
            if pair is None or pair["estimate"] is None:
                cells.append(Shown("" if first == second else "–"))
                continue
            value = sign * pair["estimate"]
            hint = f"{first} minus {second}: {value:+.4f}, p {p_value(pair['p'])}, Holm {p_value(pair['holm'])}"
            cells.append(Shown(f"{value:+.4f}", value, diverging(value / reach), sure(pair), hint))
        rows.append(cells)
    caption = (
        f"Label GAUC, the row's method minus the column's ({len(content['pairs'])} pairs), on the seeds that both "
        "have. Orange: the row's is better. Bold: Holm's p over all pairs is below 0.05; a pointer on a cell shows p."
    )
    return table(["", *(str(number[name]) for name in names)], rows, caption)


def settings(section: SectionContent) -> str:
    """Settings that differ among the methods: first what several of them have, then what is one's own."""
    names = [row["method"] for row in section["table"]]
    common: list[list[str]] = []
    own: list[list[str]] = []
    for key, of in section["settings"].items():
        row = [key, *(_setting(of, name) for name in names)]
        (common if len(set(row[1:]) - {_NOTHING}) > 1 else own).append(row)
    head = ["setting", *names]
    shown = table(head, common, "Settings that several methods have, with different values.", wrap=True)
    if len(common) > _OPEN_SETTINGS or len(names) > 6:
        shown = folded(f"{plural(len(common), 'setting')} that several methods have", shown)
    parts = [shown] * bool(common)
    if own:
        said = "Settings that only some methods have; a dash for the others."
        parts.append(
            folded(f"{plural(len(own), 'setting')} that only some methods have", table(head, own, said, wrap=True))
        )
    return "".join(parts)


def objectives(section: SectionContent) -> str:
    """A table of colours for each family of GAUC."""
    parts = []
    names, reference = [row["method"] for row in section["table"]], section["reference"]
    for family, content in section["objectives"].items():
        gains = {name: _gains(content["methods"][name], content["random"]) for name in names}
        reach = max((abs(v) for row in gains.values() for v in row if v is not None), default=0) or 1
        rows: list[list[Cell]] = []
        for name in names:
            values, base = content["methods"][name], content["methods"][reference]
            hints = [_hint(reference, a, b) for a, b in zip(values, base, strict=True)]
            cells = zip(values, gains[name], hints, strict=True)
            rows.append([name, *(Shown(four(v), v, diverging((g or 0) / reach), hint=h) for v, g, h in cells)])
        rare = [(n or 0) < MIN_REQUESTS for n in content["requests"]]
        head = ["method", *(f"{n} *" if few else n for n, few in zip(content["members"], rare, strict=True))]
        foot: list[list[Cell]] = [["random order (expected)", *(Shown(four(v), v) for v in content["random"])]]
        foot.append(["requests", *(Shown(count(n), n) for n in content["requests"])])
        caption = (
            f"{title(family)} of every {'label' if family == 'label_gauc' else 'pxtr'}, mean over seeds. Colour: "
            f"difference from a random order, orange above it, blue below, full at {reach:.2f}; a pointer on a cell "
            f"shows the difference from {reference}."
        )
        if any(rare):
            caption += f" *: rests on fewer than {MIN_REQUESTS} requests, so that the figure is noise."
        parts.append(table(head, rows, caption, foot=foot, sort=True))
    return side(*parts)


OPEN_SEGMENTS = 3
"""Categories whose tables are open; those of more are folded."""


def segments(section: SectionContent) -> str:
    """Differences from the reference in every part of every segment."""
    names = [row["method"] for row in section["table"]]
    # A log may have twenty categories; the length of the list is always the last.
    *categories, last = [_tables_of_segment(section, segment, names) for segment in section["segments"]]
    shown, rest = [*categories[:OPEN_SEGMENTS], last], categories[OPEN_SEGMENTS:]
    return "".join([*shown, *([folded(f"{len(rest)} more segments", *rest)] if rest else [])])


def _tables_of_segment(section: SectionContent, segment: Mapping[str, Any], names: Sequence[str]) -> str:
    first, *others = [_segment(section, segment, metric, names) for metric in METRICS]
    return first + folded("The same in pxtr GAUC and IPUT GAUC", *others)


def _segment(section: SectionContent, segment: Mapping[str, Any], metric: str, names: Sequence[str]) -> str:
    reference = section["reference"]
    rows: list[list[Cell]] = []
    for name in names:
        cells: list[Cell] = [f"{name} (itself)" if name == reference else name]
        for part in segment["parts"]:
            found = part["methods"][name][metric]
            if name == reference:
                cells.append(Shown(with_error(found["value"]), found["value"]["estimate"]))
            else:
                d = found["difference"]
                cells.append(Shown(signed(d), d["estimate"], strong=leaves_out_0(d["low"], d["high"])))
        rows.append(cells)
    foot: list[list[Cell]] = [
        ["requests", *(Shown(f"{part['requests']:,}", part["requests"]) for part in segment["parts"])],
        ["users", *(Shown(f"{part['users']:,}", part["users"]) for part in segment["parts"])],
    ]
    caption = (
        f"{title(metric)} by {segment['name']}: difference from {reference} ± half the 95 % interval, and the value of "
        f"{reference} itself. Bold: the interval leaves out 0, which some will by chance, since it is not corrected "
        "for their number. Small parts average over fewer labels."
    )
    return table(["method", *(part["label"] for part in segment["parts"])], rows, caption, foot=foot)


def _setting(values: Mapping[str, Any], method: str) -> str:
    if method not in values:
        return _NOTHING
    return setting(values[method], 120)


def _gains(values: Sequence[float | None], floor: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else a - b for a, b in zip(values, floor, strict=True)]


def _hint(reference: str, value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value - base:+.4f} from {reference}"
