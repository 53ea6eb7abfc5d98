"""How good an order is: functions of tensors, their floors under a random order, torchmetrics classes, intervals."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from emer.metrics.auc import pooled_auc
from emer.metrics.concordance import PairCounts, concordance_auc, concordance_counts, kendall_tau
from emer.metrics.floors import (
    random_dcg_at_k,
    random_hit_rate_at_k,
    random_map_at_k,
    random_mean_at_k,
    random_ndcg_at_k,
)
from emer.metrics.topk import dcg_at_k, hit_rate_at_k, map_at_k, mean_at_k, ndcg_at_k

if TYPE_CHECKING:
    from emer.metrics.intervals import Interval, mean_interval, paired_interval
    from emer.metrics.means import DCG, GAUC, MAP, NDCG, HitRate, MeanAtK
    from emer.metrics.request_metrics import RequestMetrics, request_values

__all__ = [
    "DCG",
    "GAUC",
    "MAP",
    "NDCG",
    "HitRate",
    "Interval",
    "MeanAtK",
    "PairCounts",
    "RequestMetrics",
    "concordance_auc",
    "concordance_counts",
    "dcg_at_k",
    "hit_rate_at_k",
    "kendall_tau",
    "map_at_k",
    "mean_at_k",
    "mean_interval",
    "ndcg_at_k",
    "paired_interval",
    "pooled_auc",
    "random_dcg_at_k",
    "random_hit_rate_at_k",
    "random_map_at_k",
    "random_mean_at_k",
    "random_ndcg_at_k",
    "request_values",
]

_WHEN_ASKED_FOR = {
    "emer.metrics.intervals": ("Interval", "mean_interval", "paired_interval"),
    "emer.metrics.means": ("DCG", "GAUC", "MAP", "NDCG", "HitRate", "MeanAtK"),
    "emer.metrics.request_metrics": ("RequestMetrics", "request_values"),
}
"""What needs torchmetrics or scipy.stats, whose import takes seconds."""


def __getattr__(name: str) -> object:
    for module, names in _WHEN_ASKED_FOR.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
