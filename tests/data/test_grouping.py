"""Rows of candidates become requests, in whatever order they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emer.data.grouping import RequestError, group
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.ranking import MAX_CANDIDATES
from emer.requests import Category, Feedback, Objective, Schema, Unit

SCHEMA = Schema(
    objectives=(Objective("pctr", feedback="click"), Objective("pvtr", unit=Unit.SECONDS)),
    feedback=(Feedback("click"),),
    user_categories=(Category("age", 5),),
    item_categories=(Category("topic", 9),),
    item_numbers=("length",),
)
NAMES = (
    "request_id", "user_id", "time_ms", "item_id", "exposed", "label_click", "watch_time", "pxtr_pctr", "pxtr_pvtr",
    "user_age", "item_topic", "number_length",
)  # fmt: skip
BY_HAND = [
    (7, 1, 50, 3, True, True, 2.5, 0.5, 10.0, 4, 1, 0.5),
    (9, 2, 40, 8, False, True, 9.0, 0.25, 20.0, 3, 2, 1.5),
    (7, 1, 50, 1, False, True, 7.0, 0.75, 30.0, 4, 3, 2.5),
    (9, 2, 40, 2, True, False, 0.0, 0.125, 40.0, 3, 4, 3.5),
    (5, 2, 50, 8, True, True, 1.0, 1.0, 0.0, 3, 2, 1.5),
]


def frame_of(rows: Sequence[tuple[Any, ...]], **changes: Any) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=list(NAMES), orient="row")
    return frame.with_columns(**{name: pl.lit(value) for name, value in changes.items()})


@given(st.permutations(BY_HAND))
def test_any_order_of_rows_gives_the_requests_by_hand(rows: list[tuple[Any, ...]]) -> None:
    table = group(frame_of(rows), SCHEMA)
    assert table.request_id.tolist() == [9, 5, 7]  # by time, then by id
    assert table.offsets.tolist() == [0, 2, 3, 5]
    assert table.item_id.tolist() == [2, 8, 8, 1, 3]
    assert table.user_id.tolist() == [2, 2, 1] and table.time_ms.tolist() == [40, 50, 50]
    assert table.user_categories.tolist() == [[3], [3], [4]]
    assert table.pxtr.tolist() == [[0.125, 40], [0.25, 20], [1, 0], [0.75, 30], [0.5, 10]]
    assert table.exposed.tolist() == [True, False, True, False, True]
    assert table.label[:, 0].tolist() == [False, False, True, False, True]  # none where it was not shown
    assert table.watch_time is not None and table.watch_time.tolist() == [0, 0, 1, 0, 2.5]
    assert table.item_categories[:, 0].tolist() == [4, 2, 2, 3, 1]
    assert table.item_numbers[:, 0].tolist() == [3.5, 1.5, 1.5, 2.5, 0.5]
    assert table.negative is None and table.explored is None and table.previous_score is None
    assert table.rank_gap.tolist() == [[-1, 1], [1, -1], [0, 0], [1, 1], [-1, -1]]


def test_without_exposed_all_were_shown() -> None:
    table = group(frame_of(BY_HAND).drop("exposed"), SCHEMA)
    assert table.exposed.all() and table.label[:, 0].tolist() == [False, True, True, True, True]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, unique=True), st.randoms())
def test_groups_are_those_of_a_loop(pairs: list[tuple[int, int]], g: Any) -> None:
    """Requests of one time, whose ids say nothing of their order in the file."""
    wanted: dict[int, list[int]] = {}
    for request, item in sorted(pairs):
        wanted.setdefault(request, []).append(item)
    g.shuffle(pairs)
    schema = Schema(objectives=(Objective("p"),))
    frame = pl.DataFrame(pairs, schema=["request_id", "item_id"], orient="row")
    table = group(frame.with_columns(user_id=1, time_ms=5, pxtr_p=0.5), schema)
    found = {
        int(request): table.item_id[table.offsets[r] : table.offsets[r + 1]].tolist()
        for r, request in enumerate(table.request_id)
    }
    assert found == wanted and list(found) == sorted(found)


def test_the_floor_of_iput_is_passed_on() -> None:
    assert group(frame_of(BY_HAND), SCHEMA, iput_floor=3.0).iput_floor == 3.0
    with pytest.raises(DataError, match="iput_floor"):
        group(frame_of(BY_HAND), SCHEMA, iput_floor=0)


@pytest.mark.parametrize(
    ("column", "value", "values"),
    [("user_id", 6, (1, 6)), ("user_age", 0, (4, 0)), ("time_ms", 51, (50, 51)), ("time_ms", -9, (-9, 50))],
)
def test_a_request_has_one_of_each(column: str, value: int, values: tuple[int, int]) -> None:
    rows = [list(row) for row in BY_HAND]
    rows[0][NAMES.index(column)] = value  # item 3, after item 1
    with pytest.raises(RequestError, match=f"request_id 7, column {column}: its rows say .* one request has") as caught:
        group(frame_of([tuple(row) for row in rows]), SCHEMA)
    assert (caught.value.request_id, caught.value.column) == (7, column)
    assert caught.value.values == values


def test_an_item_is_once_in_a_request() -> None:
    again = (9, 2, 40, 2, False, False, 0.0, 0.5, 1.0, 3, 4, 3.5)
    with pytest.raises(RequestError, match="request_id 9, column item_id: the item 2 is twice") as caught:
        group(frame_of([*BY_HAND, again]), SCHEMA)
    assert caught.value.values == (2,)


def test_a_list_of_candidates_has_an_end() -> None:
    def made(n: int) -> RequestTable:
        frame = pl.DataFrame({"item_id": range(n)}).with_columns(request_id=4, user_id=1, time_ms=5, pxtr_p=0.5)
        return group(frame, Schema(objectives=(Objective("p"),)))

    assert made(MAX_CANDIDATES).lengths.tolist() == [32_768]
    with pytest.raises(RequestError, match="request_id 4, column item_id: the request has 32,769 candidates"):
        made(MAX_CANDIDATES + 1)


@pytest.mark.parametrize(("column", "value"), [("pxtr_pctr", 1.5), ("pxtr_pvtr", -1.0), ("item_topic", 9)])
def test_other_breaches_name_request_and_column(column: str, value: float) -> None:
    with pytest.raises(DataError, match=rf"request_id 9.* column {column}: {value} at list position 0"):
        group(frame_of(BY_HAND, **{column: value}), SCHEMA)
