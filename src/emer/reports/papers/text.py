"""How numbers stand in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emer.pages.svg import bare
from emer.reports.papers.numbers import Number

LOGS = {"simulated": "simulated log", "kuairand": "KuaiRand-Pure", "world": "simulated world"}
"""What the READMEs call a log; another one has its own name."""


def log_name(data: str) -> str:
    """A log or kind of platform, in words."""
    return LOGS.get(data, data.replace("_", " "))


def value_cell(number: Number | None, kind: str, metric: str) -> str:
    """A value with half its 95 % interval."""
    if number is None or math.isnan(number.value):
        return "–"
    if metric == "log_speed":
        return f"{math.exp(number.value) / 1000:,.0f} K"
    if kind in ("online", "daily"):
        return _bold(_with_half(number, 2, sign=True), number)
    return _with_half(number, digits_of(metric))


def difference_cell(number: Number | None, kind: str, metric: str) -> str:
    """A difference with half its 95 % interval, bold where that leaves out 0."""
    if number is None or math.isnan(number.value):
        return "–"
    if metric == "log_speed":
        text = f"{100 * math.expm1(number.value):+.1f} %"
        if not math.isnan(number.low):
            text += f" [{100 * math.expm1(number.low):+.1f}, {100 * math.expm1(number.high):+.1f}]"
        return _bold(text, number)
    digits = 2 if kind in ("online", "daily") else digits_of(metric)
    return _bold(_with_half(number, digits, sign=True), number)


def digits_of(metric: str) -> int:
    """Decimals that are shown of a metric."""
    return 2 if metric in ("rounds", "accepted") else 4


def published_cell(value: float | None, kind: str, metric: str) -> str:
    """A paper's number, as it prints it."""
    if value is None:
        return "–"
    if metric == "log_speed":
        return f"{value / 1000:,.1f} K"
    if kind in ("online", "daily"):
        return f"{value:+.3f}"
    return bare(f"{value:.4f}".removesuffix("0"))


def grid(
    corner: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]], align: str = "---:"
) -> list[str]:
    """Lines of a Markdown table.

    Args:
        corner: above the names of the rows.
        rows, columns: their names.
        cells: a row of text for each of ``rows``, a cell for each of ``columns``.
        align: ``---:`` for numbers, ``---`` for words.
    """
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" + f"|{align}" * len(columns) + "|"]
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(rows, cells, strict=True)]
    return lines


def _with_half(number: Number, digits: int, sign: bool = False) -> str:
    text = f"{number.value:{'+' if sign else ''}.{digits}f}"
    if math.isnan(number.low):
        return text
    return f"{text} ± {(number.high - number.low) / 2:.{digits}f}"


def _bold(text: str, number: Number) -> str:
    return f"**{text}**" if number.certain else text
