"""Curves, weights and losses over epochs and seeds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.reports.hand_made import add_histories, made_run

from emer.reports.groups import Section, group_runs
from emer.reports.histories import learning_curves, objectives_of_loss, over_seeds, prior_losses, thinned, weights
from emer.reports.runs import find_runs, read_runs


def section_of(root: Path) -> Section:
    return group_runs(*read_runs(find_runs(root))).sections[0]


def test_a_mean_is_over_the_seeds_that_got_so_far() -> None:
    first = ({"epoch": 0.0, "v": 1.0}, {"epoch": 1.0, "v": 3.0})
    second = ({"epoch": 0.0, "v": 2.0}, {"epoch": 1.0, "v": math.nan}, {"epoch": 2.0})
    assert over_seeds([first, second], "epoch", "v") == {
        "x": [0.0, 1.0], "mean": [1.5, 3.0], "low": [1.0, 3.0], "high": [2.0, 3.0], "seeds": [2.0, 1.0],
    }  # fmt: skip
    assert over_seeds([()], "epoch", "v")["x"] == []


def test_curves_are_there_for_what_trains(tmp_path: Path) -> None:
    for seed in (1, 2):
        add_histories(made_run(tmp_path, "emer", seed), epochs=3)
    made_run(tmp_path, "borda", 1)
    found = learning_curves(section_of(tmp_path))
    assert set(found) == {"train/loss", "val/loss", "val/label_gauc/mean", "val/pxtr_gauc/mean"}
    assert set(found["val/loss"]) == {"emer"}
    band = found["train/loss"]["emer"]
    assert band["low"] == pytest.approx([1.1, 1.1 / 2, 1.1 / 3]) and band["high"] == pytest.approx([1.2, 0.6, 0.4])
    assert band["mean"] == pytest.approx([1.15, 1.15 / 2, 1.15 / 3])


def test_weights_come_by_step_and_for_older_runs_by_epoch(tmp_path: Path) -> None:
    add_histories(made_run(tmp_path, "emer", 1))
    older = made_run(tmp_path, "urem", 1)
    add_histories(older, epochs=2)
    (older / "weights.csv").unlink()
    made_run(tmp_path, "borda", 1)
    found = weights(section_of(tmp_path))
    assert set(found) == {"emer", "urem"}
    assert found["emer"]["by"] == "step" and list(found["emer"]["objectives"]) == ["a", "b"]
    assert found["emer"]["objectives"]["a"]["mean"][9] == pytest.approx(1 + 0.3 * math.sin(1))
    assert found["urem"]["by"] == "epoch" and list(found["urem"]["objectives"]) == [
        "a",
        "b",
    ]  # the maximum is no objective
    assert found["urem"]["objectives"]["b"]["mean"] == pytest.approx([1.1, 1.15])


def test_long_trajectories_are_thinned_to_means() -> None:
    rows = tuple({"step": float(i), "a": float(i)} for i in range(1001))
    kept = thinned(rows, "step")
    assert len(kept) == 167 <= 200
    assert kept[0] == {"step": 5.0, "a": 2.5} and kept[-1]["step"] == 1000
    assert thinned(rows[:200], "step") == rows[:200]


def test_the_losses_are_told_by_five_numbers(tmp_path: Path) -> None:
    for seed in (1, 2):
        add_histories(made_run(tmp_path, "emer", seed), epochs=3)
    made_run(tmp_path, "borda", 1)
    found = prior_losses(section_of(tmp_path))
    values = [(1 + 0.1 * seed) / (1 + epoch) for seed in (1, 2) for epoch in range(3)]
    assert found["a"] == {"emer": pytest.approx(np.percentile(values, [0, 25, 50, 75, 100]).tolist())}
    assert found["b"]["emer"][-1] == pytest.approx(1.2 * 1.2)


def test_a_loss_is_named_by_its_objective(tmp_path: Path) -> None:
    settings = {"method.objective_name": "emer", "method.default_objective": "emer"}
    made_run(tmp_path, "urem", 1, settings={**settings})
    made_run(tmp_path, "borda", 1)
    assert objectives_of_loss(section_of(tmp_path)) == {"borda": "borda", "urem": "emer"}
