"""Figures on the quality of pxtrs."""

from __future__ import annotations

import json
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from emer.data.log import day_number
from emer.pxtr.calibration import (
    calibration,
    calibration_tables,
    draw_reliability,
    equal_count_bins,
    ordering_auc,
)
from emer.requests import Objective, Unit

OBJECTIVES = (Objective("pctr", noisy=True), Objective("pvtr", Unit.SECONDS))


def test_ece_by_hand() -> None:
    predicted = np.array([0.9, 0.1, 0.2, 0.7, 0.6])
    actual = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    # Two bins: (0.1, 0.2) with outcomes (0, 1), and (0.6, 0.7, 0.9) with outcomes (1, 0, 1).
    bins = equal_count_bins(predicted, actual, bins=2)
    assert bins.count.tolist() == [2, 3]
    low, high = abs(0.15 - 0.5), abs((0.6 + 0.7 + 0.9) / 3 - 2 / 3)
    assert bins.error == pytest.approx((2 * low + 3 * high) / 5)


def test_ece_of_a_perfect_and_of_a_shifted_forecast() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(200_000)
    actual = (rng.random(chance.size) < chance).astype(np.float32)
    assert equal_count_bins(chance, actual).error < 0.01
    assert equal_count_bins(chance * 0.5, actual).error == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("n", [1, 3, 16, 1000])
def test_every_row_falls_into_one_bin(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    bins = equal_count_bins(values, values)
    assert bins.count.sum() == n
    assert bins.count.max() - bins.count.min() <= 1
    assert bins.error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_ordering_counts_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, actual = rng.integers(0, 6, 40).astype(np.float32), rng.integers(0, 5, 40).astype(np.float32)
    right = total = 0.0
    for i, j in combinations(range(40), 2):
        if actual[i] != actual[j]:
            total += 1
            sign = np.sign(actual[i] - actual[j]) * np.sign(predicted[i] - predicted[j])
            right += (1 + sign) / 2
    assert ordering_auc(predicted, actual) == pytest.approx(right / total)
    label = (actual > 2).astype(np.float32)
    assert ordering_auc(predicted, label) == pytest.approx(roc_auc_score(label, predicted))


def test_ordering_without_anything_to_order() -> None:
    assert ordering_auc(np.array([0.1, 0.2]), np.zeros(2)) is None
    assert ordering_auc(np.full(3, 0.5), np.array([1.0, 2.0, 3.0])) == 0.5


def content() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pxtr = np.array([[0.2, 5], [0.6, 9], [0.4, 1], [0.8, 3]], dtype=np.float32)
    targets = np.array([[0, 4], [1, 12], [1, 1], [1, 2]], dtype=np.float32)
    first = day_number("2022-05-01")
    return pxtr, targets, np.array([first, first, first + 1, first + 1])


def test_figures_by_day_and_pooled() -> None:
    pxtr, targets, day = content()
    made = calibration(pxtr, targets, day, OBJECTIVES)
    assert set(made["by_day"]) == {"2022-05-01", "2022-05-02"}
    pooled = made["pooled"]["pctr"]
    assert (pooled["rows"], pooled["positives"]) == (4, 3)
    assert pooled["mean_predicted"] == pytest.approx(0.5)
    assert pooled["mean_actual"] == pytest.approx(0.75)
    assert pooled["auc"] == 1.0
    assert made["by_day"]["2022-05-02"]["pctr"]["auc"] is None  # all positive
    assert made["pooled"]["pvtr"]["positives"] is None
    assert made["by_day"]["2022-05-01"]["pvtr"]["mean_actual"] == pytest.approx(8)
    json.dumps(made, allow_nan=False)


def test_tables_and_picture(tmp_path: Path) -> None:
    pxtr, targets, day = content()
    console = Console(width=100, record=True, file=StringIO())
    for table in calibration_tables(calibration(pxtr, targets, day, OBJECTIVES), {"pctr": 0.75}):
        console.print(table)
    text = console.export_text()
    for shown in ("pctr (noisy)", "pvtr ", "AUC by day", "ECE by day", "2022-05-02", "HistGB", "0.7500"):
        assert shown in text
    draw_reliability(tmp_path / "c.png", pxtr, targets, OBJECTIVES)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
