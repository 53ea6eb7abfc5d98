"""Choice of objectives and feedback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emer.data.log import InteractionLog
from emer.errors import DataError
from emer.pxtr.targets import choose_feedback, choose_objectives, target_matrix
from emer.requests import Role, Satisfaction, Unit

Log = Callable[..., InteractionLog]


def test_objectives_know_their_label_unit_and_role(log_of: Log) -> None:
    log = log_of()
    days = (log.days[0], log.days[-1])
    ctr, vtr, ltr = choose_objectives(log, ["pctr", "pvtr", "pltr"], days, noisy_below=0)
    assert (ctr.feedback, ctr.unit, ctr.role) == ("click", Unit.PROBABILITY, Role.CONSUMPTION)
    assert (vtr.feedback, vtr.unit, vtr.role) == (None, Unit.SECONDS, Role.CONSUMPTION)
    assert (ltr.feedback, ltr.unit, ltr.role) == ("like", Unit.PROBABILITY, Role.INTERACTION)
    matrix = target_matrix(log, (ltr, vtr))
    assert (matrix[:, 0] == log.exposures["like"].to_numpy()).all()
    assert (matrix[:, 1] == log.exposures["watch_seconds"].to_numpy()).all()


def test_rare_labels_are_marked_by_their_test_positives(log_of: Log) -> None:
    log = log_of()
    day = log.days[-1]
    positives = int(log.exposures.filter(log.exposures["day"] == day)["like"].sum())
    for threshold, noisy in ((positives, False), (positives + 1, True)):
        (made,) = choose_objectives(log, ["pltr"], (day, day), threshold)
        assert made.noisy is noisy


def test_feedback(log_of: Log) -> None:
    made = choose_feedback(log_of(), ["like"])
    assert [(f.name, f.satisfaction) for f in made] == [
        ("click", Satisfaction.IGNORED),
        ("like", Satisfaction.POSITIVE),
    ]


def test_names_that_do_not_fit(log_of: Log) -> None:
    log = log_of()
    days = (log.days[0], log.days[0])
    with pytest.raises(DataError, match="unknown objective pxyz; known are pctr"):
        choose_objectives(log, ["pxyz"], days, 0)
    with pytest.raises(DataError, match="toy lacks the label follow, which pwtr predicts"):
        choose_objectives(log, ["pwtr"], days, 0)
    with pytest.raises(DataError, match="toy has no label share"):
        choose_feedback(log, ["share"])
