"""Choice of objectives and feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emer.data.log import InteractionLog
from emer.errors import DataError
from emer.pxtr.targets import choose_feedback, choose_objectives, target_matrix
from emer.requests import Role, Satisfaction, Unit

Log = Callable[..., InteractionLog]


def chosen(log: InteractionLog, names: list[str], **changes: Any) -> Any:
    usual: dict[str, Any] = {"watch": True, "positives": lambda label: 10, "noisy_below": 0}
    return choose_objectives(log, names, **(usual | changes))


def test_objectives_know_their_label_unit_and_role(log_of: Log) -> None:
    log = log_of()
    ctr, vtr, ltr = chosen(log, ["pctr", "pvtr", "pltr"])
    assert (ctr.feedback, ctr.unit, ctr.role) == ("click", Unit.PROBABILITY, Role.CONSUMPTION)
    assert (vtr.feedback, vtr.unit, vtr.role) == (None, Unit.SECONDS, Role.CONSUMPTION)
    assert (ltr.feedback, ltr.unit, ltr.role) == ("like", Unit.PROBABILITY, Role.INTERACTION)
    matrix = target_matrix(log.exposures, (ltr, vtr))
    assert (matrix[:, 0] == log.exposures["like"].to_numpy()).all()
    assert (matrix[:, 1] == log.exposures["watch_seconds"].to_numpy()).all()


def test_rare_labels_are_marked_by_their_test_positives(log_of: Log) -> None:
    asked = []
    for threshold, noisy in ((7, False), (8, True)):
        (made,) = chosen(log_of(), ["pltr"], positives=lambda label: asked.append(label) or 7, noisy_below=threshold)
        assert made.noisy is noisy
    assert asked == ["like", "like"]


def test_without_seconds_nothing_is_divided_by_them(log_of: Log) -> None:
    (made,) = chosen(log_of(), ["pltr"], watch=False)
    assert made.role is Role.CONSUMPTION


def test_feedback(log_of: Log) -> None:
    made = choose_feedback(log_of(), ["like"])
    assert [(f.name, f.satisfaction) for f in made] == [
        ("click", Satisfaction.IGNORED),
        ("like", Satisfaction.POSITIVE),
    ]


def test_names_that_do_not_fit(log_of: Log) -> None:
    log = log_of()
    with pytest.raises(DataError, match="unknown objective pxyz; known are pctr"):
        chosen(log, ["pxyz"])
    with pytest.raises(DataError, match="toy lacks the label follow, which pwtr predicts"):
        chosen(log, ["pwtr"])
    with pytest.raises(DataError, match="toy does not log the time watched, which pvtr predicts"):
        chosen(log, ["pvtr"], watch=False)
    with pytest.raises(DataError, match="toy has no label share"):
        choose_feedback(log, ["share"])
