"""Histograms, ranges, reliability and tables of colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from emer.pages.svg import (
    LEFT,
    RIGHT,
    WIDTH,
    bare,
    cut,
    decades,
    diverging,
    legend,
    line,
    mark,
    nice,
    number,
    points,
    room,
    styles,
    svg,
    text,
    ticks,
    upright,
)

Series = Mapping[str, Sequence[float]]


def steps(edges: Sequence[str], counts: Series, *, x: str, alt: str) -> str:
    """A histogram of every split as a stepped line: its share of each bin.

    Args:
        edges: text at each edge; the bins are drawn equally wide.
        counts: {split: count of each bin}.
        x: what the axis shows, with unit.
        alt: the picture in words.
    """
    style, (key, top) = styles(list(counts)), legend(list(counts))
    top, bottom = top + 18, 40
    height = top + 164
    shares = {name: [c / max(1, sum(row)) for c in row] for name, row in counts.items()}
    bins = len(edges) - 1
    highest = max((max(row, default=0) for row in shares.values()), default=0) or 1
    span, rise = WIDTH - LEFT - RIGHT, height - top - bottom
    across = [LEFT + span * i / max(1, bins) for i in range(bins + 1)]
    parts = [*key, text(2, top - 8, "share", "start")]
    for value in nice(highest):
        level = height - bottom - rise * value / highest
        parts.append(line(LEFT, level, WIDTH - RIGHT, level, "#ddd"))
        parts.append(text(LEFT - 5, level + 4, number(value), "end"))
    step = max(1, math.ceil(bins / max(1, span // (8 * max(map(len, edges)) + 8))))
    for i in range(0, bins + 1, step):
        parts.append(line(across[i], height - bottom, across[i], height - bottom + 4, "#333"))
        if i < bins or len(edges[i]) < 6:  # a long one would stand out of the picture
            parts.append(text(across[i], height - bottom + 16, edges[i], "middle"))
    for name, row in shares.items():
        corners = [(across[0], float(height - bottom))]
        for i, share in enumerate(row):
            level = height - bottom - rise * share / highest
            corners += [(across[i], level), (across[i + 1], level)]
        corners.append((across[-1], height - bottom))
        colour, dash, _ = style[name]
        parts.append(
            f'<polyline points="{points(corners)}" fill="{colour}" fill-opacity="0.07" stroke="{colour}"'
            f' stroke-width="2" stroke-dasharray="{dash}"/>'
        )
    parts.append(line(LEFT, height - bottom, WIDTH - RIGHT, height - bottom, "#333"))
    parts.append(text(LEFT + span / 2, height - 6, x, "middle"))
    return svg(height, parts, alt)


def ranges(
    rows: Sequence[tuple[str, Mapping[str, Sequence[float] | None]]], *, x: str, log: bool, alt: str, key: bool = True
) -> str:
    """Horizontal ranges, for each row one of every split: a thin line, a thick one inside it, and a mark.

    Args:
        rows: (name, {split: (low, thick low, mark, thick high, high) or None}).
        x: what the axis shows, with unit.
        log: a logarithmic axis, on which what is not positive stands at the left edge.
        alt: the picture in words.
        key: whether the series are named above it.
    """
    names = list(dict.fromkeys(split for _, of in rows for split in of))
    style, (marks, top) = styles(names), legend(names if key else [])
    left, tall, top = room([name for name, _ in rows]), 13, top + 10
    values = [v for _, of in rows for five in of.values() if five for v in five if v > 0 or not log]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    if log:
        marked = decades(low, high)
        low, high = marked[0], marked[-1]
    else:
        low = min(low, 0.0)
        marked = ticks(low, max(high, 0.0) or 1.0)
        high = max(high, marked[-1])
    span = WIDTH - left - RIGHT

    def at(value: float) -> float:
        if not log:
            return left + span * (value - low) / ((high - low) or 1)
        return left + span * math.log(max(value, low) / low) / (math.log(high / low) or 1)

    height = top + len(rows) * (tall * len(names) + 6) + 34
    parts, below = [*marks], height - 30
    for i, value in enumerate(marked):
        parts.append(line(at(value), top, at(value), below, "#ddd" if value or low == 0 else "#777"))
        if len(marked) < 7 or i % 2 == 0:
            parts.append(text(at(value), below + 12, number(value), "middle"))
    place = top + 8.0
    for name, of in rows:
        parts.append(text(left - 6, place + tall * len(names) / 2 - 2, cut(name), "end"))
        for split in names:
            five = of.get(split)
            if five:
                a, b, middle, c, d = map(at, five)
                colour = style[split].colour
                parts.append(line(a, place, d, place, colour, 1.2))
                parts.append(line(b, place, c, place, colour, 5, 0.45))
                parts.append(mark(style[split], middle, place))
            place += tall
        place += 6
    parts.append(text(left + span / 2, height - 4, x, "middle"))
    return svg(height, parts, alt)


def reliability(bins: Mapping[str, Mapping[str, Sequence[float]]], *, unit: str, alt: str) -> str:
    """Mean outcome against mean prediction of each bin, by split, with the diagonal."""
    width = LEFT + 230
    style, (key, top) = styles(list(bins)), legend(list(bins), width)
    side, top = 210, top + 10
    highest = max(v for b in bins.values() for key in ("predicted", "actual") for v in b[key]) or 1.0
    parts = [*key]
    for value in nice(highest):
        across, up = LEFT + side * value / highest, top + side * (1 - value / highest)
        parts += [line(LEFT, up, LEFT + side, up, "#ddd"), line(across, top, across, top + side, "#ddd")]
        parts += [
            text(LEFT - 5, up + 4, number(value), "end"),
            text(across, top + side + 14, number(value), "middle"),
        ]
    parts.append(line(LEFT, top + side, LEFT + side, top, "#777"))
    for name, b in bins.items():
        corners = [
            (LEFT + side * p / highest, top + side * (1 - a / highest))
            for p, a in zip(b["predicted"], b["actual"], strict=True)
        ]
        colour, dash, _ = style[name]
        parts.append(f'<polyline points="{points(corners)}" fill="none" stroke="{colour}" stroke-dasharray="{dash}"/>')
        parts += [mark(style[name], a, c) for a, c in corners]
    parts.append(text(LEFT + side / 2, top + side + 30, f"mean predicted{unit}", "middle"))
    parts.append(upright(12, top + side / 2, f"mean actual{unit}"))
    return svg(top + side + 36, parts, alt, width)


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *,
    centre: float, reach: float, alt: str,
) -> str:  # fmt: skip
    """A table of colours: blue below ``centre``, orange above, full at a distance of ``reach``."""
    left, longest = room(rows), max(map(len, columns), default=0)
    # Names that lean at 50 degrees.
    top, right = 16 + 5 * longest, 6 + 4 * longest
    cell = min(38.0, (WIDTH - left - right) / max(1, len(columns)))
    tall = min(cell, 24.0)
    parts = []
    for j, name in enumerate(columns):
        middle = left + cell * (j + 0.5)
        parts.append(f'<text transform="translate({middle:.1f} {top - 4}) rotate(-50)">{escape(name)}</text>')
    for i, name in enumerate(rows):
        up = top + tall * i
        parts.append(text(left - 5, up + tall / 2 + 4, cut(name), "end"))
        for j, value in enumerate(values[i]):
            across = left + cell * j
            fill = "#eee" if value is None else diverging((value - centre) / reach)
            parts.append(
                f'<rect x="{across:.1f}" y="{up:.1f}" width="{cell - 1:.1f}" height="{tall - 1:.1f}" fill="{fill}"/>'
            )
            if cell >= 26:
                shown = "–" if value is None else bare(f"{value:z.2f}")
                parts.append(text(across + cell / 2, up + tall / 2 + 4, shown, "middle", 10))
    return svg(round(top + tall * len(rows) + 6), parts, alt)
