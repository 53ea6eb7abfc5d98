"""What happened while the methods trained: curves, weights and losses, from every run's epochs and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from emer.reports.groups import Group, Section
from emer.reports.runs import Rows

CURVES = ("train/loss", "val/loss", "val/label_gauc/mean", "val/pxtr_gauc/mean")
PRIOR = "val/prior/"
WEIGHT = "weight/"
_POINTS = 200
"""Rows of a trajectory that are kept."""

Band = dict[str, list[float]]


def learning_curves(section: Section) -> dict[str, dict[str, Band]]:
    """Metric -> group -> :func:`over_seeds` by epoch; groups without epochs are not there."""
    found: dict[str, dict[str, Band]] = {}
    for name in CURVES:
        bands = {group.name: over_seeds([run.history for run in group.runs], "epoch", name) for group in section.groups}
        if bands := {group: band for group, band in bands.items() if band["x"]}:
            found[name] = bands
    return found


def over_seeds(histories: Sequence[Rows], key: str, name: str) -> Band:
    """Mean, least and greatest value over the seeds that got so far, by ``key``.

    Returns:
        ``x``, ``mean``, ``low``, ``high`` and ``seeds``, the number of runs behind each. What is not finite is left
        out.
    """
    values: dict[float, list[float]] = {}
    for rows in histories:
        for row in rows:
            if name in row and key in row and math.isfinite(row[name]):
                values.setdefault(row[key], []).append(row[name])
    places = sorted(values)
    return {
        "x": places,
        "mean": [sum(values[x]) / len(values[x]) for x in places],
        "low": [min(values[x]) for x in places],
        "high": [max(values[x]) for x in places],
        "seeds": [float(len(values[x])) for x in places],
    }


def objectives_of_loss(section: Section) -> dict[str, str]:
    """Group -> what its loss is a loss of. Losses of different objectives do not compare."""
    return {
        group.name: str(group.runs[0].settings.get("method.objective_name") or group.label) for group in section.groups
    }


def weights(section: Section) -> dict[str, dict[str, Any]]:
    """Group -> its weights along training: ``by`` step or epoch, and ``objectives``: name -> :func:`over_seeds`.

    ``weights.csv`` is taken where a run has it, thinned to means of successive rows; else each epoch's
    ``weight/<objective>`` of ``metrics.csv``.
    """
    found: dict[str, dict[str, Any]] = {}
    for group in section.groups:
        if any(run.weights for run in group.runs):
            by, histories = "step", [thinned(run.weights, "step") for run in group.runs]
        else:
            by, histories = "epoch", [_weights_by_epoch(run.history) for run in group.runs]
        names = [name for name in dict.fromkeys(n for rows in histories for row in rows for n in row) if name != by]
        bands = {name: over_seeds(histories, by, name) for name in names}
        if bands := {name: band for name, band in bands.items() if band["x"]}:
            found[group.name] = {"by": by, "objectives": bands}
    return found


def thinned(rows: Rows, key: str, most: int = _POINTS) -> Rows:
    """At most ``most`` rows: means of successive ones, at the last one's ``key``."""
    size = -(-len(rows) // most)
    if size <= 1:
        return rows
    kept = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        names = [name for name in block[-1] if name != key]
        means = {name: float(np.mean([row[name] for row in block if name in row])) for name in names}
        kept.append({key: block[-1][key], **means})
    return tuple(kept)


def prior_losses(section: Section) -> dict[str, dict[str, list[float]]]:
    """Objective -> group -> five numbers of its prior loss in validation (EMER's figure 4).

    They are minimum, quartiles and maximum over the epochs and seeds.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for group in section.groups:
        for name in _names(group, PRIOR):
            values = [row[name] for run in group.runs for row in run.history if math.isfinite(row.get(name, math.nan))]
            if values:
                quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
                found.setdefault(name.removeprefix(PRIOR), {})[group.name] = quantiles
    return found


def _weights_by_epoch(history: Rows) -> Rows:
    return tuple(
        {"epoch": row["epoch"]}
        | {k.removeprefix(WEIGHT): v for k, v in row.items() if k.startswith(WEIGHT) and k != f"{WEIGHT}max"}
        for row in history
        if "epoch" in row
    )


def _names(group: Group, start: str) -> list[str]:
    return list(dict.fromkeys(n for run in group.runs for row in run.history for n in row if n.startswith(start)))
