"""Which methods no other one beats in every metric, and the volume that they dominate together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emer.errors import EmerError
from emer.metrics.hypervolume import hypervolume, non_dominated
from emer.reports.groups import Group, Section
from emer.reports.runs import Run
from emer.reports.section_intervals import finite, mean
from emer.run_folder import RunFolder

MIXED = ("pxtr_gauc/watch", "pxtr_gauc/interaction")
"""Means over the pxtrs without and with an IPUT target: consumption, and interactions."""


def fronts(section: Section, wanted: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """A front for each tuple of metrics that the section has.

    Returns:
        Each with ``metrics``, ``origin`` (the random floor, from which volume is measured), ``volume`` of the front,
        ``skipped`` (groups without one of the metrics), and ``points``, one per group: its mean over seeds, whether it
        is on the front, ``own`` (the volume of its seeds' points) and ``alone`` (what the front's volume would lose
        without it).
    """
    return [found for metrics in wanted if (found := _front(section, list(metrics))) is not None]


def check_fronts(sections: Sequence[Section], wanted: Sequence[Sequence[str]]) -> None:
    """That what is asked for is there.

    Raises:
        EmerError: a front has fewer than two or more than three metrics, or no run has one of them.
    """
    there = {name for section in sections for run in section.runs for name in run.metrics if "/" in name}
    there = {name for name in there if not name.startswith(("random/", "groups/"))} | set(MIXED)
    for metrics in wanted:
        if isinstance(metrics, str) or not 2 <= len(metrics) <= 3:
            raise EmerError(f"fronts: {metrics} is no list of two or three metrics; fronts=[[{','.join(MIXED)}]]")
        for name in metrics:
            if sections and name not in there:
                raise EmerError(f"fronts: no run has {name}; there are {', '.join(sorted(there))}")


def value_of(run: Run, name: str, floor: bool = False) -> float | None:
    """A test metric of a run or one of :data:`MIXED`, or its random floor; None if it has none."""
    start = "random/" if floor else ""
    if name not in MIXED:
        return finite(run.metrics.get(f"{start}{name}"))
    pxtrs = [n.split("/", 1)[1] for n in run.per_request if n.startswith("pxtr_gauc/")]
    interactions = {n.split("/", 1)[1] for n in run.per_request if n.startswith("iput_gauc/")}
    members = [n for n in pxtrs if (n in interactions) == (name == MIXED[1])]
    return mean(run.metrics.get(f"{start}pxtr_gauc/{n}") for n in members)


def _front(section: Section, metrics: list[str]) -> dict[str, Any] | None:
    places = {group.name: _places(group, metrics) for group in section.groups}
    names = [name for name, seeds in places.items() if seeds.size]
    floor = [value_of(section.runs[0], metric, floor=True) for metric in metrics]
    if not names or any(value is None for value in floor):
        return None
    origin = np.array(floor, dtype=np.float64)
    means = np.array([places[name].mean(axis=0) for name in names])
    best = non_dominated(means)
    volume = hypervolume(means, origin)
    points = []
    for i, name in enumerate(names):
        # Of two equal points neither is missed.
        alone = volume - hypervolume(np.delete(means, i, axis=0), origin)
        own = hypervolume(places[name], origin)
        points.append(
            {"method": name, "values": means[i].tolist(), "front": bool(best[i]), "own": own, "alone": max(0.0, alone)}
        )
    skipped = [name for name in places if name not in names]
    return {"metrics": metrics, "origin": origin.tolist(), "volume": volume, "points": points, "skipped": skipped}


def _places(group: Group, metrics: Sequence[str]) -> np.ndarray:
    """(S, D) of the seeds that have all metrics."""
    rows = [[value_of(run, metric) for metric in metrics] for run in group.runs]
    return np.array([row for row in rows if all(v is not None for v in row)], dtype=np.float64).reshape(
        -1, len(metrics)
    )


def archives(section: Section) -> list[dict[str, Any]]:
    """Of each run with IPPO's ``archive.json``: ``labels``, ``rounds`` and the ``entries`` that no other dominates."""
    found = []
    for group in section.groups:
        for run in group.runs:
            try:
                content = RunFolder(run.path).read("archive.json")
                entries = [
                    {"round": e["round"], "model": e["model"], "weights": e["weights"], "gaucs": e["gaucs"]}
                    for e in content["archive"]
                ]
                row = {"labels": content["labels"], "rounds": len(content["rounds"]), "entries": entries}
            except (KeyError, TypeError):  # no archive, or a damaged one
                continue
            accepted = sum(bool(one.get("accepted")) for one in content["rounds"])
            found.append({"method": group.name, "seed": run.seed, "accepted": accepted, **row})
    return found


def staircase(points: Sequence[tuple[float, float]], origin: tuple[float, float]) -> list[tuple[float, float]]:
    """Corners of the border of what a front dominates above ``origin``, from the left upper to the right lower one."""
    above = sorted(p for p in points if p[0] > origin[0] and p[1] > origin[1])
    left = [origin[0], *(x for x, _ in above)]
    corners = [corner for before, (x, y) in zip(left, above, strict=False) for corner in ((before, y), (x, y))]
    return [*corners, (corners[-1][0], origin[1])] if corners else []
