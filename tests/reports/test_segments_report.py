"""Differences in parts of the requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.reports.hand_made import add_segments, made_run

from emer.errors import EmerError
from emer.metrics.seed_intervals import seed_difference
from emer.reports.groups import group_runs
from emer.reports.runs import find_runs, read_runs
from emer.reports.segments import by_length, by_segment, check_segments, segments_of


def test_a_part_is_compared_on_its_own_requests(tmp_path: Path) -> None:
    for method, gain in (("emer", 0.0), ("urem", 0.1)):
        add_segments(made_run(tmp_path, method, 1, gain=gain, requests=30))
    [section] = group_runs(*read_runs(find_runs(tmp_path))).sections
    activity, length = by_segment(section, "emer", None, lambda _: None)
    assert [part["label"] for part in activity["parts"]] == ["0 (unknown)", "1", "2"]
    assert [part["requests"] for part in activity["parts"]] == [10, 10, 10]
    emer, urem = (
        {name: values[1::3] for name, values in group.runs[0].per_request.items()} for group in section.groups
    )
    expected = seed_difference([urem], [emer], "label_gauc/mean")
    found = activity["parts"][1]["methods"]["urem"]["label_gauc/mean"]["difference"]
    assert (found["estimate"], found["low"], found["high"]) == (expected.estimate, expected.low, expected.high)
    assert "difference" not in activity["parts"][1]["methods"]["emer"]["label_gauc/mean"]
    assert length["name"] == "list length"
    assert sum(part["requests"] for part in length["parts"]) == 30


def test_quarters_by_length_hold_equal_lengths_together() -> None:
    index, names = by_length(np.array([3.0, 4, 5, 6, 7, 8, 9, 10]))
    assert index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert names == ["3–4 candidates", "5–6 candidates", "7–8 candidates", "9–10 candidates"]
    index, names = by_length(np.array([5.0, 5, 5, 5, 9]))
    assert index.tolist() == [0, 0, 0, 0, 1] and names == ["5 candidates", "9 candidates"]


def test_runs_that_did_not_note_segments_borrow_them(tmp_path: Path) -> None:
    made_run(tmp_path, "borda", 1)
    path = made_run(tmp_path, "emer", 1)
    add_segments(path, values=2)
    # The lengths are part of what tells test requests apart.
    add_segments(tmp_path / "borda_simulated_seed1", values=1)
    [section] = group_runs(*read_runs(find_runs(tmp_path))).sections
    found = segments_of(section)
    assert set(found) == {"list length"}  # borda's activity has one value, and comes first
    made_run(tmp_path, "borda", 1)
    sections = group_runs(*read_runs(find_runs(tmp_path))).sections
    emer = next(section for section in sections if section.groups[0].label == "emer")
    parts = by_segment(emer, "emer", ["activity"], lambda _: None)[0]["parts"]
    assert [part["label"] for part in parts] == ["0 (unknown)", "1"]


def test_an_unknown_segment_is_named(tmp_path: Path) -> None:
    add_segments(made_run(tmp_path, "emer", 1))
    sections = group_runs(*read_runs(find_runs(tmp_path))).sections
    check_segments(sections, ["activity"])
    with pytest.raises(EmerError, match=r"segments: no log has 'city'.*activity, list length"):
        check_segments(sections, ["city"])
