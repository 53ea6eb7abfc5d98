"""What a README and the ledger say of numbers, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emer.reports.papers.definitions import Claim, Component, Experiment, experiment
from emer.reports.papers.ledger import ledger
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.readme import readme, table
from emer.reports.papers.text import published_cell

PARTS = tuple(Component("a", "b", metric) for metric in ("m", "k", "l"))
TOY = Experiment(
    name="toy",
    title="Toy",
    paper="Paper, 2025",
    question="Is a above b?",
    kind="offline",
    variants={"a": "A", "b": "B"},
    metrics={"m": "em", "k": "kay", "l": "ell"},
    reference="b",
    claims=(Claim("T1", "a > b", PARTS),),
)
ABOUT = {
    "commands": ["make"], "commit": "abc", "minutes": 90.4, "runs": 4, "seeds": "1, 2", "sizes": {"world": "small"},
    "problems": ["x (failed): it broke"],
}  # fmt: skip


def gap(metric: str, value: float, variant: str = "a") -> Number:
    return Number("log", variant, "b", metric, None, value, value - 1.0, value + 1.0, 0.001, 5)


def test_a_claim_is_counted_over_what_the_log_has() -> None:
    """The log has no l: both of the other two hold, and k, 2 intervals from 0, is the weaker one."""
    text = ledger({"toy": (TOY, Numbers([gap("m", 3.0), gap("k", 2.0)]))})
    [row] = [line for line in text.splitlines() if line.startswith("| T1 ")]
    assert "✔ supported | 2 of 2 as claimed, beyond the interval; weakest: kay, A – B" in row


def test_the_ledger_says_why_a_claim_was_not_tested() -> None:
    """The log has m, k and l, but not l of this pair."""
    text = ledger({"toy": (TOY, Numbers([gap("m", 3.0), gap("k", 2.0), gap("l", 1.0, "c")]))})
    [row] = [line for line in text.splitlines() if line.startswith("| T1 ")]
    assert "| – cannot be tested here | not all that it compares was measured on this log (A – B) |" in row


@pytest.mark.parametrize(
    ("kind", "sample", "counts"),
    [
        ("offline", "seeds 1, 2", "over users and seeds (of pooled AUCs over the seeds alone)"),
        ("ippo", "seeds 1, 2", "over users and seeds (of rounds over the seeds alone)"),
        ("losses", "seeds 1, 2", "over the seeds"),
        ("online", "worlds 1, 2", "over worlds"),
    ],
)
def test_a_readme_says_what_its_intervals_count(kind: str, sample: str, counts: str) -> None:
    definition = replace(TOY, kind=kind, unit="unit")  # type: ignore[arg-type]
    text = readme(definition, Numbers([gap("m", 3.0)]), ABOUT)
    assert f"4 runs, {sample}; to prepare, train and evaluate them took 90 minutes" in text
    assert f"± is half the 95 % interval {counts}" in text
    assert "- x (failed): it broke" in text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.25, "offline", ".250"),
        (3.7522, "offline", "3.7522"),
        (3.67, "offline", "3.670"),
        (-10.826, "online", "-10.826"),
        (None, "online", "–"),
    ],
)
def test_published_numbers_stand_as_the_paper_prints_them(value: float | None, kind: str, text: str) -> None:
    assert published_cell(value, kind, "m") == text


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
