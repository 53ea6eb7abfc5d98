"""Verdicts, case by case."""

from __future__ import annotations

import pytest

from emer.reports.papers.definitions import Claim, Component, Experiment
from emer.reports.papers.ledger import why_untested
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.verdicts import Verdict, judge


def gap(metric: str, value: float, half: float = 1.0, p: float = 0.001, against: str = "b") -> Number:
    return Number("log", "a", against, metric, None, value, value - half, value + half, p, 5)


def verdict(components: list[Component], rows: list[Number], **claim: str) -> Verdict:
    return judge(Claim("X", "says", tuple(components), **claim), Numbers(rows), "log").verdict  # type: ignore[arg-type]


UP, DOWN = Component("a", "b", "m"), Component("a", "b", "m", sign=-1)


@pytest.mark.parametrize(
    ("component", "value", "expected"),
    [
        (UP, 1.5, Verdict.SUPPORTED),
        (UP, 0.5, Verdict.NOT_SUPPORTED),
        (UP, -0.5, Verdict.NOT_SUPPORTED),
        (UP, -1.5, Verdict.CONTRADICTED),
        (DOWN, -1.5, Verdict.SUPPORTED),
        (DOWN, 1.5, Verdict.CONTRADICTED),
        (Component("b", "a", "m"), -1.5, Verdict.SUPPORTED),
        (Component("a", "b", "m", margin=1.2), 0.0, Verdict.SUPPORTED),
        (Component("a", "b", "m", margin=1.2), -0.5, Verdict.NOT_SUPPORTED),
        (Component("a", "b", "m", margin=1.2), -2.5, Verdict.CONTRADICTED),
        (Component("a", "b", "m", sign=-1, margin=1.2), 0.1, Verdict.SUPPORTED),
        (Component("a", "b", "m", sign=-1, margin=1.2), 2.5, Verdict.CONTRADICTED),
    ],
)
def test_a_claim_of_one_difference(component: Component, value: float, expected: Verdict) -> None:
    assert verdict([component], [gap("m", value)]) is expected


def test_all_statements_of_a_claim_must_hold() -> None:
    parts = [Component("a", "b", m) for m in ("m", "k")]
    assert verdict(parts, [gap("m", 2.0), gap("k", 3.0)]) is Verdict.SUPPORTED
    assert verdict(parts, [gap("m", 2.0), gap("k", 0.3)]) is Verdict.NOT_SUPPORTED
    assert verdict(parts, [gap("m", 2.0), gap("k", -3.0)]) is Verdict.CONTRADICTED


def test_a_contradiction_is_corrected_for_the_number_of_statements() -> None:
    """One in three is beyond its interval with p = .03: .09 after Holm's correction, .03 as the only one."""
    parts = [Component("a", "b", m) for m in ("m", "k", "l")]
    rows = [gap("m", -1.1, p=0.03), gap("k", 0.2, p=0.7), gap("l", 0.1, p=0.8)]
    assert verdict(parts, rows) is Verdict.NOT_SUPPORTED
    assert verdict(parts[:1], rows) is Verdict.CONTRADICTED


def test_what_was_not_measured_cannot_be_tested() -> None:
    parts = [Component("a", "b", m) for m in ("m", "k")]
    # The log has k, but not for this pair: the runs are missing.
    elsewhere = Number("log", "c", "", "k", None, 0.1)
    assert verdict(parts, [gap("m", 2.0), elsewhere]) is Verdict.UNTESTABLE
    # The log has no k at all, as a log without comments: the claim is about the rest.
    assert verdict(parts, [gap("m", 2.0)]) is Verdict.SUPPORTED
    assert verdict(parts, [gap("other", 2.0)]) is Verdict.UNTESTABLE
    assert judge(Claim("X", "says", why_not="no shop"), Numbers([]), "log").verdict is Verdict.UNTESTABLE


def test_a_number_without_an_interval_supports_nothing() -> None:
    assert verdict([UP], [Number("log", "a", "b", "m", None, 5.0)]) is Verdict.NOT_SUPPORTED


def test_counts_for_the_ledger() -> None:
    parts = tuple(Component("a", "b", m) for m in ("m", "k", "l"))
    rows = [gap("m", 2.0), gap("k", -2.0), gap("l", 0.1)]
    judged = judge(Claim("X", "says", parts), Numbers(rows), "log")
    assert (judged.held, judged.against, judged.seeds) == (1, 1, 5)


def test_a_margin_is_corrected_for_the_number_of_statements_too() -> None:
    """1.05 half widths below the boundary: with four degrees of freedom p is .044 by itself, and .087 of two."""
    parts = [Component("a", "b", m, margin=0.5) for m in ("m", "k")]
    rows = [gap("m", -1.55), gap("k", 0.0)]
    assert verdict(parts, rows) is Verdict.NOT_SUPPORTED
    assert verdict(parts[:1], rows) is Verdict.CONTRADICTED
    assert verdict(parts, [gap("m", -4.0), gap("k", 0.0)]) is Verdict.CONTRADICTED


def test_the_ledger_says_what_is_missing() -> None:
    definition = Experiment("toy", "", "", "", "offline", {"a": "Alpha", "b": "Beta"}, {"m": "em", "k": "kay"})
    claim = Claim("X", "says", tuple(Component("a", "b", m) for m in ("m", "k")))
    runs = judge(claim, Numbers([gap("m", 2.0), Number("log", "b", "", "k", 1, 0.1)]), "log")
    assert why_untested(runs, definition) == "not all that it compares was measured on this log (Alpha – Beta)"
    nothing = judge(claim, Numbers([gap("l", 2.0)]), "log")
    assert why_untested(nothing, definition) == "not all that it compares was measured on this log"
