"""Exact sums over the requests of one split, and the samples drawn from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from emer.data.profile.identity import Identity
from emer.data.profile.lists import ListStatistics
from emer.data.profile.samples import CANDIDATES, EXPOSED, Distinct, Sample, hashed
from emer.data.table import RequestTable
from emer.requests import Schema

WATCH_EDGES = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
"""Seconds; the last bin is open."""


class SplitCounts:
    """Everything that is added up over one split, row group by row group."""

    def __init__(self, first: RequestTable) -> None:
        s = self.schema = first.schema
        K, M, F = len(s.objectives), len(s.feedback), len(s.item_numbers)
        self.has_watch, self.has_negative = first.watch_time is not None, first.negative is not None
        self.has_previous, self.has_explored = first.previous_score is not None, first.explored is not None
        self.requests = self.candidates = self.exposed = self.explored = 0
        self.lengths, self.shown = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.positives, self.lists_with, self.lists_mixed = np.zeros((3, M), dtype=np.int64)
        self.together = np.zeros((M, M), dtype=np.int64)
        self.pxtr = Spread(K)
        self.constant_lists, self.compared_lists, self.equal_lists = np.zeros(K, dtype=np.int64), 0, 0
        self.watch, self.watch_counts = Spread(1), np.zeros(len(WATCH_EDGES), dtype=np.int64)
        self.negatives = 0
        self.previous, self.constant_previous = Spread(1), 0
        self.numbers = Spread(F)
        self.categories = CategoriesSeen(s)
        self.items = Distinct()
        self.identity = Identity()
        self.lists = ListStatistics(s, has_watch=self.has_watch, has_previous=self.has_previous)
        # Columns of the samples: pxtrs, numbers; those exposed have labels and seconds watched besides.
        self.sample, self.shown_sample = Sample(CANDIDATES, K + F), Sample(EXPOSED, K + F + M + self.has_watch)

    def add(self, table: RequestTable) -> None:
        """Add the requests of ``table``."""
        starts = table.offsets[:-1]
        shown = np.add.reduceat(table.exposed, starts, dtype=np.int64)
        self.requests += len(table)
        self.candidates += table.item_id.size
        self.exposed += int(shown.sum())
        self.lengths = _added(self.lengths, table.lengths)
        self.shown = _added(self.shown, shown)
        if table.explored is not None:
            self.explored += int(table.explored.sum())
        self._add_labels(table, shown)
        self._add_pxtr(table)
        if table.watch_time is not None:
            seconds = table.watch_time[table.exposed]
            self.watch.add(seconds[:, None])
            places = np.searchsorted(WATCH_EDGES, seconds, side="right") - 1
            self.watch_counts += np.bincount(places, minlength=len(WATCH_EDGES))
        if table.negative is not None:
            self.negatives += int((table.negative > 0).sum())
        if table.previous_score is not None:
            self.previous.add(table.previous_score[:, None])
            self.constant_previous += int((_range(table.previous_score, starts) == 0)[table.lengths > 1].sum())
        self.numbers.add(table.item_numbers)
        self.categories.add(table)
        self.items.add(table.item_id)
        self.identity.add(table)
        self.lists.add(table)
        self._add_samples(table)

    def _add_labels(self, table: RequestTable, shown: np.ndarray) -> None:
        positives = np.add.reduceat(table.label, table.offsets[:-1], axis=0, dtype=np.int64)
        self.positives += positives.sum(axis=0)
        self.lists_with += (positives > 0).sum(axis=0)
        self.lists_mixed += ((positives > 0) & (positives < shown[:, None])).sum(axis=0)
        label = table.label[table.exposed].astype(np.float64)
        self.together += (label.T @ label).astype(np.int64)

    def _add_pxtr(self, table: RequestTable) -> None:
        self.pxtr.add(table.pxtr)
        constant = (_range(table.pxtr, table.offsets[:-1]) == 0)[table.lengths > 1]
        self.compared_lists += len(constant)
        self.constant_lists += constant.sum(axis=0)
        self.equal_lists += int(constant.all(axis=1).sum())

    def _add_samples(self, table: RequestTable) -> None:
        key = hashed(np.repeat(table.request_id, table.lengths), table.item_id)
        rows = np.concatenate([table.pxtr, table.item_numbers], axis=1)
        self.sample.add(key, rows)
        watch = [] if table.watch_time is None else [table.watch_time[:, None]]
        wide = np.concatenate([rows, table.label, *watch], axis=1, dtype=np.float32)
        self.shown_sample.add(key[table.exposed], wide[table.exposed])


class Spread:
    """Sum, smallest, largest and number of zeros of C columns."""

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.sum = np.zeros(columns)
        self.zeros = np.zeros(columns, dtype=np.int64)
        self.low, self.high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Add (n, C) values."""
        if len(values) == 0:
            return
        self.count += len(values)
        self.sum += values.sum(axis=0, dtype=np.float64)
        self.zeros += (values == 0).sum(axis=0)
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))

    def __iadd__(self, other: Spread) -> Spread:
        self.count += other.count
        self.sum, self.zeros = self.sum + other.sum, self.zeros + other.zeros
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return self

    def of(self, column: int) -> dict[str, Any]:
        """``mean``, ``min``, ``max`` and ``zeros`` (a share) of one column; None without values."""
        if self.count == 0:
            return dict.fromkeys(("mean", "min", "max", "zeros"))
        return {
            "mean": float(self.sum[column] / self.count),
            "min": float(self.low[column]),
            "max": float(self.high[column]),
            "zeros": float(self.zeros[column] / self.count),
        }


