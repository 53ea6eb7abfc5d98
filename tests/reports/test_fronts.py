"""Pareto fronts of methods, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.reports.hand_made import add_archive, made_run

from emer.errors import EmerError
from emer.files import write_json
from emer.reports.fronts import archives, check_fronts, fronts, staircase, value_of
from emer.reports.groups import Section, group_runs
from emer.reports.runs import find_runs, read_runs


def set_metrics(path: Path, **values: float | None) -> None:
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    write_json(path / "metrics.json", metrics | {f"test/{name.replace('__', '/')}": v for name, v in values.items()})


@pytest.fixture
def section(tmp_path: Path) -> Section:
    """Seeds of a at (.8, .6) and (.6, .6); b at (.6, .9); c below both; d without one of the metrics."""
    places = {
        ("a", 1): (0.8, 0.6),
        ("a", 2): (0.6, 0.6),
        ("b", 1): (0.6, 0.9),
        ("c", 1): (0.6, 0.55),
        ("d", 1): (0.9, None),
    }
    for (name, seed), (x, y) in places.items():
        set_metrics(made_run(tmp_path, name, seed), label_gauc__a=x, label_gauc__b=y)
    return group_runs(*read_runs(find_runs(tmp_path))).sections[0]


def test_front_volume_and_what_each_adds(section: Section) -> None:
    [front] = fronts(section, [["label_gauc/a", "label_gauc/b"]])
    points = {point["method"]: point for point in front["points"]}
    assert points["a"]["values"] == pytest.approx([0.7, 0.6])
    assert [name for name, point in points.items() if point["front"]] == ["a", "b"]
    assert front["origin"] == [0.5, 0.5]
    a, b, both = 0.2 * 0.1, 0.1 * 0.4, 0.1 * 0.1
    assert front["volume"] == pytest.approx(a + b - both)
    assert points["a"]["alone"] == pytest.approx(a - both)
    assert points["b"]["alone"] == pytest.approx(b - both)
    assert points["c"]["alone"] == 0
    assert points["a"]["own"] == pytest.approx(0.3 * 0.1)  # of its seeds, the better of which has .8
    assert front["skipped"] == ["d"]


def test_three_metrics_make_a_volume(section: Section) -> None:
    [front] = fronts(section, [["label_gauc/a", "label_gauc/b", "label_gauc/a"]])
    assert front["volume"] == pytest.approx(0.2 * 0.1 * 0.2 + 0.1 * 0.4 * 0.1 - 0.1 * 0.1 * 0.1)


def test_pxtrs_are_parted_by_their_iput_target(tmp_path: Path) -> None:
    path = made_run(tmp_path, "emer", 1, members=("a", "b", "c"))
    set_metrics(path, pxtr_gauc__a=0.6, pxtr_gauc__b=0.7, pxtr_gauc__c=0.9)
    [run], _ = read_runs([path])
    kept = {k: v for k, v in run.per_request.items() if k not in ("iput_gauc/a", "iput_gauc/b")}
    object.__setattr__(run, "per_request", kept)
    assert value_of(run, "pxtr_gauc/watch") == pytest.approx(0.65)
    assert value_of(run, "pxtr_gauc/interaction") == pytest.approx(0.9)
    assert value_of(run, "pxtr_gauc/watch", floor=True) == 0.5
    assert value_of(run, "nothing/here") is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["label_gauc/a"], "is no list of two or three metrics"),
        ([["label_gauc/a"]], "is no list of two or three metrics"),
        ([["label_gauc/a", "label_gauc/q"]], "no run has label_gauc/q; there are .*label_gauc/a"),
    ],
)
def test_what_is_no_front_is_refused(section: Section, wanted: list[list[str]], message: str) -> None:
    with pytest.raises(EmerError, match=message):
        check_fronts([section], wanted)


def test_a_log_without_the_metrics_has_no_front(section: Section) -> None:
    assert fronts(section, [["label_gauc/a", "label_gauc/other"]]) == []


def test_the_staircase_goes_round_the_front() -> None:
    stairs = staircase([(0.8, 0.6), (0.6, 0.9), (0.4, 1.0)], (0.5, 0.5))
    assert stairs == [(0.5, 0.9), (0.6, 0.9), (0.6, 0.6), (0.8, 0.6), (0.8, 0.5)]
    assert staircase([(0.4, 0.9)], (0.5, 0.5)) == []


def test_archives_of_ippo_are_told(tmp_path: Path) -> None:
    add_archive(made_run(tmp_path, "pantheon", 3))
    (made_run(tmp_path, "emer", 1) / "archive.json").write_text("{}", encoding="utf-8")
    [section] = group_runs(*read_runs(find_runs(tmp_path))).sections
    [found] = archives(section)
    assert (found["method"], found["seed"], found["rounds"], found["accepted"]) == ("pantheon", 3, 3, 3)
    assert [entry["gaucs"] for entry in found["entries"]] == [[0.6, None], [0.55, 0.7]]
