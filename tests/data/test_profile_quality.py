"""Correlations, order and calibration of a profile against scipy, scikit-learn and plain loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from tests.data.profiled import write_log

from emer.data.profile.content import profile_folder
from emer.data.profile.lists import padded
from emer.data.profile.quality import quantiles
from emer.data.table import RequestTable

Make = Callable[..., RequestTable]
SPLITS = {"train": 0, "validation": 100, "test": 200}


@pytest.fixture
def tables(table_of: Make) -> dict[str, RequestTable]:
    return {name: table_of(60, first_id=first) for name, first in SPLITS.items()}


@pytest.fixture
def profiled(tables: dict[str, RequestTable], tmp_path: Path) -> dict[str, Any]:
    return profile_folder(write_log(tmp_path, tables))


def joined(tables: dict[str, RequestTable]) -> RequestTable:
    return RequestTable.concat(list(tables.values()))


def test_correlations_over_all_candidates(tables: dict[str, RequestTable], profiled: dict[str, Any]) -> None:
    table, found = joined(tables), profiled["correlations"]
    assert profiled["sampled"]["candidates"] == table.item_id.size
    pxtr = table.pxtr.astype(np.float64)
    np.testing.assert_allclose(found["pearson"], np.corrcoef(pxtr.T), atol=1e-9)
    np.testing.assert_allclose(found["spearman"], spearmanr(pxtr).statistic, atol=1e-9)
    label = table.label[table.exposed].astype(np.float64)
    np.testing.assert_allclose(found["labels"], np.corrcoef(label.T), atol=1e-9)
    number = table.item_numbers[table.exposed, 0].astype(np.float64)
    for m, name in enumerate(table.schema.feedback_names):
        one = found["numbers"]["duration"][name]
        assert one["r"] == pytest.approx(np.corrcoef(number, label[:, m])[0, 1])
        assert one["auc"] == pytest.approx(roc_auc_score(label[:, m], number))


def test_correlations_within_lists(tables: dict[str, RequestTable], profiled: dict[str, Any]) -> None:
    table = joined(tables)
    values = []
    for a, b in pairwise(table.offsets):
        x, y = table.pxtr[a:b, 0], table.pxtr[a:b, 2]
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            values.append(spearmanr(x, y).statistic)
    assert len(values) > 50
    within = np.array(profiled["correlations"]["within_lists"])
    assert within[0, 2] == pytest.approx(np.mean(values)) and within[2, 0] == within[0, 2]
    np.testing.assert_allclose(np.diag(within), 1)


def test_gauc_within_lists(tables: dict[str, RequestTable], profiled: dict[str, Any]) -> None:
    """pxtrs, the number and the older score against every label, by scikit-learn list by list."""
    table = joined(tables)
    columns = {
        "pxtr_pctr": table.pxtr[:, 0],
        "previous_score": table.previous_score,
        "number_duration": table.item_numbers[:, 0],
    }
    for name, scores in columns.items():
        assert scores is not None
        for m, label in enumerate(table.schema.feedback_names):
            total = weight = lists = 0
            for a, b in pairwise(table.offsets):
                shown = table.exposed[a:b]
                y = table.label[a:b, m][shown]
                if 0 < y.sum() < y.size:
                    total += y.size * roc_auc_score(y, scores[a:b][shown])
                    weight += y.size
                    lists += 1
            assert lists > 20
            assert profiled["gauc"][name][label] == {"gauc": pytest.approx(total / weight), "lists": lists}


def test_order_of_watch_time_within_lists(tables: dict[str, RequestTable], profiled: dict[str, Any]) -> None:
    table = joined(tables)
    assert table.watch_time is not None
    total = weight = 0.0
    for a, b in pairwise(table.offsets):
        shown = table.exposed[a:b]
        s, t = table.pxtr[a:b, 1][shown], table.watch_time[a:b][shown]
        pairs = [(i, j) for i in range(s.size) for j in range(i) if t[i] != t[j]]
        if pairs:
            right = sum(0.5 + 0.5 * np.sign(s[i] - s[j]) * np.sign(t[i] - t[j]) for i, j in pairs)
            total, weight = total + s.size * right / len(pairs), weight + s.size
    assert profiled["gauc"]["pxtr_pvtr"]["watch time"]["gauc"] == pytest.approx(total / weight)


def test_calibration_error(tables: dict[str, RequestTable], profiled: dict[str, Any]) -> None:
    table = tables["train"]
    p, y = table.pxtr[table.exposed, 2].astype(np.float64), table.label[table.exposed, 2]
    found = profiled["splits"]["train"]["quality"]["pltr"]
    bins = found["bins"]
    assert sum(bins["rows"]) == p.size and max(bins["rows"]) - min(bins["rows"]) <= 1
    assert np.average(bins["predicted"], weights=bins["rows"]) == pytest.approx(p.mean())
    assert np.average(bins["actual"], weights=bins["rows"]) == pytest.approx(y.mean())
    gaps = [n * abs(a - b) for n, a, b in zip(bins["rows"], bins["predicted"], bins["actual"], strict=True)]
    assert found["ece"] == pytest.approx(sum(gaps) / p.size)
    assert found["auc"] == pytest.approx(roc_auc_score(y, p))


def test_constant_columns_have_no_correlation(columns_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    columns = columns_of(20)
    columns["pxtr"][:, 0] = 0.3
    table = RequestTable.build(**columns)
    content = profile_folder(write_log(tmp_path, {"train": table, **{
        name: RequestTable.build(**(columns | {"request_id": np.arange(20) + first}))
        for name, first in SPLITS.items() if first
    }}))  # fmt: skip
    found = content["correlations"]
    for key in ("pearson", "spearman", "within_lists"):
        assert [row[0] for row in found[key]] == [None] * 4
        assert found[key][1][1] == pytest.approx(1)


def test_quantiles_are_numpys() -> None:
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    found = quantiles(values)
    assert list(found) == ["p01", "p05", "p25", "p50", "p75", "p95", "p99"]
    assert found["p95"] == pytest.approx(np.quantile(values, 0.95), rel=1e-6)
    assert set(quantiles(values[:0]).values()) == {None}


@pytest.mark.parametrize("places", [1, 12, 10_000])
def test_padding_loses_and_adds_nothing(places: int) -> None:
    lengths = np.array([3, 1, 0, 5, 2, 5])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.arange(1, 17, dtype=np.float32)[:, None]
    seen = []
    for mask, (block,) in padded(offsets, [values], places):
        assert mask.size <= max(places, 5) and (block[~mask] == 0).all()
        seen += [row[m, 0].tolist() for row, m in zip(block, mask, strict=True)]
    expected = [values[a:b, 0].tolist() for a, b in pairwise(offsets)]
    assert sorted(seen) == sorted(expected)