class CategoriesSeen:
    """Which ids of each category occur, and how often the unknown one, 0."""

    def __init__(self, schema: Schema) -> None:
        kinds = (
            ("user", schema.user_categories),
            ("context", schema.context_categories),
            ("item", schema.item_categories),
        )
        self._kinds = [kind for kind, _ in kinds]
        self.names = [f"{kind}_{category.name}" for kind, listed in kinds for category in listed]
        self._seen = [np.zeros(category.size, dtype=bool) for _, listed in kinds for category in listed]
        self._unknown, self._count = np.zeros((2, len(self.names)), dtype=np.int64)

    def add(self, table: RequestTable) -> None:
        """Add the ids of ``table``."""
        columns = [column for kind in self._kinds for column in getattr(table, f"{kind}_categories").T]
        for i, ids in enumerate(columns):
            self._seen[i][ids] = True
            self._unknown[i] += (ids == 0).sum()
            self._count[i] += ids.size

    def __iadd__(self, other: CategoriesSeen) -> CategoriesSeen:
        self._seen = [mine | theirs for mine, theirs in zip(self._seen, other._seen, strict=True)]
        self._unknown, self._count = self._unknown + other._unknown, self._count + other._count
        return self

    def content(self) -> dict[str, dict[str, Any]]:
        """{column: ``size``, ``seen`` ids and the share ``unknown``}."""
        return {
            name: {
                "size": self._seen[i].size,
                "seen": int(self._seen[i].sum()),
                "unknown": float(self._unknown[i] / self._count[i]),
            }
            for i, name in enumerate(self.names)
        }


def wilson(positives: int, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Wilson's interval of a rate, for independent trials; None without any.

    (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n).
    """
    if n == 0:
        return None
    z, p = float(ndtri((1 + level) / 2)), positives / n
    half = z * ((p * (1 - p) + z**2 / (4 * n)) / n) ** 0.5
    low, high = ((p + z**2 / (2 * n) + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def _range(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Largest minus smallest value of each list."""
    return np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts)


def _added(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``counts`` with each of ``values`` counted at its own place."""
    more = np.bincount(values, minlength=counts.size)
    more[: counts.size] += counts
    return more
