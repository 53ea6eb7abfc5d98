"""Online results on a report's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.pages.html import Cell, Shown, figure, side, table
from emer.pages.pictures import ranges
from emer.reports.words import leaves_out_0, p_value

TITLES = {"test": "A/B test", "worlds": "A/B tests in several worlds", "loop": "Closed loop"}
_ARMS = 4
"""Arms of one picture."""


def online(results: Sequence[Mapping[str, Any]]) -> str:
    """A table and pictures for each folder."""
    return "".join(map(_result, results))


def _result(result: Mapping[str, Any]) -> str:
    effects, worlds = result["effects"], result["kind"] == "worlds"
    head = ["arm", "metric", "kind", "design", "difference, %", *(["same sign"] if worlds else ["p", "Holm"])]
    rows = [_row(effect, worlds) for effect in effects]
    caption = f"{TITLES[result['kind']]} {result['folder']}: difference from {result['base']} in per cent"
    caption += (
        ", mean over the worlds with its 95 % t-interval, and in how many of them it has the mean's sign. "
        if worlds
        else " of the users' mean, with its 95 % interval; Holm's p is over the observed metrics of all arms. "
    ) + "Bold: the interval leaves out 0."
    return side(*_pictures(result), table(head, rows, caption, sort=True))


def _row(effect: Mapping[str, Any], worlds: bool) -> list[Cell]:
    clear = leaves_out_0(effect["percent_low"], effect["percent_high"])
    cells: list[Cell] = [effect["arm"], effect["metric"], effect["kind"], effect["design"]]
    cells.append(Shown(interval(effect), effect["percent"], strong=clear))
    if worlds:
        return [*cells, Shown(f"{effect['same_sign']}/{effect['worlds']}", effect["same_sign"])]
    return [*cells, *(Shown(p_value(effect[name]), effect[name]) for name in ("p", "adjusted_p"))]


def interval(effect: Mapping[str, Any]) -> str:
    """Per cent and its interval, which is not symmetric."""
    if effect["percent"] is None:
        return "–"
    text = f"{effect['percent']:+.2f}"
    low, high = effect["percent_low"], effect["percent_high"]
    return text if low is None or high is None else f"{text} [{low:+.2f}, {high:+.2f}]"


def _pictures(result: Mapping[str, Any]) -> list[str]:
    """The first design's metrics, interactions as expected where they are told so."""
    effects = [e for e in result["effects"] if e["design"] == result["effects"][0]["design"]]
    arms = list(dict.fromkeys(effect["arm"] for effect in effects))
    told = {(e["metric"], e["arm"]): e for e in effects if e["percent_low"] is not None}  # expected follows observed
    metrics = list(dict.fromkeys(metric for metric, _ in told))
    parts = []
    for start in range(0, len(arms), _ARMS):
        some = arms[start : start + _ARMS]
        rows = [(metric, {arm: _five(told.get((metric, arm))) for arm in some}) for metric in metrics]
        if metrics:
            alt = f"Difference from {result['base']} of {', '.join(some)} in {', '.join(metrics)}; see the table."
            said = f"Difference from {result['base']} in per cent, with its 95 % interval ({effects[0]['design']})."
            parts.append(figure(ranges(rows, x="difference, %", log=False, alt=alt), said))
    return parts


def _five(effect: Mapping[str, Any] | None) -> tuple[float, ...] | None:
    if effect is None:
        return None
    low, high = effect["percent_low"], effect["percent_high"]
    return low, low, effect["percent"], high, high
