"""Small random request tables with every kind of column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emer.data.table import RequestTable
from emer.requests import Schema


def random_columns(schema: Schema, R: int = 12, *, seed: int = 0, first_id: int = 0) -> dict[str, Any]:
    """Arguments of ``RequestTable.build`` for R requests of 1 to 7 candidates with ids from ``first_id``."""
    g = np.random.default_rng([seed, first_id])
    lengths = g.integers(1, 8, R)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    T = int(offsets[-1])
    pxtr = g.random((T, len(schema.objectives)), dtype=np.float32).round(1)  # rounded: ties
    pxtr[:, schema.watch_index] *= 60
    exposed = g.random(T) < 0.5
    return {
        "schema": schema,
        "offsets": offsets,
        "request_id": np.arange(R) + first_id,
        "user_id": g.integers(0, 4, R),
        "time_ms": (np.arange(R) + first_id) * 1000,
        "item_id": np.arange(T) * 7 + 1,
        "pxtr": pxtr,
        "exposed": exposed,
        "explored": exposed & (np.arange(T) % 3 == 0),
        "label": (g.random((T, len(schema.feedback))) < 0.5) & exposed[:, None],
        "watch_time": (g.random(T) * 30 * exposed).astype(np.float32),
        "negative": (g.random(T) < 0.2) * exposed.astype(np.float32),
        "previous_score": g.normal(size=T).astype(np.float32),
        "user_categories": g.integers(0, 5, (R, len(schema.user_categories))),
        "context_categories": g.integers(0, 24, (R, len(schema.context_categories))),
        "item_categories": g.integers(0, 7, (T, len(schema.item_categories))),
        "item_numbers": g.normal(size=(T, len(schema.item_numbers))).astype(np.float32),
    }


@pytest.fixture
def columns_of(schema: Schema) -> Callable[..., dict[str, Any]]:
    """``columns_of(R, seed=, first_id=, **changes)``: arguments of ``RequestTable.build``."""

    def make(R: int = 12, *, seed: int = 0, first_id: int = 0, **changes: Any) -> dict[str, Any]:
        return random_columns(schema, R, seed=seed, first_id=first_id) | changes

    return make


@pytest.fixture
def table_of(columns_of: Callable[..., dict[str, Any]]) -> Callable[..., RequestTable]:
    """``table_of(R, seed=, first_id=, **changes)``: a table of R random requests."""

    def make(*args: Any, **changes: Any) -> RequestTable:
        return RequestTable.build(**columns_of(*args, **changes))

    return make
