"""Curves with bands, points with intervals, and radars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from emer.pages.svg import (
    COLOURS,
    LEFT,
    RIGHT,
    WIDTH,
    dashes,
    decades,
    legend,
    line,
    mark,
    number,
    points,
    styles,
    svg,
    text,
    ticks,
    upright,
)

_BLUE, _ORANGE = COLOURS[:2]


class Curve(NamedTuple):
    """A line with a band around it; all of one length."""

    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class Point(NamedTuple):
    """A point of a scatter, with the vertical interval that it has, and whether it stands out."""

    key: str
    name: str
    x: float
    y: float
    low: float | None
    high: float | None
    chosen: bool


def curves(series: Mapping[str, Curve], *, x: str, y: str, alt: str) -> str:
    """Lines with bands.

    Args:
        series: name -> its curve, of finite numbers, each with a point at least.
        x, y: what the axes show, with unit.
        alt: the picture in words.
    """
    style, (key, top) = styles(list(series)), legend(list(series))
    top, rise = top + 8, 150
    below = top + rise
    lowest, highest = (f(v for c in series.values() for band in (c.low, c.high) for v in band) for f in (min, max))
    first, last = (f(v for c in series.values() for v in c.x) for f in (min, max))
    across = _linear(first, last, LEFT, WIDTH - RIGHT)
    up = _linear(lowest, highest, below, top)
    whole = all(float(v).is_integer() for c in series.values() for v in c.x)
    marked = [value for value in ticks(first, last) if not whole or value.is_integer()]
    parts = [*key, *_grid(ticks(lowest, highest), up), *_below(marked, across, below)]
    for name, (places, mean, low, high) in series.items():
        edge = list(zip(places, low, strict=True)) + list(zip(places, high, strict=True))[::-1]
        shape = points([(across(a), up(b)) for a, b in edge])
        parts.append(f'<polygon points="{shape}" fill="{style[name].colour}" fill-opacity="0.13"/>')
        drawn = [(across(a), up(b)) for a, b in zip(places, mean, strict=True)]
        parts.append(dashes(style[name], drawn, 1.8))
        parts += [mark(style[name], a, b, 2.6) for a, b in drawn[:: max(1, len(drawn) // 8)]]
    parts += [text((LEFT + WIDTH - RIGHT) / 2, below + 32, x, "middle"), upright(11, top + rise / 2, y)]
    return svg(below + 38, parts, alt)


def scatter(
    found: Sequence[Point], *, x: str, y: str, alt: str, log: bool = False, front: Sequence[tuple[float, float]] = (),
    origin: tuple[float, float] | None = None,
) -> str:  # fmt: skip
    """Numbered points, those that stand out in orange with a square.

    Args:
        found: at least one; ``x`` positive where ``log``.
        x, y: what the axes show, with unit.
        alt: the picture in words.
        log: a logarithmic horizontal axis.
        front: corners of a staircase from the left upper to the right lower one.
        origin: a point that is marked by two lines.
    """
    top, rise = 10, 220
    below = top + rise
    wide = [point.x for point in found]
    tall = [v for point in found for v in (point.low, point.y, point.high) if v is not None]
    if origin is not None:
        wide, tall = [*wide, origin[0]], [*tall, origin[1]]
    marked = decades(min(wide), max(wide)) if log else ticks(min(wide), max(wide))
    across = _logarithmic(marked[0], marked[-1]) if log else _linear(min(wide), max(wide), LEFT + 8, WIDTH - RIGHT - 16)
    up = _linear(min(tall), max(tall), below - 6, top + 6)
    parts = [*_grid(ticks(min(tall), max(tall)), up), *_below(marked, across, below)]
    if origin is not None:
        parts.append(line(across(origin[0]), top, across(origin[0]), below, "#777"))
        parts.append(line(LEFT, up(origin[1]), WIDTH - RIGHT, up(origin[1]), "#777"))
    if front:
        stairs = points([(across(a), up(b)) for a, b in front])
        parts.append(f'<polyline points="{stairs}" fill="none" stroke="{_ORANGE}" stroke-dasharray="5 3"/>')
    taken: list[tuple[float, float]] = []
    for key, name, a, b, low, high, chosen in found:
        colour, place, level = _ORANGE if chosen else _BLUE, across(a), up(b)
        bar = "" if low is None or high is None else line(place, up(low), place, up(high), colour, 1.2, 0.6)
        shape = (
            f'<rect x="{place - 3.5:.1f}" y="{level - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
            if chosen
            else f'<circle cx="{place:.1f}" cy="{level:.1f}" r="3.4" fill="{colour}"/>'
        )
        word = _beside(key, place, level, taken)
        parts.append(f"<g><title>{escape(name)}</title>{bar}{shape}{word}</g>")
    parts += [text((LEFT + WIDTH - RIGHT) / 2, below + 32, x, "middle"), upright(11, top + rise / 2, y)]
    return svg(below + 38, parts, alt)


def radar(
    series: Mapping[str, Sequence[float | None]], axes: Sequence[str], *, low: float, high: float, alt: str
) -> str:
    """A ray for each axis, ``low`` in the middle and ``high`` at the rim; a gap where there is no value.

    Args:
        series: name -> a value for each axis.
        axes: at least three.
        low, high: ends of every ray.
        alt: the picture in words.
    """
    style, (key, top) = styles(list(series)), legend(list(series))
    radius, centre = 105.0, WIDTH / 2
    middle = top + 34 + radius

    def at(i: int, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * i / len(axes) - math.pi / 2
        return centre + radius * share * math.cos(angle), middle + radius * share * math.sin(angle)

    parts = [*key]
    for value in ticks(low, high):
        share = (value - low) / ((high - low) or 1)
        ring = points([at(i, share) for i in range(len(axes))])
        parts.append(f'<polygon points="{ring}" fill="none" stroke="#ddd"/>')
        parts.append(text(centre + 3, middle - radius * share - 2, number(value), "start", 9))
    for i, name in enumerate(axes):
        (x, y), (a, b) = at(i, 1.0), at(i, 1.1)
        parts.append(line(centre, middle, x, y, "#ddd"))
        side = a - centre
        anchor = "middle" if abs(side) < 12 else "start" if side > 0 else "end"
        parts.append(text(a, b + 4, name, anchor))
    for name, values in series.items():
        corners = [at(i, (v - low) / ((high - low) or 1)) if v is not None else None for i, v in enumerate(values)]
        sides = pairwise([*corners, corners[0]])
        parts += [dashes(style[name], [a, b], 1.6) for a, b in sides if a is not None and b is not None]
        parts += [mark(style[name], *corner, 2.8) for corner in corners if corner is not None]
    return svg(middle + radius + 28, parts, alt)


def _beside(key: str, place: float, level: float, taken: list[tuple[float, float]]) -> str:
    """A number beside its point, where no other one stands if there is room, which it then takes."""
    wide = 6.0 * len(key) + 2
    places = [
        (place + side, level + down) for down in (-4, 11, 4, -13, 20, -22) for side in (5 + wide / 2, -5 - wide / 2)
    ]
    free = [(a, b) for a, b in places if all(abs(a - c) >= wide or abs(b - d) >= 9 for c, d in taken) and a < WIDTH - 4]
    across, up = (free or places)[0]
    taken.append((across, up))
    return text(across, up, key, "middle", 10)


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * ((value - low) / span if high > low else 0.5)


def _logarithmic(low: float, high: float) -> Callable[[float], float]:
    scale = _linear(math.log10(low), math.log10(high), LEFT + 8, WIDTH - RIGHT - 16)
    return lambda value: scale(math.log10(value))


def _grid(marked: Sequence[float], up: Callable[[float], float]) -> list[str]:
    parts = []
    for value in marked:
        parts.append(line(LEFT, up(value), WIDTH - RIGHT, up(value), "#ddd"))
        parts.append(text(LEFT - 5, up(value) + 4, number(value), "end", 10))
    return parts


def _below(marked: Sequence[float], across: Callable[[float], float], below: float) -> list[str]:
    parts = [line(LEFT, below, WIDTH - RIGHT, below, "#333")]
    for value in marked:
        parts.append(line(across(value), below, across(value), below + 4, "#333"))
        parts.append(text(across(value), below + 16, number(value), "middle", 10))
    return parts
