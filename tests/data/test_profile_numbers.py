"""The numbers of a profile: by hand, and the same however the log is cut into files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.data.profiled import SMALL, by_hand, leaves, sound, write_log

from emer.data.parquet import write_requests
from emer.data.profile.content import profile_folder
from emer.data.profile.counts import wilson
from emer.data.profile.samples import Distinct, Sample, hashed
from emer.data.table import RequestTable
from emer.requests import Objective, Schema


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return profile_folder(write_log(tmp_path_factory.mktemp("log"), by_hand()), described="a log")


@pytest.fixture
def train(content: dict[str, Any]) -> dict[str, Any]:
    return content["splits"]["train"]


def test_sizes_of_a_split_by_hand(train: dict[str, Any]) -> None:
    sizes = {key: train[key] for key in ("files", "requests", "candidates", "exposed", "explored", "users", "items")}
    assert sizes == {
        "files": 1, "requests": 3, "candidates": 6, "exposed": 4, "explored": 1, "users": 2, "items": 5,
    }  # fmt: skip
    assert train["items_exact"] and (train["first_ms"], train["last_ms"]) == (1000, 3000)
    assert train["length"] == {"mean": 2.0, "min": 1, "median": 2, "max": 3}
    assert train["shown"] == {"mean": pytest.approx(4 / 3), "min": 0, "median": 2, "max": 2}
    assert (train["lists_of_one"], train["lists_without_pair"], train["equal_lists"]) == (1, 1, 0.0)


def test_feedback_of_a_split_by_hand(train: dict[str, Any]) -> None:
    click = train["labels"]["click"]
    z2 = 1.959963984540054**2
    half = (z2 * (0.25 / 4 + z2 / 64)) ** 0.5
    low, high = ((0.5 + z2 / 8 + side * half) / (1 + z2 / 4) for side in (-1, 1))
    assert click == {
        "positives": 2, "rate": 0.5, "low": pytest.approx(low), "high": pytest.approx(high),
        "lists_with": 2, "lists_mixed": 2,
    }  # fmt: skip
    assert train["labels"]["like"]["positives"] == 0 and train["labels"]["like"]["low"] == 0
    watch = train["watch"]
    assert (watch["mean"], watch["min"], watch["max"], watch["zeros"]) == (6.0, 0.0, 18.0, 0.25)
    assert watch["p50"] == 3.0  # of 0, 2, 4, 18
    assert train["negative"] == 1


def test_pxtrs_of_a_split_by_hand(train: dict[str, Any]) -> None:
    pctr = train["pxtr"]["pctr"]
    assert pctr["mean"] == pytest.approx((0.9 + 0.5 + 0.1 + 0.4 + 0.4 + 0.0) / 6)
    assert (pctr["min"], pctr["max"], pctr["zeros"]) == (0.0, pytest.approx(0.9), pytest.approx(1 / 6))
    assert (pctr["constant_lists"], pctr["tied_pairs"]) == (1 / 2, 1 / 4)  # 2 lists to compare, 3 + 1 pairs in them
    assert train["pxtr"]["pltr"]["tied_pairs"] == 1 / 4 and train["pxtr"]["pvtr"]["tied_pairs"] == 0
    assert pctr["p50"] == pytest.approx(0.4)
    previous = train["previous_score"]
    assert (previous["mean"], previous["zeros"]) == (pytest.approx(14 / 6), pytest.approx(1 / 6))
    assert previous["constant_lists"] == 1 / 2


def test_calibration_of_a_split_by_hand(train: dict[str, Any]) -> None:
    pctr = train["quality"]["pctr"]
    assert pctr["bins"]["rows"] == [1, 1, 1, 1]
    assert pctr["bins"]["predicted"] == pytest.approx([0.1, 0.4, 0.4, 0.9])
    assert (pctr["target"], pctr["rows"], pctr["actual"]) == ("click", 4, 0.5)
    assert pctr["predicted"] == pytest.approx(1.8 / 4)
    assert pctr["ece"] == pytest.approx((0.1 + 0.4 + 0.6 + 0.1) / 4)
    assert pctr["auc"] == 3.5 / 4  # of the pairs of 0.9 and 0.4 with 0.1 and 0.4, one is tied
    assert (pctr["gauc"], pctr["lists"]) == ((2 * 1 + 2 * 0.5) / 4, 2)
    pvtr = train["quality"]["pvtr"]
    assert (pvtr["target"], pvtr["auc"], pvtr["gauc"], pvtr["lists"]) == ("watch time", None, (2 * 1 + 2 * 0) / 4, 2)
    assert train["quality"]["pltr"]["gauc"] is None and train["quality"]["pltr"]["lists"] == 0


def test_numbers_over_all_splits_by_hand(content: dict[str, Any]) -> None:
    assert content["items"] == {"count": 6, "exact": True}
    assert content["overlaps"] == [
        {"earlier": "train", "later": "validation", "not_before": 1, "same_id": 0, "same_request": 0},
        {"earlier": "train", "later": "test", "not_before": 0, "same_id": 0, "same_request": 0},
        {"earlier": "validation", "later": "test", "not_before": 0, "same_id": 0, "same_request": 0},
    ]
    assert content["splits"]["validation"]["unseen_users"] == 0 and content["splits"]["test"]["unseen_users"] == 1
    assert content["categories"] == {
        "user_age": {"size": 3, "seen": 2, "unknown": 0.0},
        "item_topic": {"size": 4, "seen": 3, "unknown": 2 / 8},
    }
    assert content["numbers"]["duration"]["mean"] == (1 + 2 + 3 + 2 + 4 + 0 + 2 + 2) / 8
    # Of the second list, pctr is constant; in the first, pctr and pvtr agree.
    assert content["correlations"]["within_lists"][0][1] == pytest.approx(1)
    assert content["correlations"]["within_lists"][0][2] == pytest.approx(0.75**0.5)  # ranks 1, 0, -1 and ½, ½, -1
    assert content["correlations"]["labels"] == [[1.0, None], [None, None]]
    assert content["histograms"]["lengths"]["counts"]["train"] == [0, 1, 1, 1]
    assert content["histograms"]["watch"]["counts"]["train"][:6] == [1, 0, 1, 1, 0, 0]  # edges 0 1 2 3 5 7
    assert sum(content["histograms"]["time_ms"]["counts"]["train"]) == 3
    assert content["gauc"]["previous_score"]["click"] == {"gauc": (2 * 0 + 2 * 0.5) / 4, "lists": 2}


def test_wilson_is_scipys() -> None:
    for positives, n in ((0, 7), (3, 7), (7, 7), (45, 43_652)):
        expected = binomtest(positives, n).proportion_ci(method="wilson")
        assert wilson(positives, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) is None


def test_cuts_into_files_and_row_groups_change_nothing(tmp_path: Path) -> None:
    tables = {name: RequestTable.build(**columns) for name, columns in sound().items()}
    whole = profile_folder(write_log(tmp_path / "a" / "log", tables))
    for split, table in tables.items():
        for i, (start, stop) in enumerate(((0, 31), (31, 32), (32, 80))):
            path = tmp_path / "b" / "log" / split / f"part-{i}.parquet"
            write_requests(table.select(np.arange(start, stop)), path, row_group_size=7)
    cut = profile_folder(tmp_path / "b" / "log")
    for split in cut["splits"].values():
        assert split.pop("files") == 3
    for split in whole["splits"].values():
        split.pop("files")
    expected, found = leaves(whole), leaves(cut)
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (path, value), (_, other) in zip(expected, found, strict=True):
        assert other == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value), path


def test_a_flat_folder_of_one_request_is_profiled_whole(tmp_path: Path) -> None:
    write_requests(by_hand()["test"], tmp_path / "a.parquet")
    content = profile_folder(tmp_path)
    assert list(content["splits"]) == ["all"] and content["overlaps"] == []
    assert content["splits"]["all"]["requests"] == 1
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_without_exposure_labels_and_optional_columns(tmp_path: Path) -> None:
    schema = Schema(objectives=(Objective("pctr"),))
    table = RequestTable.build(
        schema=schema, offsets=[0, 2], request_id=[1], user_id=[1], time_ms=[1], item_id=[1, 2],
        pxtr=[[0.5], [0.25]], exposed=[False, False],
    )  # fmt: skip
    write_requests(table, tmp_path / "a.parquet")
    content = profile_folder(tmp_path)
    split = content["splits"]["all"]
    missing = ("explored", "watch", "negative", "previous_score")
    assert [split[key] for key in missing] == [None] * 4
    assert split["quality"] == {} and split["labels"] == {} and content["numbers"] == {}
    assert "watch" not in content["histograms"]
    assert [one["kind"] for one in content["warnings"]] == ["no_exposure"]


def test_what_stands_beside_the_requests_is_told(tmp_path: Path) -> None:
    write_requests(by_hand()["test"], tmp_path / "a.parquet")
    about = {"name": "Log", "licence": "CC0", "known_faults": ["one"], "counts": {"rows": 3}}
    (tmp_path / "source.json").write_text(json.dumps(about))
    (tmp_path / "calibration.json").write_text("[]")
    content = profile_folder(tmp_path)
    assert content["about"] == {"name": "Log", "licence": "CC0", "known_faults": ["one"]}
    assert content["out_of_sample"] == {"pooled": {}, "by_day": {}}


def test_a_sample_does_not_depend_on_order_or_chunks() -> None:
    ids = np.arange(5000)
    key, rows = hashed(ids), ids[:, None].astype(np.float32)
    whole, parts = Sample(200, 1), Sample(200, 1)
    whole.add(key, rows)
    for chunk in np.array_split(np.random.default_rng(0).permutation(5000), 23):
        parts.add(key[chunk], rows[chunk])
    assert whole.seen == parts.seen == 5000 and len(whole.rows) == 200
    np.testing.assert_array_equal(whole.rows, parts.rows)
    halves = [Sample(200, 1), Sample(200, 1)]
    for half, places in zip(halves, (slice(0, 1000), slice(1000, None)), strict=True):
        half.add(key[places], rows[places])
    np.testing.assert_array_equal(Sample.pooled(halves).rows, whole.rows)
    # Uniform: the mean of 200 of 0 .. 4999 has a standard error of 102.
    assert abs(whole.rows.mean() - 2499.5) < 400


def test_distinct_is_exact_below_its_size_and_close_above() -> None:
    small = Distinct(1000)
    small.add(np.arange(600))
    small.add(np.arange(300, 1000))
    assert (small.count, small.exact) == (1000, True)
    small.add(np.array([-1]))
    assert not small.exact and small.count == pytest.approx(1001, rel=0.1)
    large = Distinct(4096)
    for start in range(0, 300_000, 30_000):
        large.add(np.arange(start, start + 40_000))
    assert not large.exact and large.count == pytest.approx(310_000, rel=4 / 64)  # four standard errors
    assert Distinct.union([small, large]).exact is False


def test_the_schema_of_the_hand_made_log_is_kept(content: dict[str, Any]) -> None:
    assert Schema.from_dict(content["schema"]) == SMALL and content["described"] == "a log"
