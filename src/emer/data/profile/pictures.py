"""Small pictures as SVG text: they scale with the page, print, and need nothing from elsewhere.

Each is about as wide as a telephone. Colours are Okabe and Ito's, and every split has a dash and a mark of its own
besides, so that none is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Series = Mapping[str, Sequence[float]]

WIDTH, LEFT, RIGHT = 380, 52, 12
_STYLES = {
    "train": ("#0072B2", "", "circle"),
    "validation": ("#D55E00", "6 3", "square"),
    "test": ("#009E73", "2 3", "triangle"),
    "all": ("#0072B2", "", "circle"),
}


def steps(edges: Sequence[str], counts: Series, *, x: str, alt: str) -> str:
    """A histogram of every split as a stepped line: its share of each bin.

    Args:
        edges: text at each edge; the bins are drawn equally wide.
        counts: {split: count of each bin}.
        x: what the axis shows, with unit.
        alt: the picture in words.
    """
    height, top, bottom = 190, 26, 40
    shares = {name: [c / max(1, sum(row)) for c in row] for name, row in counts.items()}
    bins = len(edges) - 1
    highest = max((max(row, default=0) for row in shares.values()), default=0) or 1
    span, rise = WIDTH - LEFT - RIGHT, height - top - bottom
    across = [LEFT + span * i / max(1, bins) for i in range(bins + 1)]
    parts = [_legend(list(counts))]
    for value in _nice(highest):
        level = height - bottom - rise * value / highest
        parts.append(_line(LEFT, level, WIDTH - RIGHT, level, "#ddd"))
        parts.append(_text(LEFT - 5, level + 4, number(value), "end"))
    step = max(1, math.ceil(bins / max(1, span // (8 * max(map(len, edges)) + 8))))
    for i in range(0, bins + 1, step):
        parts.append(_line(across[i], height - bottom, across[i], height - bottom + 4, "#333"))
        if i < bins or len(edges[i]) < 6:  # a long one would stand out of the picture
            parts.append(_text(across[i], height - bottom + 16, edges[i], "middle"))
    for name, row in shares.items():
        points = [(across[0], float(height - bottom))]
        for i, share in enumerate(row):
            level = height - bottom - rise * share / highest
            points += [(across[i], level), (across[i + 1], level)]
        points.append((across[-1], height - bottom))
        colour, dash, _ = _STYLES[name]
        shape = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{shape}" fill="{colour}" fill-opacity="0.07" stroke="{colour}" stroke-width="2"'
            f' stroke-dasharray="{dash}"/>'
        )
    parts.append(_line(LEFT, height - bottom, WIDTH - RIGHT, height - bottom, "#333"))
    parts.append(_text(LEFT + span / 2, height - 6, x, "middle"))
    parts.append(_text(2, 12, "share", "start"))
    return _svg(height, parts, alt)


def ranges(rows: Sequence[tuple[str, Mapping[str, Sequence[float] | None]]], *, x: str, log: bool, alt: str) -> str:
    """Horizontal ranges, for each row one of every split: a thin line, a thick one inside it, and a mark.

    Args:
        rows: (name, {split: (low, thick low, mark, thick high, high) or None}).
        x: what the axis shows, with unit.
        log: a logarithmic axis, on which what is not positive stands at the left edge.
        alt: the picture in words.
    """
    names = list(dict.fromkeys(split for _, of in rows for split in of))
    left, line, top = _room([name for name, _ in rows]), 13, 26
    values = [v for _, of in rows for five in of.values() if five for v in five if v > 0 or not log]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    if log:
        ticks = _decades(low, high)
        low, high = ticks[0], ticks[-1]
    else:
        ticks = _nice(high or 1.0)
        low, high = min(low, 0.0), max(high, ticks[-1])
    span = WIDTH - left - RIGHT

    def at(value: float) -> float:
        if not log:
            return left + span * (value - low) / ((high - low) or 1)
        return left + span * math.log(max(value, low) / low) / (math.log(high / low) or 1)

    height = top + len(rows) * (line * len(names) + 6) + 34
    parts, below = [_legend(names)], height - 30
    for i, value in enumerate(ticks):
        parts.append(_line(at(value), top, at(value), below, "#ddd"))
        if len(ticks) < 7 or i % 2 == 0:
            parts.append(_text(at(value), below + 12, number(value), "middle"))
    place = top + 8.0
    for name, of in rows:
        parts.append(_text(left - 6, place + line * len(names) / 2 - 2, name, "end"))
        for split in names:
            five = of.get(split)
            if five:
                a, b, middle, c, d = map(at, five)
                colour = _STYLES[split][0]
                parts.append(_line(a, place, d, place, colour, 1.2))
                parts.append(_line(b, place, c, place, colour, 5, 0.45))
                parts.append(_mark(split, middle, place))
            place += line
        place += 6
    parts.append(_text(left + span / 2, height - 4, x, "middle"))
    return _svg(height, parts, alt)


def reliability(bins: Mapping[str, Mapping[str, Sequence[float]]], *, unit: str, alt: str) -> str:
    """Mean outcome against mean prediction of each bin, by split, with the diagonal."""
    side, top, width = 210, 26, LEFT + 230
    highest = max(v for b in bins.values() for key in ("predicted", "actual") for v in b[key]) or 1.0
    parts = [_legend(list(bins), width)]
    for value in _nice(highest):
        across, up = LEFT + side * value / highest, top + side * (1 - value / highest)
        parts += [_line(LEFT, up, LEFT + side, up, "#ddd"), _line(across, top, across, top + side, "#ddd")]
        parts += [
            _text(LEFT - 5, up + 4, number(value), "end"),
            _text(across, top + side + 14, number(value), "middle"),
        ]
    parts.append(_line(LEFT, top + side, LEFT + side, top, "#777"))
    for name, b in bins.items():
        points = [
            (LEFT + side * p / highest, top + side * (1 - a / highest))
            for p, a in zip(b["predicted"], b["actual"], strict=True)
        ]
        colour, dash, _ = _STYLES[name]
        shape = " ".join(f"{a:.1f},{c:.1f}" for a, c in points)
        parts.append(f'<polyline points="{shape}" fill="none" stroke="{colour}" stroke-dasharray="{dash}"/>')
        parts += [_mark(name, a, c) for a, c in points]
    parts.append(_text(LEFT + side / 2, top + side + 30, f"mean predicted{unit}", "middle"))
    parts.append(
        f'<text transform="translate(12 {top + side / 2}) rotate(-90)" text-anchor="middle">mean actual{unit}</text>'
    )
    return _svg(top + side + 36, parts, alt, width)


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *,
    centre: float, reach: float, alt: str,
) -> str:  # fmt: skip
    """A table of colours: blue below ``centre``, orange above, full at a distance of ``reach``."""
    left, longest = _room(rows), max(map(len, columns), default=0)
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
        parts.append(_text(left - 5, up + tall / 2 + 4, name, "end"))
        for j, value in enumerate(values[i]):
            across = left + cell * j
            fill = "#eee" if value is None else _diverging((value - centre) / reach)
            parts.append(
                f'<rect x="{across:.1f}" y="{up:.1f}" width="{cell - 1:.1f}" height="{tall - 1:.1f}" fill="{fill}"/>'
            )
            if cell >= 26:
                shown = "–" if value is None else f"{value:z.2f}".replace("0.", ".")
                parts.append(_text(across + cell / 2, up + tall / 2 + 4, shown, "middle", 10))
    return _svg(round(top + tall * len(rows) + 6), parts, alt)


def number(value: float | None) -> str:
    """Four digits, thousands parted; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _room(names: Sequence[str]) -> int:
    """Width that names take, to the left of a picture."""
    return min(170, 14 + 7 * max(map(len, names), default=0))


