"""What the tables and pictures of experiments have in common."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from emer.files import atomic_path
from emer.online.statistics import Difference


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """CSV in full precision; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()


def interval_text(d: Difference, digits: int = 2) -> str:
    """The difference in per cent with its interval if it has one, bold where that leaves out 0."""
    if math.isnan(d.percent_low):
        return f"{d.percent:+.{digits}f}" if math.isfinite(d.percent) else "-"
    text = f"{d.percent:+.{digits}f} [{d.percent_low:+.{digits}f}, {d.percent_high:+.{digits}f}]"
    return f"**{text}**" if d.percent_low > 0 or d.percent_high < 0 else text


def save_png(figure: Figure, target: Path, dpi: int = 150) -> None:
    """Write the picture whole or not at all."""
    FigureCanvasAgg(figure)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")
