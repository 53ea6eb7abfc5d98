"""The table, differences and pairs of one log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.reports.hand_made import made_run

from emer.errors import EmerError
from emer.metrics.seed_intervals import seed_difference, seed_interval
from emer.reports.comparison import (
    COMPARED,
    check_reference,
    choose_reference,
    compared_settings,
    differences,
    floors,
    pairwise,
    table_rows,
)
from emer.reports.groups import Section, group_runs
from emer.reports.runs import find_runs, read_runs
from emer.reports.section_intervals import SectionIntervals


@pytest.fixture
def section(tmp_path: Path) -> Section:
    """Three methods that are worse and worse, with two seeds, of which intel has one."""
    for seed in (1, 2):
        made_run(tmp_path, "urem", seed, gain=0.1)
        made_run(tmp_path, "emer", seed, gain=0.05)
    made_run(tmp_path, "intel", 2, gain=0.0, settings={"method.optimizer.lr": 0.2})
    return group_runs(*read_runs(find_runs(tmp_path))).sections[0]


@pytest.fixture
def of(section: Section) -> dict[str, SectionIntervals]:
    return {name: SectionIntervals(section, name) for name in COMPARED}


def requests(section: Section, name: str, seeds: tuple[int, ...] = (1, 2)) -> list[dict[str, np.ndarray]]:
    group = next(group for group in section.groups if group.name == name)
    return [run.per_request for run in group.runs if run.seed in seeds]


def test_rows_are_best_first_with_means_intervals_and_costs(section: Section, of: dict[str, SectionIntervals]) -> None:
    rows = table_rows(section, of)
    assert [(row["method"], row["seeds"]) for row in rows] == [("urem", [1, 2]), ("emer", [1, 2]), ("intel", [2])]
    expected = seed_interval(requests(section, "urem"), "label_gauc/mean")
    found = rows[0]["values"]["label_gauc/mean"]
    assert (found["estimate"], found["low"], found["high"]) == (expected.estimate, expected.low, expected.high)
    assert rows[0]["values"]["label_auc/sum"] == {"estimate": pytest.approx(1.2), "low": None, "high": None, "seeds": 2}
    assert rows[0]["costs"] == {"parameters": 10, "train_rows_per_second": 3000, "fit_seconds": 4}
    assert floors(section) == {
        "label_gauc/mean": 0.5,
        "label_auc/sum": 1.0,
        "pxtr_gauc/mean": 0.5,
        "iput_gauc/mean": 0.5,
    }


def test_differences_are_paired_on_common_seeds(section: Section, of: dict[str, SectionIntervals]) -> None:
    rows = {row["method"]: row["metrics"] for row in differences(section, of, "emer")}
    assert set(rows) == {"urem", "intel"}
    expected = seed_difference(requests(section, "intel"), requests(section, "emer", (2,)), "pxtr_gauc/mean")
    found = rows["intel"]["pxtr_gauc/mean"]
    assert (found["estimate"], found["low"], found["p"], found["seeds"]) == (
        expected.estimate, expected.low, expected.p, 1,
    )  # fmt: skip
    assert rows["urem"]["label_auc/sum"]["estimate"] == pytest.approx(0.1)


def test_holm_is_over_all_p_values_of_the_table(section: Section, of: dict[str, SectionIntervals]) -> None:
    found = [value for row in differences(section, of, "emer") for value in row["metrics"].values()]
    raw = sorted(value["p"] for value in found if value["p"] is not None)
    assert len(raw) == 6  # two methods in three metrics; the pooled sums have no interval here
    expected, running = {}, 0.0
    for i, p in enumerate(raw):
        running = max(running, min(1.0, p * (len(raw) - i)))
        expected[p] = running
    for value in found:
        assert value["holm"] == (None if value["p"] is None else pytest.approx(expected[value["p"]]))


def test_every_pair_is_compared_once_and_corrected(section: Section, of: dict[str, SectionIntervals]) -> None:
    done: list[int] = []
    found = pairwise(section, of["label_gauc/mean"], ["urem", "emer", "intel"], done.append)
    assert [(p["first"], p["second"]) for p in found["pairs"]] == [
        ("urem", "emer"), ("urem", "intel"), ("emer", "intel"),
    ]  # fmt: skip
    assert sum(done) == 3
    first = found["pairs"][0]
    expected = seed_difference(requests(section, "urem"), requests(section, "emer"), "label_gauc/mean")
    assert (first["estimate"], first["p"]) == (expected.estimate, expected.p)
    smallest = min(found["pairs"], key=lambda pair: pair["p"])
    assert smallest["holm"] == pytest.approx(min(1, 3 * smallest["p"]))


def test_methods_without_a_seed_in_common_have_no_difference(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "urem", 2)
    [section] = group_runs(*read_runs(find_runs(tmp_path))).sections
    [row] = differences(section, {n: SectionIntervals(section, n) for n in COMPARED}, "emer")
    assert all(v["estimate"] is None and v["p"] is None and v["holm"] is None for v in row["metrics"].values())


def test_the_reference_is_what_is_asked_for_or_emer_or_the_best(section: Section) -> None:
    order = ["urem", "emer", "intel"]
    assert choose_reference(section, order, None) == ("emer", True)
    assert choose_reference(section, order, "intel") == ("intel", True)
    assert choose_reference(section, order, "borda") == ("urem", False)
    check_reference([section], "intel")
    with pytest.raises(EmerError, match="no finished run of borda; there are emer, intel, urem"):
        check_reference([section], "borda")


def test_only_settings_that_differ_are_told(section: Section) -> None:
    object.__setattr__(
        section.groups[0].runs[0], "settings", section.groups[0].runs[0].settings | {"method.switches.a": 1}
    )
    assert compared_settings(section) == {
        "method.name": {"emer": "emer", "intel": "intel", "urem": "urem"},
        "method.optimizer.lr": {"emer": 0.1, "intel": 0.2, "urem": 0.1},
    }
