"""How problems read, and that checks look only at what they are given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emer.data.checks import Problem, value_problems
from emer.data.table import RequestTable
from emer.requests import Schema


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("is gone"), "is gone"),
        (Problem("is gone", file="a.parquet"), "a.parquet: is gone"),
        (
            Problem("is odd", "exposed", 3, 9, "a.parquet"),
            "a.parquet, row 3 (request_id 9), column exposed: is odd",
        ),
        (Problem("is odd", "exposed", 0, count=3), "row 0, column exposed: is odd (2 more such rows)"),
    ],
)
def test_problem_in_words(problem: Problem, text: str) -> None:
    assert str(problem) == text


@pytest.fixture
def values(table_of: Callable[..., RequestTable]) -> dict[str, Any]:
    table = table_of()
    return {"offsets": table.offsets, **dict(table._columns())}


def found(schema: Schema, values: dict[str, Any]) -> list[Problem]:
    return list(value_problems(schema, values["offsets"], values))


def test_all_problems_are_found_each_once(schema: Schema, values: dict[str, Any]) -> None:
    assert found(schema, values) == []
    values["pxtr"][[0, 5, 6], 0] = 2.0
    values["pxtr"][-1, 1] = np.nan
    values["user_categories"][3, 0] = 9
    values["request_id"][7] = values["request_id"][2]
    problems = found(schema, values)
    assert [(p.column, p.row) for p in problems] == [
        ("request_id", 7),
        ("user_activity", 3),
        ("pxtr_pctr", 0),
        ("pxtr_pvtr", 11),
    ]
    rows = np.searchsorted(values["offsets"], [0, 5, 6], side="right") - 1
    assert problems[2].count == len(set(rows.tolist()))


def test_nan_is_not_also_outside_its_range(schema: Schema, values: dict[str, Any]) -> None:
    values["pxtr"][0, 0] = np.nan
    assert [p.reason.split(" is ")[1] for p in found(schema, values)] == ["NaN or infinite"]


def test_what_was_not_shown_was_not_explored(schema: Schema, values: dict[str, Any]) -> None:
    values["explored"] = ~values["exposed"]
    (problem,) = found(schema, values)
    assert problem.column == "explored" and "marks an item that was not exposed" in problem.reason


def test_absent_columns_are_not_checked(schema: Schema, values: dict[str, Any]) -> None:
    values["exposed"] = ~values["exposed"]
    assert {p.column for p in found(schema, values)} >= {"label_click", "watch_time"}
    assert found(schema, values | {"exposed": None}) == []
    values["request_id"] = None
    assert all(p.request_id is None and p.row is not None for p in found(schema, values))


def test_an_item_may_stand_in_many_requests(schema: Schema, values: dict[str, Any]) -> None:
    values["item_id"] = np.concatenate([np.arange(n) for n in np.diff(values["offsets"])])
    assert found(schema, values) == []