def _diverging(share: float) -> str:
    """Blue at -1, white at 0, orange at 1; both light enough for black text."""
    end = (240, 150, 60) if share > 0 else (95, 165, 225)
    weight = min(1.0, abs(share))
    return "#" + "".join(f"{round(255 + (c - 255) * weight):02x}" for c in end)


def _nice(highest: float) -> list[float]:
    """0 and up to five round numbers not above ``highest``."""
    rough = highest / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= rough * 0.999)
    return [step * i for i in range(int(highest / step * 1.001) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**e for e in range(first, max(last, first + 1) + 1)]


def _legend(names: Sequence[str], width: int = WIDTH) -> str:
    parts, across = [], width - RIGHT
    for name in reversed(names):
        across -= 7 * len(name) + 20
        parts.append(_mark(name, across, 8) + _text(across + 7, 12, name, "start"))
    return "".join(parts)


def _mark(split: str, across: float, up: float) -> str:
    colour, _, shape = _STYLES[split]
    if shape == "circle":
        return f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3.5" fill="{colour}"/>'
    if shape == "square":
        return f'<rect x="{across - 3.2:.1f}" y="{up - 3.2:.1f}" width="6.4" height="6.4" fill="{colour}"/>'
    corners = f"{across:.1f},{up - 4.2:.1f} {across - 4:.1f},{up + 3.2:.1f} {across + 4:.1f},{up + 3.2:.1f}"
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _line(a: float, b: float, c: float, d: float, colour: str, width: float = 1, opacity: float = 1) -> str:
    return (
        f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" stroke="{colour}" stroke-width="{width}"'
        f' stroke-opacity="{opacity}"/>'
    )


def _text(across: float, up: float, text: str, anchor: str, size: int = 11) -> str:
    return f'<text x="{across:.1f}" y="{up:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _svg(height: int, parts: Sequence[str], alt: str, width: int = WIDTH) -> str:
    words = escape(alt, quote=True)
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {width} {height}" width="{width}" font-size="11">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )
