"""An A/B test as a table and a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from emer.files import atomic_path
from emer.online.experiment import Effect, daily
from emer.online.statistics import Difference
from emer.online.totals import Totals

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def as_markdown(found: Sequence[Effect], base: str) -> str:
    """Twins first, then the platform's buckets, then the twins by segment: differences in per cent, 95 % intervals."""
    lines = [f"Difference from {base} per user, in per cent, with 95 % interval; bold where it leaves out 0.", ""]
    for design, title in (
        ("twin", "Twins: the same users under every arm"),
        ("bucket", "Buckets: other users under every arm, as a platform reports"),
        ("bucket, CUPED", "Buckets, adjusted for what the users did before (CUPED)"),
    ):
        rows = [e for e in found if e.design == design and e.segment == "all"]
        if rows:
            lines += [f"{title} ({_users(rows[0].difference)})", "", *_table(rows), ""]
    for segment in dict.fromkeys(e.segment for e in found if e.segment != "all"):
        rows = [e for e in found if e.segment == segment and e.kind == "observed"]
        lines += [f"Twins, users of activity *{segment}* ({_users(rows[0].difference)})", "", *_table(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def as_csv(found: Sequence[Effect]) -> str:
    """Every effect in full precision."""
    own = [f.name for f in fields(Effect) if f.name != "difference"]
    of_difference = [f.name for f in fields(Difference)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*own, *of_difference])
    for effect in found:
        row = [getattr(effect, n) for n in own] + [getattr(effect.difference, n) for n in of_difference]
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()


def draw(found: Sequence[Effect], totals: Mapping[str, Totals], base: str, target: Path) -> None:
    """Left, every metric's difference with its interval (twins); right, stay time day by day."""
    rows = [e for e in found if e.design == "twin" and e.segment == "all"]
    names = list(dict.fromkeys(_name(e) for e in rows))
    arms = list(dict.fromkeys(e.arm for e in rows))
    figure = Figure(figsize=(11, 1.5 + 0.38 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for index, arm in enumerate(arms):
        mine = [e for e in rows if e.arm == arm]
        places = [names.index(_name(e)) + 0.16 * (index - (len(arms) - 1) / 2) for e in mine]
        percent = np.array([e.difference.percent for e in mine])
        low, high = (np.array([getattr(e.difference, f"percent_{side}") for e in mine]) for side in ("low", "high"))
        colour, label = _COLOURS[index % len(_COLOURS)], arm
        left.errorbar(percent, places, xerr=(percent - low, high - percent), fmt="o", color=colour, label=label, ms=4)
        of_days = daily(totals, base, "stay_time")[arm]
        days = np.arange(1, len(of_days) + 1)
        middle = np.array([d.percent for d in of_days])
        right.plot(days, middle, "o-", color=colour, label=label, ms=4)
        right.fill_between(
            days, [d.percent_low for d in of_days], [d.percent_high for d in of_days], color=colour, alpha=0.2, lw=0
        )
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel(f"difference from {base}, %")
    right.set_xlabel("day")
    right.set_ylabel(f"AppStayTime, difference from {base}, %")
    right.xaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        (axes.axvline if axes is left else axes.axhline)(0, color="0.5", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _table(rows: Sequence[Effect]) -> list[str]:
    names = list(dict.fromkeys(_name(e) for e in rows))
    arms = list(dict.fromkeys(e.arm for e in rows))
    cells = {(_name(e), e.arm): _cell(e) for e in rows}
    lines = ["| metric | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(cells.get((name, arm), "-") for arm in arms) + " |" for name in names]


def _cell(effect: Effect) -> str:
    d = effect.difference
    if math.isnan(d.percent_low):
        return f"{d.percent:+.2f}" if math.isfinite(d.percent) else "-"
    text = f"{d.percent:+.2f} [{d.percent_low:+.2f}, {d.percent_high:+.2f}]"
    text = f"**{text}**" if d.percent_low > 0 or d.percent_high < 0 else text
    return text if math.isnan(effect.adjusted_p) else f"{text} p {effect.adjusted_p:.3f}"


def _name(effect: Effect) -> str:
    return effect.metric if effect.kind == "observed" else f"{effect.metric}, {effect.kind}"


def _users(difference: Difference) -> str:
    if difference.treatment_users == difference.control_users:
        return f"{difference.control_users:,} users"
    return f"{difference.treatment_users:,} and {difference.control_users:,} users"
