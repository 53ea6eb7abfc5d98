"""Calibration: is a predicted probability (or number of seconds) as large as what came?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Bins:
    """Rows by prediction in bins of nearly equal count: mean prediction, mean outcome and rows of each."""

    predicted: np.ndarray
    actual: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """ECE = Σ_b (n_b / n) |mean prediction - mean outcome|, in the outcome's unit."""
        return float(np.average(np.abs(self.predicted - self.actual), weights=self.count))


def equal_count_bins(predicted: np.ndarray, actual: np.ndarray, bins: int = BINS) -> Bins:
    """Bin n > 0 rows by prediction. Equal counts, because rare outcomes leave equal widths almost empty."""
    order = np.argsort(predicted, kind="stable")
    edges = np.unique(np.linspace(0, predicted.size, min(bins, predicted.size) + 1).astype(np.int64))
    count = np.diff(edges)
    means = [np.add.reduceat(v[order].astype(np.float64), edges[:-1]) / count for v in (predicted, actual)]
    return Bins(means[0], means[1], count)
