"""Pictures are drawn of whatever is there: several platforms, one seed, missing variants."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from emer.reports.papers.definitions import experiment
from emer.reports.papers.figure_pictures import DRAWN
from emer.reports.papers.numbers import Number, Numbers


@pytest.mark.slow
def test_days_have_a_panel_for_each_platform() -> None:
    definition = experiment("emer_figure_5")
    kinds = ("scenario_1", "scenario_2")
    rows = [
        Number(kind, "emer", "fusion_formula", metric, None, 1.0, 0.5, 1.5, 0.01, 5)
        for kind in kinds
        for metric in definition.metrics
        if (kind, metric) != ("scenario_2", "LT@3")
    ]
    panels = DRAWN["daily"](definition, Numbers(rows)).axes
    assert [panel.get_title() for panel in panels] == ["scenario 1", "scenario 2"]
    assert [list(panel.lines[0].get_xdata()) for panel in panels] == [[2, 3, 4, 5, 6, 7], [2, 3, 5, 6, 7]]


@pytest.mark.slow
def test_a_front_of_one_seed_has_no_interval_and_a_loss_that_is_missing_no_dot() -> None:
    definition = replace(experiment("harmonrank_figure_4"), variants={"bce_even": "M-BCE, 1 : 1"})
    rows = [
        Number("simulated", "bce_even", "", metric, seed, 0.6) for metric in definition.metrics for seed in (1, None)
    ]
    rows.append(Number("simulated", "bce", "", "hypervolume", None, 0.08))
    [axes] = DRAWN["front"](definition, Numbers(rows)).axes
    assert axes.get_legend_handles_labels()[1] == ["M-BCE, hypervolume 0.0800"]
    losses = experiment("emer_figure_4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = DRAWN["losses"](losses, Numbers([Number("simulated", "emer", "", "loss/pctr", 1, 0.6)]))
    assert len(figure.axes[0].lines) == 2  # the seed's dot and the mean's
