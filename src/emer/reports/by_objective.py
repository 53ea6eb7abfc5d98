"""GAUC of every objective or label, by method."""

from __future__ import annotations

from typing import Any

from emer.reports.groups import Section
from emer.reports.section_intervals import mean_metric

FAMILIES = ("label_gauc", "pxtr_gauc", "iput_gauc")


def by_objective(section: Section) -> dict[str, dict[str, Any]]:
    """Family -> ``members``, the ``random`` floor and ``requests`` behind each, and ``methods``: group -> a value each.

    Values are means over seeds, None where no request has one. Members are in the log's order.
    """
    found: dict[str, dict[str, Any]] = {}
    first = section.groups[0]
    for family in FAMILIES:
        names = [name for name in first.runs[0].per_request if name.startswith(f"{family}/")]
        if not names:
            continue
        found[family] = {
            "members": [name.split("/", 1)[1] for name in names],
            "random": [mean_metric(first, f"random/{name}") for name in names],
            "requests": [first.runs[0].metrics.get(f"groups/{name}") for name in names],
            "methods": {group.name: [mean_metric(group, name) for name in names] for group in section.groups},
        }
    return found
