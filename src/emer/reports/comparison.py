"""The table of a section's methods, their differences from one of them, and from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from emer.errors import EmerError
from emer.online.multiplicity import holm
from emer.reports.groups import Group, Section
from emer.reports.runs import COSTS, METRICS, POOLED, differing
from emer.reports.section_intervals import Plain, SectionIntervals, finite, mean, mean_metric, plain, without_p

COMPARED = (METRICS[0], POOLED, *METRICS[1:])
"""Metrics of the table, in its order."""

DEFAULT_REFERENCE = "emer"
_FORM = {"switches", "objective_switches", "default_objective", "_partial_"}


def table_rows(section: Section, of: dict[str, SectionIntervals]) -> list[dict[str, Any]]:
    """A row for each group, best label GAUC first: ``method``, ``label``, ``seeds``, ``values`` and ``costs``.

    Args:
        section: one log.
        of: metric of :data:`COMPARED` -> its intervals.
    """
    rows: list[dict[str, Any]] = []
    for group in section.groups:
        costs = {name: mean(run.costs.get(name) for run in group.runs) for name in COSTS}
        values = {name: without_p(intervals.of(group)) for name, intervals in of.items()}
        rows.append(
            {"method": group.name, "label": group.label, "seeds": list(group.seeds), "values": values, "costs": costs}
        )

    def order(row: dict[str, Any]) -> tuple[bool, float]:
        value = row["values"][METRICS[0]]["estimate"]
        return value is None, -(value or 0.0)

    return sorted(rows, key=order)


def floors(section: Section) -> dict[str, float | None]:
    """What a random order is expected to get, for the table's metrics."""
    return {name: mean(mean_metric(group, f"random/{name}") for group in section.groups) for name in COMPARED}


def choose_reference(section: Section, order: Sequence[str], wanted: str | None) -> tuple[str, bool]:
    """Name of the group that the others are compared with, and whether it is the one that was wanted.

    It is the best one called ``wanted``, else the best of all, which by being chosen so has luck on its side.

    Args:
        section: one log.
        order: names of its groups, best first.
        wanted: a group's name or label; ``emer`` if None.
    """
    labels = {group.name: group.label for group in section.groups}
    name = wanted or DEFAULT_REFERENCE
    found = [one for one in order if name in (one, labels[one])]
    return (found or order)[0], bool(found)


def check_reference(sections: Sequence[Section], wanted: str | None) -> None:
    """That the reference, where one is asked for, is there.

    Raises:
        EmerError: no section has it.
    """
    names = sorted({name for section in sections for group in section.groups for name in (group.name, group.label)})
    if wanted is not None and wanted not in names:
        raise EmerError(f"reference: there is no finished run of {wanted}; there are {', '.join(names)}")


def differences(section: Section, of: dict[str, SectionIntervals], reference: str) -> list[dict[str, Any]]:
    """A row for each other group: ``method`` and, by metric, its paired difference with ``p`` and ``holm``.

    Holm's correction is over all p-values of the table: every metric of every method.
    """
    groups = {group.name: group for group in section.groups}
    rows: list[dict[str, Any]] = []
    for name, group in groups.items():
        if name != reference:
            found = {m: plain(intervals.between(group, groups[reference])) for m, intervals in of.items()}
            rows.append({"method": name, "metrics": found})
    _correct([value for row in rows for value in row["metrics"].values()])
    return rows


def pairwise(
    section: Section, of: SectionIntervals, order: Sequence[str], advance: Callable[[int], None]
) -> dict[str, Any]:
    """Every group against every other one in one metric.

    Returns:
        ``metric``, ``methods`` in the table's order, and ``pairs``: for i < j the difference of i minus j with ``p``
        and, over all pairs, ``holm``.
    """
    groups = {group.name: group for group in section.groups}
    pairs: list[dict[str, Any]] = []
    for first, second in combinations(order, 2):
        pairs.append({"first": first, "second": second, **plain(of.between(groups[first], groups[second]))})
        advance(1)
    _correct(pairs)
    return {"metric": of.metric, "methods": list(order), "pairs": pairs}


def compared_settings(section: Section) -> dict[str, dict[str, Any]]:
    """Key -> group -> value, of the settings in which groups differ; a group without the key is not there.

    What a config says of its own form (which switches there are, what is partial) is left out.
    """
    settings = {group.name: _settings(group) for group in section.groups}
    keys = [key for key in differing(list(settings.values())) if not set(key.split(".")) & _FORM]
    return {key: {name: one[key] for name, one in settings.items() if key in one} for key in keys}


def _settings(group: Group) -> dict[str, Any]:
    return {key: finite(value) for key, value in group.runs[0].settings.items()}


def _correct(rows: Sequence[Plain]) -> None:
    """Add ``holm`` to rows with ``p``."""
    raw = [row["p"] for row in rows]
    adjusted = holm(np.array([np.nan if p is None else p for p in raw], dtype=np.float64))
    for row, value in zip(rows, adjusted.tolist(), strict=True):
        row["holm"] = finite(value)
