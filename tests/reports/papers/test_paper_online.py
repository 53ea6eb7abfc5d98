"""Numbers of A/B tests in several worlds, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.files import write_json
from emer.reports.papers.numbers import Numbers
from emer.reports.papers.online import daily_numbers, online_numbers
from emer.reports.papers.special import activity_numbers
from emer.requests import Category, Feedback, Objective, Schema


def effect(arm: str, metric: str, percent: float, kind: str = "observed", segment: str = "all") -> dict[str, object]:
    return {"design": "twin", "segment": segment, "arm": arm, "metric": metric, "kind": kind, "percent": percent}


def test_percentages_are_averaged_over_worlds(tmp_path: Path) -> None:
    for seed, percent in ((1, 1.0), (2, 3.0)):
        told = [
            effect("emer", "WatchTime", percent),
            effect("emer", "Like", 2 * percent, "expected"),
            effect("emer", "Like", 99.0),
            effect("emer", "WatchTime", 99.0, segment="activity new"),
        ]
        write_json(tmp_path / f"world_{seed}" / "effects.json", told)
    numbers = Numbers(online_numbers({"kind": {s: tmp_path / f"world_{s}" for s in (1, 2)}}, "formula"))
    mean = numbers.find("kind", "emer", "WatchTime", "formula")
    assert mean is not None
    assert (mean.value, mean.seeds) == (2.0, 2)
    assert mean.high - mean.value == pytest.approx(12.706, abs=1e-3)  # t of one degree of freedom times 1
    assert numbers.of_seeds("kind", "emer", "Like", "formula") == {1: 2.0, 2: 6.0}


def test_days_with_a_visit_up_to_each_day(tmp_path: Path) -> None:
    """User 1 comes on day 0, user 2 does not and so never counts; later days count by their probability."""
    chance = {"formula": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], "emer": [0.9, 0.75, 0.5, 0.5, 0.5, 0.5, 1.0]}
    tables = []
    for arm, chances in chance.items():
        active = [1.0] + [0.0] * 6 + [0.0] + [1.0] * 6
        columns = {"arm": [arm] * 14, "user_id": [1] * 7 + [2] * 7, "day": list(range(7)) * 2}
        tables.append(pa.table({**columns, "active": active, "return_chance": chances * 2}))
    folder = tmp_path / "world_1"
    folder.mkdir()
    pq.write_table(pa.concat_tables(tables), folder / "user_days.parquet")
    numbers = Numbers(daily_numbers({"kind": {1: folder}}, "formula"))
    # Formula: 1, 1.5, 2, 2.5 ... 4; EMER: 1, 1.75, 2.25, ... 3.75, 4.75.
    assert numbers.of_seeds("kind", "emer", "LT@1", "formula") == pytest.approx({1: 100 * (1.75 / 1.5 - 1)})
    assert numbers.of_seeds("kind", "emer", "LT@6", "formula") == pytest.approx({1: 100 * (4.75 / 4.0 - 1)})
    assert not any(row.variant == "formula" for row in numbers.rows)


def test_rates_by_activity_and_category() -> None:
    schema = Schema(
        objectives=(Objective("pctr"),),
        feedback=(Feedback("follow"),),
        user_categories=(Category("activity", 6),),
        item_categories=(Category("category", 3),),
    )
    table = RequestTable.build(
        schema=schema, offsets=[0, 3, 5], request_id=[1, 2], user_id=[1, 2], time_ms=[1, 2],
        user_categories=[[1], [5]], item_id=[1, 2, 3, 4, 5], pxtr=np.full((5, 1), 0.5),
        item_categories=[[1], [2], [1], [2], [2]],
        exposed=[1, 1, 0, 1, 1], label=[[1], [0], [0], [0], [0]],
    )  # fmt: skip
    numbers = Numbers(activity_numbers({1: [table]}, "log"))
    assert numbers.of_seeds("log", "new", "rate/follow") == {1: 0.5}
    assert numbers.of_seeds("log", "full", "rate/follow") == {1: 0.0}
    assert numbers.of_seeds("log", "category 1", "rate/follow") == {1: 1.0}  # the third was not shown
    assert numbers.of_seeds("log", "category 2", "rate/follow") == {1: 0.0}
    assert numbers.find("log", "low", "rate/follow") is None


def test_a_log_without_activity_is_an_error() -> None:
    schema = Schema(objectives=(Objective("pctr"),), feedback=(Feedback("follow"),))
    table = RequestTable.build(
        schema=schema, offsets=[0, 1], request_id=[1], user_id=[1], time_ms=[1], item_id=[1],
        pxtr=np.full((1, 1), 0.5), exposed=[1], label=[[1]],
    )  # fmt: skip
    with pytest.raises(EmerError, match="user categories none and the item categories none"):
        activity_numbers({1: [table]}, "log")
