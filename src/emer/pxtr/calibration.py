"""How good out-of-sample pxtrs are: their order (AUC) and their size (ECE), on which IPUT relies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import kendalltau

from emer.data.log import day_text
from emer.metrics.auc import pooled_auc
from emer.metrics.calibration import BINS, equal_count_bins
from emer.requests import Objective, Unit


def ordering_auc(predicted: np.ndarray, actual: np.ndarray) -> float | None:
    """Share of the pairs with different outcomes that the prediction orders rightly, its ties counting half.

    For a binary outcome this is the ordinary AUC. None where all outcomes are equal.
    """
    values = np.unique(actual)
    if values.size < 2:
        return None
    if values.size == 2:
        label = torch.from_numpy(actual == values[1]).unsqueeze(-1)
        return float(pooled_auc(torch.from_numpy(np.ascontiguousarray(predicted)), label))
    pairs = actual.size * (actual.size - 1) / 2
    differ = [pairs - _tied(v) for v in (predicted, actual)]
    if differ[0] == 0:
        return 0.5
    # τ_b = (C - D) / sqrt(pairs differing in prediction * pairs differing in outcome)
    tau = float(kendalltau(predicted, actual).statistic)
    return 0.5 + tau * float(np.sqrt(differ[0] / differ[1])) / 2


def _tied(values: np.ndarray) -> float:
    count = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((count * (count - 1) / 2).sum())


def calibration(
    pxtr: np.ndarray, targets: np.ndarray, day: np.ndarray, objectives: Sequence[Objective]
) -> dict[str, Any]:
    """Quality of each pxtr, pooled and by day.

    Args:
        pxtr, targets: (n, K) predictions and outcomes of exposures.
        day: (n,) day numbers.
        objectives: the K columns.

    Returns:
        ``bins``; ``noisy``: names of noisy objectives; ``pooled``: {objective: figures}; ``by_day``: {date:
        {objective: figures}}. Figures are ``rows``, ``positives`` (None for seconds), ``mean_predicted``,
        ``mean_actual``, ``ece`` and ``auc`` (None where undefined). For the objective in seconds, ``ece`` is in
        seconds and ``auc`` is the concordance with the seconds watched.
    """

    def figures(rows: np.ndarray) -> dict[str, Any]:
        return {o.name: _figures(pxtr[rows, k], targets[rows, k], o.unit) for k, o in enumerate(objectives)}

    return {
        "bins": BINS,
        "noisy": [o.name for o in objectives if o.noisy],
        "pooled": figures(np.ones(day.size, dtype=bool)),
        "by_day": {day_text(d): figures(day == d) for d in np.unique(day)},
    }


def _figures(predicted: np.ndarray, actual: np.ndarray, unit: Unit) -> dict[str, Any]:
    return {
        "rows": int(actual.size),
        "positives": int(actual.sum()) if unit is Unit.PROBABILITY else None,
        "mean_predicted": float(predicted.mean(dtype=np.float64)),
        "mean_actual": float(actual.mean(dtype=np.float64)),
        "ece": equal_count_bins(predicted, actual).error,
        "auc": ordering_auc(predicted, actual),
    }


def calibration_tables(content: dict[str, Any], reference: dict[str, float | None] | None = None) -> list[Table]:
    """For the terminal: pooled figures, with a reference's AUC if given; AUC by day; ECE by day."""
    pooled = Table(title=f"Out-of-sample pxtrs, {', '.join(_span(list(content['by_day'])))}", title_justify="left")
    names = ["objective", "positives", "actual", "predicted", "ECE", "AUC"]
    for name in names + (["AUC HistGB"] if reference else []):
        pooled.add_column(name, justify="left" if name == "objective" else "right")
    for name, f in content["pooled"].items():
        mark = " (noisy)" if name in content["noisy"] else ""
        row = [name + mark, "-" if f["positives"] is None else f"{f['positives']:,}"]
        row += [_short(f[key]) for key in ("mean_actual", "mean_predicted", "ece", "auc")]
        pooled.add_row(*row, *([_short(reference.get(name))] if reference else []))
    tables = [pooled]
    for key, title in (("auc", "AUC by day"), ("ece", "ECE by day")):
        table = Table(title=title, title_justify="left")
        table.add_column("day")
        for name in content["pooled"]:
            table.add_column(name, justify="right")
        for day, by_objective in content["by_day"].items():
            table.add_row(day, *(_short(f[key]) for f in by_objective.values()))
        tables.append(table)
    return tables


def _span(days: list[str]) -> list[str]:
    return days if len(days) < 3 else [f"{days[0]} to {days[-1]}"]


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"


def draw_reliability(path: Path, pxtr: np.ndarray, targets: np.ndarray, objectives: Sequence[Objective]) -> None:
    """Write the reliability picture (PNG): mean outcome against mean prediction per bin."""
    columns = min(4, len(objectives))
    rows = -(-len(objectives) // columns)
    figure = Figure(figsize=(3.0 * columns, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for k, objective in enumerate(objectives):
        axes = figure.add_subplot(rows, columns, k + 1)
        bins = equal_count_bins(pxtr[:, k], targets[:, k])
        top = 1.05 * max(bins.predicted.max(), bins.actual.max(), 1e-9)
        axes.plot([0, top], [0, top], color="0.7", linewidth=1)
        axes.plot(bins.predicted, bins.actual, marker="o", markersize=3, linewidth=1)
        axes.set(xlim=(0, top), ylim=(0, top), title=objective.name)
        seconds = " (s)" if objective.unit is Unit.SECONDS else ""
        axes.set_xlabel(f"mean predicted{seconds}")
        axes.set_ylabel(f"mean actual{seconds}")
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
