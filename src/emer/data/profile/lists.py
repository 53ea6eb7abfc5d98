"""What only shows inside a list: how a column orders what was shown, ties, and rank correlations of the pxtrs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from emer.data.table import RequestTable
from emer.metrics.concordance import concordance_auc, concordance_counts
from emer.requests import Schema

WATCH = "watch time"
"""Target besides the labels; with a blank, which no label has."""

_PLACES = 1 << 18
"""Padded places (lists x longest list) worked on at a time."""


class ListStatistics:
    """Sums over lists, added up row group by row group.

    Args:
        schema: the log's columns.
        has_watch, has_previous: whether ``watch_time`` and ``previous_score`` are logged.
    """

    def __init__(self, schema: Schema, *, has_watch: bool, has_previous: bool) -> None:
        K = len(schema.objectives)
        self.schema = schema
        self.columns = [
            *(f"pxtr_{name}" for name in schema.objective_names),
            *(["previous_score"] if has_previous else []),
            *(f"number_{name}" for name in schema.item_numbers),
        ]
        self.targets = [*schema.feedback_names, *([WATCH] if has_watch else [])]
        shape = (len(self.columns), len(self.targets))
        self._auc, self._weight = np.zeros(shape), np.zeros(shape)
        self._auc_lists = np.zeros(shape, dtype=np.int64)
        self._spearman, self._spearman_lists = np.zeros((K, K)), np.zeros((K, K), dtype=np.int64)
        self._tied, self._pairs = np.zeros(K, dtype=np.int64), 0

    def add(self, table: RequestTable) -> None:
        """Add the lists of ``table``."""
        self._add_order(table)
        for mask, (gap,) in padded(table.offsets, [table.rank_gap]):
            self._add_ranks(mask, gap)

    def __iadd__(self, other: ListStatistics) -> ListStatistics:
        for name in ("_auc", "_weight", "_auc_lists", "_spearman", "_spearman_lists", "_tied", "_pairs"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def _add_order(self, table: RequestTable) -> None:
        shown = np.add.reduceat(table.exposed, table.offsets[:-1], dtype=np.int64)
        places = table.exposed & np.repeat(shown > 1, table.lengths)
        if not places.any() or not self.targets:
            return
        offsets = np.concatenate([[0], np.cumsum(shown[shown > 1])])
        scores = np.column_stack(
            [table.pxtr[places]]
            + ([table.previous_score[places]] if table.previous_score is not None else [])
            + [table.item_numbers[places]]
        )
        watch = None if table.watch_time is None else table.watch_time[places, None]
        M = len(self.schema.feedback)
        for kind, targets in ((slice(0, M), table.label[places]), (slice(M, None), watch)):
            if targets is None or targets.shape[1] == 0:
                continue
            for mask, (score, target) in padded(offsets, [scores, targets]):
                where, wanted = torch.from_numpy(mask), torch.from_numpy(target)
                weight = mask.sum(axis=1, dtype=np.float64)[:, None]
                for c in range(len(self.columns)):
                    auc = concordance_auc(torch.from_numpy(score[..., c].copy()), wanted, where=where).numpy()
                    told = ~np.isnan(auc)
                    self._auc[c, kind] += np.where(told, auc * weight, 0.0).sum(axis=0)
                    self._weight[c, kind] += (told * weight).sum(axis=0)
                    self._auc_lists[c, kind] += told.sum(axis=0)

    def _add_ranks(self, mask: np.ndarray, gap: np.ndarray) -> None:
        where, gaps = torch.from_numpy(mask), torch.from_numpy(gap)
        counts = concordance_counts(gaps[..., 0].contiguous(), gaps, where=where)
        self._tied += (counts.tied_target_only + counts.tied_both).sum(dim=0).numpy()
        n = mask.sum(axis=1, dtype=np.int64)
        self._pairs += int((n * (n - 1) // 2).sum())
        # Rank gaps are centred ranks, so their correlation is Spearman's.
        centred = gaps.double()
        cross = (centred.transpose(1, 2) @ centred).numpy()
        size = np.sqrt(np.diagonal(cross, axis1=1, axis2=2))
        norm = size[:, :, None] * size[:, None, :]
        told = norm > 0
        self._spearman += np.divide(cross, norm, out=np.zeros_like(cross), where=told).sum(axis=0)
        self._spearman_lists += told.sum(axis=0)

    def gauc(self, column: str, target: str) -> dict[str, Any]:
        """Mean AUC of ``column`` against ``target`` within lists, weighted by exposed candidates, and its lists."""
        place = self.columns.index(column), self.targets.index(target)
        lists = int(self._auc_lists[place])
        return {"gauc": float(self._auc[place] / self._weight[place]) if lists else None, "lists": lists}

    def gauc_table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{column: {target: :meth:`gauc`}}."""
        return {c: {t: self.gauc(c, t) for t in self.targets} for c in self.columns}

    def spearman(self) -> list[list[float | None]]:
        """(K, K) mean over lists of Spearman's correlation of two pxtrs; None where no list orders both."""
        return [
            [float(total / n) if n else None for total, n in zip(row, lists, strict=True)]
            for row, lists in zip(self._spearman, self._spearman_lists, strict=True)
        ]

    def tied_share(self, k: int) -> float | None:
        """Share of the pairs within lists that objective k leaves tied."""
        return float(self._tied[k] / self._pairs) if self._pairs else None


def padded(
    offsets: np.ndarray, columns: Sequence[np.ndarray], places: int = _PLACES
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Lists of similar length together, padded with 0 to the longest of them.

    Args:
        offsets: (R + 1,); list r owns rows ``offsets[r]:offsets[r + 1]``.
        columns: (T, C) arrays.
        places: largest padded size B x N, unless one list alone is longer.

    Yields:
        mask (B, N) bool, and the columns (B, N, C).
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < order.size:
        width = int(lengths[order[start]])
        rows = order[start : start + max(1, places // max(width, 1))]
        mask = np.arange(width) < lengths[rows, None]
        index = np.where(mask, offsets[rows, None] + np.arange(width), 0)
        yield mask, [column[index] * mask[..., None] for column in columns]
        start += rows.size
