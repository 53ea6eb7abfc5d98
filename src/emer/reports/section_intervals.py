"""One metric of the groups of one section: means over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from emer.metrics.intervals import metric_influence
from emer.metrics.seed_intervals import (
    Influence,
    SeedInterval,
    difference_of_influences,
    interval_over_seeds,
    mean_of_influences,
)
from emer.reports.groups import Group, Section
from emer.reports.runs import POOLED

Plain = dict[str, float | int | None]


class SectionIntervals:
    """Intervals of ``metric``, each run's influences computed once for all differences.

    Args:
        section: whose groups are asked about.
        metric: an average over requests, or the pooled ``label_auc/sum``, whose interval is over seeds alone.
        where: (R,) bool; the requests that count. All if None.
    """

    def __init__(self, section: Section, metric: str, where: np.ndarray | None = None) -> None:
        self.metric = metric
        self._influences: dict[str, dict[int, Influence]] = {}
        self._users = np.empty(0)
        if metric == POOLED:
            return
        for group in section.groups:
            self._influences[group.name] = {}
            for run in group.runs:
                columns = _rows_of(run.per_request, where)
                self._users = columns["user_id"]
                if metric.endswith("/mean") or metric in columns:
                    self._influences[group.name][run.seed] = metric_influence(columns, metric)

    def of(self, group: Group) -> SeedInterval:
        """The group's mean over its seeds."""
        if self.metric == POOLED:
            return interval_over_seeds([v for run in group.runs if (v := finite(run.metrics.get(POOLED))) is not None])
        found = list(self._influences[group.name].values())
        return mean_of_influences(found, self._users) if found else _nothing(0)

    def between(self, first: Group, second: Group) -> SeedInterval:
        """``first`` minus ``second``, on the seeds and requests of both; NaN where they have no seed in common."""
        if self.metric == POOLED:
            mine, theirs = first.by_seed(), second.by_seed()
            common = sorted({*mine} & {*theirs})
            sums = [tuple(finite(side[s].metrics.get(POOLED)) for side in (mine, theirs)) for s in common]
            return interval_over_seeds([a - b for a, b in sums if a is not None and b is not None])
        a, b = self._influences[first.name], self._influences[second.name]
        common = sorted({*a} & {*b})
        if not common:
            return _nothing(0)
        return difference_of_influences([a[s] for s in common], [b[s] for s in common], self._users)


def plain(interval: SeedInterval) -> Plain:
    """As numbers for JSON: None for NaN."""
    return {key: finite(value) for key, value in vars(interval).items()}


def without_p(interval: SeedInterval) -> Plain:
    """The same without the p-value, which is of use for differences alone."""
    return {key: value for key, value in plain(interval).items() if key != "p"}


def finite(value: Any) -> Any:
    """``value``, or None where it is NaN or infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values, None if there is none."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return sum(found) / len(found) if found else None


def mean_metric(group: Group, name: str) -> float | None:
    """Mean over the seeds of a test metric, None if no run has it."""
    return mean(run.metrics.get(name) for run in group.runs)


def _rows_of(per_request: Mapping[str, np.ndarray], where: np.ndarray | None) -> Mapping[str, np.ndarray]:
    return per_request if where is None else {name: values[where] for name, values in per_request.items()}


def _nothing(seeds: int) -> SeedInterval:
    return SeedInterval(math.nan, math.nan, math.nan, math.nan, seeds)
