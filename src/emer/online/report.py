"""An A/B test as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emer.online.ab_test import Health
from emer.online.experiment import METRICS, Effect, daily
from emer.online.presentation import csv_text, interval_text, save_png
from emer.online.statistics import Difference
from emer.online.totals import Totals
from emer.pages.svg import COLOURS


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
    lines += _segments([e for e in found if e.segment != "all"])
    return "\n".join(lines).rstrip() + "\n"


def _segments(rows: Sequence[Effect]) -> list[str]:
    """Stay time and likes of every segment; the other metrics are in the CSV."""
    lines = []
    for metric, kind in (("AppStayTime", "observed"), ("Like", "expected")):
        mine = [e for e in rows if (e.metric, e.kind) == (metric, kind)]
        if not mine:
            continue
        arms = list(dict.fromkeys(e.arm for e in mine))
        cells = {(e.segment, e.arm): _cell(e) for e in mine}
        users = {e.segment: e.difference.control_users for e in mine}
        lines += [f"Twins by segment: {_name(mine[0])}", "", "| users | number | " + " | ".join(arms) + " |"]
        lines.append("|---" * (len(arms) + 2) + "|")
        for segment, count in users.items():
            lines.append(f"| {segment} | {count:,} | " + " | ".join(cells.get((segment, a), "-") for a in arms) + " |")
        lines.append("")
    return lines


def health_markdown(health: Health) -> str:
    """The checks, one line each."""
    ratio = health.ratio
    sizes = ", ".join(f"{arm} {count:,}" for arm, count in ratio.users.items())
    verdict = "MISMATCH: trust no bucket figure" if ratio.alarm else "as meant"
    lines = [f"- Sample ratio of the buckets: {sizes}; chi-square p {ratio.p:.3f}, {verdict}."]
    for title, of in (("A/A, both buckets served by the base", health.same_arm), ("before the test", health.balance)):
        lines += [f"- AppStayTime of {arm}'s bucket, {title}: {interval_text(d)} %." for arm, d in (of or {}).items()]
    longest = max(health.long_sessions.values())
    lines.append(f"- Sessions cut at the world's limit of requests: at most {100 * longest:.2f} % (of an arm).")
    return "\n".join(lines) + "\n"


def days_csv(totals: Mapping[str, Totals], base: str) -> str:
    """Every metric day by day, and up to each day, from day 0; a day without any of it in the base has no row."""
    numbers = ("percent", "percent_low", "percent_high", "p")
    rows = (
        [arm, metric, kind, day, span, *(getattr(d, n) for n in numbers)]
        for metric, columns in METRICS.items()
        for kind, column in zip(("observed", "expected"), columns, strict=True)
        if column is not None
        for span in ("day", "up to day")
        for arm, of_days in daily(totals, base, column, cumulative=span != "day").items()
        for day, d in enumerate(of_days)
        if d is not None
    )
    return csv_text(["arm", "metric", "kind", "day", "span", *numbers[:3], "p_unadjusted"], rows)


def as_csv(found: Sequence[Effect]) -> str:
    """Every effect in full precision."""
    own = [f.name for f in fields(Effect) if f.name != "difference"]
    of_difference = [f.name for f in fields(Difference)]
    rows = ([*(getattr(e, n) for n in own), *(getattr(e.difference, n) for n in of_difference)] for e in found)
    return csv_text([*own, *of_difference], rows)


def draw(found: Sequence[Effect], totals: Mapping[str, Totals], base: str, target: Path) -> None:
    """Left, every metric's difference with its interval (twins); right, stay time day by day."""
    rows = [e for e in found if e.design == "twin" and e.segment == "all"]
    names = list(dict.fromkeys(_name(e) for e in rows))
    arms = list(dict.fromkeys(e.arm for e in rows))
    figure = Figure(figsize=(11, 1.5 + 0.38 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    by_day = daily(totals, base, "stay_time")
    for index, arm in enumerate(arms):
        mine = [e for e in rows if e.arm == arm]
        places = [names.index(_name(e)) + 0.16 * (index - (len(arms) - 1) / 2) for e in mine]
        percent = np.array([e.difference.percent for e in mine])
        low, high = (np.array([getattr(e.difference, f"percent_{side}") for e in mine]) for side in ("low", "high"))
        colour, label = COLOURS[index % len(COLOURS)], arm
        left.errorbar(percent, places, xerr=(percent - low, high - percent), fmt="o", color=colour, label=label, ms=4)
        of_days = by_day[arm]
        days = np.arange(len(of_days))
        middle, below, above = (
            [np.nan if d is None else getattr(d, name) for d in of_days]
            for name in ("percent", "percent_low", "percent_high")
        )
        right.plot(days, middle, "o-", color=colour, label=label, ms=4)
        right.fill_between(days, below, above, color=colour, alpha=0.2, lw=0)
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
    save_png(figure, target)


def _table(rows: Sequence[Effect]) -> list[str]:
    names = list(dict.fromkeys(_name(e) for e in rows))
    arms = list(dict.fromkeys(e.arm for e in rows))
    cells = {(_name(e), e.arm): _cell(e) for e in rows}
    lines = ["| metric | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(cells.get((name, arm), "-") for arm in arms) + " |" for name in names]


def _cell(effect: Effect) -> str:
    text = interval_text(effect.difference)
    told = not math.isnan(effect.difference.percent_low) and not math.isnan(effect.adjusted_p)
    return f"{text} p {effect.adjusted_p:.3f}" if told else text


def _name(effect: Effect) -> str:
    return effect.metric if effect.kind == "observed" else f"{effect.metric}, {effect.kind}"


def _users(difference: Difference) -> str:
    if difference.treatment_users == difference.control_users:
        return f"{difference.control_users:,} users"
    return f"{difference.treatment_users:,} and {difference.control_users:,} users"
