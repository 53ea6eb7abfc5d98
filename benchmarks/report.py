"""What a section of the benchmark hands to the report, and the report in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.timing import Timing, three_digits


@dataclass(frozen=True)
class Table:
    """Attributes:
    title: stands above the table.
    header: names of the columns.
    rows: cells of each row, as many as there are columns.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Goal:
    """A figure that was promised.

    Attributes:
        what: in words.
        measured, required, aim: in the same unit; ``aim`` is what was hoped for, None if nothing beyond ``required``.
        unit: "x" for a ratio, "MB", "%".
        at_most: whether smaller is better.
    """

    what: str
    measured: float
    required: float
    aim: float | None = None
    unit: str = "x"
    at_most: bool = False

    def met(self, level: float) -> bool:
        return self.measured <= level if self.at_most else self.measured >= level

    def row(self) -> tuple[str, ...]:
        sign = "<=" if self.at_most else ">="
        verdict = "pass" if self.met(self.required) else "**miss**"
        if self.aim is not None and self.met(self.aim):
            verdict += ", aim too"
        aim = "" if self.aim is None else f"{sign} {self._number(self.aim)}"
        return self.what, f"{sign} {self._number(self.required)}", aim, self._number(self.measured), verdict

    def _number(self, value: float) -> str:
        return f"{three_digits(value)}{'' if self.unit == 'x' else ' '}{self.unit}"


@dataclass
class Section:
    """Attributes:
    name: what --only calls it.
    title, text: heading, and a paragraph on what is compared with what.
    tables, goals: see there.
    raw: what results.json holds of it.
    """

    name: str
    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def keep(self, key: str, timings: dict[str, Timing]) -> None:
        """Put timings into ``raw``."""
        self.raw[key] = {name: {"median_seconds": t.seconds, "samples": t.samples} for name, t in timings.items()}


def cell(timing: Timing | None, baseline: Timing | None, skipped: str = "not run") -> str:
    """A time, and how many times as fast as the baseline that is."""
    if timing is None:
        return skipped
    if baseline is None or baseline is timing:
        return str(timing)
    return f"{timing}, {three_digits(baseline.over(timing))}x"


def markdown(table: Table) -> str:
    """The table in Markdown under its title."""
    lines = [" | ".join(cells) for cells in (table.header, ["---"] * len(table.header), *table.rows)]
    return f"**{table.title}**\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


GOAL_HEADER = ("goal", "required", "aim", "measured", "verdict")
