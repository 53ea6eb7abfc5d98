"""Which members a family's mean averages."""

from __future__ import annotations

import numpy as np
import pytest

from emer.metrics.intervals import metric_interval
from emer.metrics.summary import MIN_REQUESTS, summarise


def table(common: int, rare: int) -> dict[str, np.ndarray]:
    R = common + 5
    per_request = {name: np.arange(R) for name in ("row", "request_id", "user_id")}
    per_request |= {"n_candidates": np.full(R, 9), "n_exposed": np.full(R, 4)}
    per_request["label_gauc/click"] = np.where(np.arange(R) < common, 0.6, np.nan)
    per_request["label_gauc/follow"] = np.where(np.arange(R) < rare, 1.0, np.nan)
    return per_request


def test_a_label_with_few_valid_requests_stays_out() -> None:
    per_request = table(common=MIN_REQUESTS, rare=MIN_REQUESTS - 1)
    summary = summarise(per_request)
    assert summary["label_gauc/mean"] == pytest.approx(0.6)
    assert summary["label_gauc/follow"] == pytest.approx(1.0)
    assert metric_interval(per_request, "label_gauc/mean").estimate == pytest.approx(0.6)


def test_with_enough_it_counts() -> None:
    per_request = table(common=MIN_REQUESTS, rare=MIN_REQUESTS)
    assert summarise(per_request)["label_gauc/mean"] == pytest.approx(0.8)
    assert metric_interval(per_request, "label_gauc/mean").estimate == pytest.approx(0.8)


def test_in_a_small_log_all_valid_labels_count() -> None:
    per_request = table(common=5, rare=2)
    assert summarise(per_request)["label_gauc/mean"] == pytest.approx(0.8)
    assert summarise(table(common=5, rare=0))["label_gauc/mean"] == pytest.approx(0.6)
