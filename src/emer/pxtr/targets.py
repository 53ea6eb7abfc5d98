"""Which pxtrs a log can have, and the numbers they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from emer.data.log import LogTables
from emer.errors import DataError
from emer.requests import Feedback, Objective, Role, Satisfaction, Unit

WATCH = "pvtr"

PREDICTS = {
    "pctr": ("click", Role.CONSUMPTION),
    WATCH: (None, Role.CONSUMPTION),
    "peff": ("effective_view", Role.CONSUMPTION),
    "plvtr": ("long_view", Role.CONSUMPTION),
    "pcpr": ("complete", Role.CONSUMPTION),
    "prewatch": ("rewatch", Role.CONSUMPTION),
    "pltr": ("like", Role.INTERACTION),
    "pwtr": ("follow", Role.INTERACTION),
    "pcmtr": ("comment", Role.INTERACTION),
    "pftr": ("forward", Role.INTERACTION),
    "pprofile": ("profile", Role.INTERACTION),
    "pcstay": ("comment_stay", Role.INTERACTION),
    "pfavor": ("favorite", Role.INTERACTION),
    "pread": ("read_comment", Role.INTERACTION),
    "psearch": ("search", Role.INTERACTION),
}
"""Objective -> the label it predicts (None: the seconds watched) and its role."""


def choose_objectives(
    tables: LogTables, names: Sequence[str], *, watch: bool, positives: Callable[[str], int], noisy_below: int
) -> tuple[Objective, ...]:
    """The objectives called ``names``.

    Where a log has no seconds there is no IPUT, which divides by them; all objectives count as consumption then.

    Args:
        tables: names the labels that the log has.
        names: in the order of the pxtr columns.
        watch: the log has the seconds watched.
        positives: label -> positives on the test days.
        noisy_below: an objective whose label has fewer positives than this is marked noisy.

    Raises:
        DataError: a name is unknown, or the log lacks its label.
    """
    objectives = []
    for name in names:
        if name not in PREDICTS:
            raise DataError(f"unknown objective {name}; known are {', '.join(PREDICTS)}")
        label, role = PREDICTS[name]
        if label is None:
            if not watch:
                raise DataError(f"{tables.name} does not log the time watched, which {name} predicts")
            objectives.append(Objective(name, Unit.SECONDS, role))
            continue
        if label not in tables.labels:
            raise DataError(f"{tables.name} lacks the label {label}, which {name} predicts")
        role = role if watch else Role.CONSUMPTION
        noisy = positives(label) < noisy_below
        objectives.append(Objective(name, Unit.PROBABILITY, role, label, noisy))
    return tuple(objectives)


def choose_feedback(tables: LogTables, positive: Sequence[str]) -> tuple[Feedback, ...]:
    """All labels of the log; those named count towards satisfaction.

    Raises:
        DataError: a name is not a label of the log.
    """
    unknown = [name for name in positive if name not in tables.labels]
    if unknown:
        raise DataError(f"{tables.name} has no label {', '.join(unknown)}; it has {', '.join(tables.labels)}")
    return tuple(
        Feedback(name, Satisfaction.POSITIVE if name in positive else Satisfaction.IGNORED) for name in tables.labels
    )


def target_matrix(exposures: pl.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """(exposures, K) float32: labels as 0 / 1, and seconds for the watch-time objective."""
    columns = ["watch_seconds" if o.feedback is None else o.feedback for o in objectives]
    return exposures.select(pl.col(c).cast(pl.Float32) for c in columns).to_numpy()
