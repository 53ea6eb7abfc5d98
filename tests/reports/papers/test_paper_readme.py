"""README.md: what its tables compare."""

from __future__ import annotations

from emer.reports.papers.definitions import experiment
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.readme import table


def test_a_category_of_videos_is_not_compared_with_a_kind_of_users() -> None:
    rows = [
        Number("simulated", variant, "", "rate/like", seed, value + seed / 100)
        for variant, value in (("new", 0.3), ("full", 0.1), ("category 1", 0.5))
        for seed in (1, 2)
    ]
    lines = table(experiment("emer_figure_1"), Numbers(rows), "simulated")
    assert lines[0] == "|  | new users | full activity | category 1 |"
    differences = lines.index("Difference from full activity, bold where the interval leaves out 0:")
    assert lines[differences + 2] == "|  | new users |"
    assert "+0.2000" in lines[differences + 4]
