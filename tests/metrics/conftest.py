"""A small random request log."""

from collections.abc import Callable

import numpy as np
import pytest

from emer.data.table import RequestTable
from emer.requests import Feedback, Objective, Role, Schema, Unit

SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
    ),
    feedback=(Feedback("click"), Feedback("like"), Feedback("follow")),
)


@pytest.fixture
def make_table() -> Callable[..., RequestTable]:
    """Builds a log with 3 objectives (ties included) and 3 labels, of which ``follow`` never happens."""

    def build(requests: int = 12, seed: int = 0, users: int = 5) -> RequestTable:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 13, requests)
        T = int(lengths.sum())
        pxtr = np.round(rng.random((T, 3)), 1)
        pxtr[:, 1] *= 30
        exposed = rng.random(T) < 0.6
        label = (rng.random((T, 3)) < [0.5, 0.2, 0.0]) & exposed[:, None]
        return RequestTable.build(
            schema=SCHEMA,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            request_id=rng.permutation(requests) + 100,
            user_id=rng.integers(0, users, requests),
            time_ms=np.arange(requests),
            item_id=np.arange(T),
            pxtr=pxtr,
            exposed=exposed,
            label=label,
        )

    return build
