"""Distributions, calibration and correlations, from the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from emer.data.profile.counts import SplitCounts
from emer.data.profile.lists import WATCH
from emer.data.profile.samples import Sample
from emer.metrics.auc import pooled_auc
from emer.metrics.calibration import equal_count_bins
from emer.requests import Schema

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

Matrix = list[list[float | None]]


def quantile_name(q: float) -> str:
    """``p05`` of 0.05."""
    return f"p{round(100 * q):02d}"


def quantiles(values: np.ndarray) -> dict[str, float | None]:
    """{``p01``: ..., ``p99``: ...} of (n,) values; None without any."""
    names = [quantile_name(q) for q in QUANTILES]
    if values.size == 0:
        return dict.fromkeys(names)
    return dict(zip(names, map(float, np.quantile(values.astype(np.float64), QUANTILES)), strict=True))


def calibration_content(counts: SplitCounts) -> dict[str, dict[str, Any]]:
    """Of each objective whose label or watch time is logged, on the exposed candidates of a split.

    Returns:
        {objective: ``target``, ``rows`` it rests on, ``predicted`` and ``actual`` mean, ``ece`` (seconds for the watch
        time), ``gauc`` and its ``lists``, pooled ``auc`` (None for seconds) and ``bins``}.
    """
    schema, rows = counts.schema, counts.shown_sample.rows
    content: dict[str, dict[str, Any]] = {}
    for k, objective in enumerate(schema.objectives):
        target = target_of(schema, k, counts.has_watch)
        if target is None or len(rows) == 0:
            continue
        predicted, actual = rows[:, k], rows[:, _column(schema, target)]
        bins = equal_count_bins(predicted, actual)
        label = target != WATCH
        content[objective.name] = {
            "target": target,
            "rows": len(rows),
            "predicted": float(predicted.mean(dtype=np.float64)),
            "actual": float(actual.mean(dtype=np.float64)),
            "ece": bins.error,
            **counts.lists.gauc(f"pxtr_{objective.name}", target),
            "auc": _auc(predicted, actual) if label else None,
            "bins": {
                "predicted": bins.predicted.tolist(),
                "actual": bins.actual.tolist(),
                "rows": bins.count.tolist(),
            },
        }
    return content


def target_of(schema: Schema, k: int, has_watch: bool) -> str | None:
    """The label that objective k predicts, ``watch time`` for the one in seconds, None where nothing is logged."""
    if k == schema.watch_index:
        return WATCH if has_watch else None
    return schema.objectives[k].feedback


def pxtr_correlations(sample: Sample, K: int) -> dict[str, Matrix]:
    """Pearson's and Spearman's correlation (K, K) over all candidates of the sample."""
    rows = sample.rows[:, :K].astype(np.float64)
    ranks = rankdata(rows, axis=0) if len(rows) else rows
    return {"pearson": _correlations(rows), "spearman": _correlations(ranks)}


def number_correlations(sample: Sample, schema: Schema) -> dict[str, dict[str, dict[str, float | None]]]:
    """{number: {label: Pearson's ``r`` and pooled ``auc``}} over the exposed candidates of the sample."""
    K, F = len(schema.objectives), len(schema.item_numbers)
    rows = sample.rows.astype(np.float64)
    content: dict[str, dict[str, dict[str, float | None]]] = {}
    for f, number in enumerate(schema.item_numbers):
        values = rows[:, K + f]
        content[number] = {}
        for m, label in enumerate(schema.feedback_names):
            y = rows[:, K + F + m]
            content[number][label] = {"r": _correlations(np.stack([values, y], axis=1))[0][1], "auc": _auc(values, y)}
    return content


def label_correlations(together: np.ndarray, exposed: int) -> Matrix:
    """(M, M) Pearson's correlation of labels (phi) over all exposed candidates, from their joint counts."""
    n = float(exposed)
    positives = np.diagonal(together).astype(np.float64)
    spread = positives * (n - positives)
    norm = np.sqrt(spread[:, None] * spread[None, :])
    return _matrix(n * together - positives[:, None] * positives[None, :], norm)


def _correlations(rows: np.ndarray) -> Matrix:
    centred = rows - rows.mean(axis=0) if len(rows) else rows
    # Rounding leaves a constant column a spread that is not quite 0.
    centred[:, np.ptp(rows, axis=0) == 0 if len(rows) else slice(None)] = 0
    cross = centred.T @ centred
    size = np.sqrt(np.diagonal(cross))
    return _matrix(cross, size[:, None] * size[None, :])


def _matrix(above: np.ndarray, below: np.ndarray) -> Matrix:
    return [
        [float(np.clip(a / b, -1, 1)) if b > 0 else None for a, b in zip(x, y, strict=True)]
        for x, y in zip(above, below, strict=True)
    ]


def _auc(values: np.ndarray, label: np.ndarray) -> float | None:
    positive = label > 0
    if positive.all() or not positive.any():
        return None
    return float(pooled_auc(torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(positive)[:, None]))


def _column(schema: Schema, target: str) -> int:
    """Where a target stands in the rows of :attr:`SplitCounts.shown_sample`."""
    names = (*schema.feedback_names, WATCH)
    return len(schema.objectives) + len(schema.item_numbers) + names.index(target)
