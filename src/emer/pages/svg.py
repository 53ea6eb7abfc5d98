"""Pieces of small pictures as SVG text: they scale with the page, print, and need nothing from elsewhere.

Each picture is about as wide as a telephone. Colours are Okabe and Ito's, and every series has a dash and a mark of its
own besides, so that none is told by colour alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT = 380, 52, 12
LINE = 16


class Style(NamedTuple):
    """How a series is drawn."""

    colour: str
    dash: str
    mark: str


_SPLITS = {
    "train": Style("#0072B2", "", "circle"),
    "validation": Style("#D55E00", "6 3", "square"),
    "test": Style("#009E73", "2 3", "triangle"),
    "all": Style("#0072B2", "", "circle"),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
"""Okabe and Ito's, which colour-blind readers can tell apart, and a grey; Matplotlib's pictures have them too."""

_DASHES = ("", "6 3", "2 3", "9 3 2 3", "1 2")
_MARKS = ("circle", "square", "triangle", "diamond", "down", "plus", "cross")


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each series; those of data splits are always the same."""
    if set(names) <= set(_SPLITS):
        return {name: _SPLITS[name] for name in names}
    return {
        name: Style(COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)], _MARKS[i % len(_MARKS)])
        for i, name in enumerate(names)
    }


def number(value: float | None) -> str:
    """Four digits, thousands parted; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def bare(text: str) -> str:
    """A signed number as text, without the zero that stands alone before its point: ``-.25``, but ``-10.25``."""
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def cut(name: str, most: int = 22) -> str:
    """``name``, its middle left out where it is longer than ``most``: what tells names apart stands at their ends."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"


def room(names: Sequence[str]) -> int:
    """Width that names take, to the left of a picture."""
    return min(170, 14 + 7 * max((len(cut(name)) for name in names), default=0))


def nice(highest: float) -> list[float]:
    """0 and up to five round numbers not above ``highest``."""
    return ticks(0.0, highest)


def ticks(low: float, high: float) -> list[float]:
    """Up to six round numbers from ``low`` to ``high``."""
    rough = (high - low) / 4 or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= rough * 0.999)
    first = math.ceil(low / step - 0.001)
    # Rounded, since 3 steps of .1 are .30000000000000004.
    return [round(step * i, 12) for i in range(first, math.floor(high / step * 1.001) + 1)] or [low]


def diverging(share: float) -> str:
    """Blue at -1, white at 0, orange at 1; both light enough for black text."""
    end = (240, 150, 60) if share > 0 else (95, 165, 225)
    weight = min(1.0, abs(share))
    return "#" + "".join(f"{round(255 + (c - 255) * weight):02x}" for c in end)


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around a range of positive numbers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**e for e in range(first, max(last, first + 1) + 1)]


def legend(names: Sequence[str], width: int = WIDTH) -> tuple[list[str], int]:
    """Marks and names from the top downwards, and the height that they take."""
    style = styles(names)
    parts, across, up = [], 4.0, 8
    for name in names:
        shown = cut(name, 44)
        wide = 7 * len(shown) + 24
        if across > 4 and across + wide > width:
            across, up = 4.0, up + LINE
        if style[name].dash:
            colour, dash, _ = style[name]
            parts.append(
                f'<line x1="{across:.1f}" y1="{up}" x2="{across + 16:.1f}" y2="{up}" stroke="{colour}"'
                f' stroke-width="1.5" stroke-dasharray="{dash}"/>'
            )
        parts.append(mark(style[name], across + 8, up) + text(across + 20, up + 4, shown, "start"))
        across += wide
    return parts, up + LINE if names else 0


def mark(style: Style, across: float, up: float, size: float = 3.5) -> str:
    """A series' mark."""
    colour, _, shape = style
    if shape == "circle":
        return f'<circle cx="{across:.1f}" cy="{up:.1f}" r="{size:g}" fill="{colour}"/>'
    if shape == "square":
        a = size - 0.3
        return f'<rect x="{across - a:.1f}" y="{up - a:.1f}" width="{2 * a:.1f}" height="{2 * a:.1f}" fill="{colour}"/>'
    if shape in ("plus", "cross"):
        turn = 45 if shape == "cross" else 0
        arms = line(-size - 1, 0, size + 1, 0, colour, 2) + line(0, -size - 1, 0, size + 1, colour, 2)
        return f'<g transform="translate({across:.1f} {up:.1f}) rotate({turn})">{arms}</g>'
    e, f = size + 0.7, size - 0.3
    corners = {
        "triangle": [(0, -e), (-e, f), (e, f)],
        "down": [(0, e), (-e, -f), (e, -f)],
        "diamond": [(0, -e - 0.4), (e, 0), (0, e + 0.4), (-e, 0)],
    }[shape]
    return f'<polygon points="{points([(across + a, up + b) for a, b in corners])}" fill="{colour}"/>'


def dashes(style: Style, pairs: Sequence[tuple[float, float]], width: float = 1.5) -> str:
    """A series' line."""
    return (
        f'<polyline points="{points(pairs)}" fill="none" stroke="{style.colour}" stroke-width="{width:g}"'
        f' stroke-dasharray="{style.dash}"/>'
    )


def points(pairs: Sequence[tuple[float, float]]) -> str:
    """Coordinates of a polyline."""
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)


def line(a: float, b: float, c: float, d: float, colour: str, width: float = 1, opacity: float = 1) -> str:
    """From (a, b) to (c, d)."""
    return (
        f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" stroke="{colour}" stroke-width="{width}"'
        f' stroke-opacity="{opacity}"/>'
    )


def text(across: float, up: float, words: str, anchor: str, size: int = 11) -> str:
    """Words; ``anchor`` is start, middle or end."""
    return f'<text x="{across:.1f}" y="{up:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def upright(across: float, up: float, words: str) -> str:
    """Words that run upwards, centred."""
    return f'<text transform="translate({across:g} {up:g}) rotate(-90)" text-anchor="middle">{escape(words)}</text>'


def svg(height: float, parts: Sequence[str], alt: str, width: int = WIDTH) -> str:
    """The picture; ``alt`` says it in words."""
    words = escape(alt, quote=True)
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {width} {height:g}" width="{width}" font-size="11">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )
