"""Folders of simulated online experiments."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.reports.hand_made import made_online

from emer.errors import EmerError
from emer.reports.online_results import read_online


def test_each_kind_of_folder_is_read(tmp_path: Path) -> None:
    test, worlds, loop = read_online(made_online(tmp_path))
    assert [one["kind"] for one in (test, worlds, loop)] == ["test", "worlds", "loop"]
    assert [one["base"] for one in (test, worlds, loop)] == ["fusion_formula"] * 3
    like, forward = test["effects"]  # segments stay in the folder
    assert (like["metric"], like["percent"], like["percent_low"], like["adjusted_p"]) == ("Like", 1.5, 0.5, 0.02)
    assert (forward["percent"], forward["percent_low"], forward["p"]) == (1.5, None, None)
    [mean] = worlds["effects"]
    assert (mean["metric"], mean["percent_high"], mean["same_sign"], mean["worlds"]) == ("Like", 3.0, 4, 6)


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EmerError, match=f"online: {tmp_path} has none of worlds.csv"):
        read_online([tmp_path])
    (tmp_path / "effects.csv").write_text("arm,metric\nemer,Like\n", encoding="utf-8")
    with pytest.raises(EmerError, match=f"online: {tmp_path} cannot be read"):
        read_online([tmp_path])
