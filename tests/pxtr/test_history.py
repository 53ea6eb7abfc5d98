"""Past rates: their arithmetic, and that nothing of a row's day or later reaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from emer.data.log import InteractionLog
from emer.pxtr.history import History, past

Log = Callable[..., InteractionLog]


def tiny() -> InteractionLog:
    #     day 0: item 5 liked, item 6 not; day 1: item 5 not; day 3: item 5
    exposures = pl.DataFrame(
        {
            "user_id": [1, 1, 2, 2],
            "item_id": [5, 6, 5, 5],
            "time_ms": [0, 1, 2, 3],
            "day": [0, 0, 1, 3],
            "like": [True, False, False, True],
            "watch_seconds": [1.0, 0.0, 3.0, 7.0],
        },
        schema_overrides={"day": pl.Int32},
    )
    return InteractionLog(
        name="tiny",
        exposures=exposures,
        users=pl.DataFrame({"user_id": [1, 2]}),
        items=pl.DataFrame({"item_id": [5, 6]}),
        labels=("like",),
    )


def test_values_by_hand() -> None:
    history = History(tiny(), ["like"], smoothing=2.0)
    rows = pl.DataFrame({"user_id": [2, 2, 1, 9], "item_id": [5, 5, 7, 5], "day": [0, 1, 2, 4]})
    found = history.lookup(rows)
    assert tuple(found.columns) == history.columns
    # Day 0: nothing is known.
    assert found.row(0) == (0.0,) * len(found.columns)
    # Day 1, item 5: one exposure, liked; overall 1 of 2. User 2: never seen.
    assert found[past("item_id", "count")][1] == pytest.approx(np.log(2))
    assert found[past("item_id", "like")][1] == pytest.approx((1 - 1 * 1 / 2) / (1 + 2.0))
    overall = (np.log(2) + 0) / 2
    assert found[past("item_id", "watch")][1] == pytest.approx((np.log(2) - overall) / (1 + 2.0))
    assert found[past("user_id", "count")][1] == 0
    # Day 2: overall 1 of 3. User 1: two exposures on day 0, one liked. Item 7 is new.
    assert found[past("user_id", "like")][2] == pytest.approx((1 - 2 / 3) / (2 + 2.0))
    assert found[past("item_id", "like")][2] == 0
    # Day 4: item 5 had three exposures on days 0, 1 and 3, two liked; overall 2 of 4.
    assert found[past("item_id", "count")][3] == pytest.approx(np.log(4))
    assert found[past("item_id", "like")][3] == pytest.approx((2 - 3 * 2 / 4) / (3 + 2.0))


def changed(log: InteractionLog, day: int, change: Callable[[pl.Expr], pl.Expr]) -> InteractionLog:
    late = pl.col("day") >= day
    exposures = log.exposures.with_columns(
        *(pl.when(late).then(change(pl.col(c))).otherwise(pl.col(c)).alias(c) for c in log.labels),
        pl.when(late).then(pl.col("watch_seconds") * 3 + 1).otherwise("watch_seconds").alias("watch_seconds"),
    )
    parts: dict[str, Any] = {f: getattr(log, f) for f in log.__dataclass_fields__}
    return InteractionLog(**(parts | {"exposures": exposures}))


def test_labels_of_a_day_reach_only_later_days(log_of: Log) -> None:
    log = log_of()
    day = log.days[3]
    rows = log.describe(log.exposures.select("user_id", "item_id", "day"))
    before = History(log, log.labels).lookup(rows)
    after = History(changed(log, day, lambda c: ~c), log.labels).lookup(rows)
    early = rows["day"] <= day
    assert before.filter(early).equals(after.filter(early))
    assert not before.filter(rows["day"] == day + 1).equals(after.filter(rows["day"] == day + 1))


def test_agrees_with_counting_row_by_row(log_of: Log) -> None:
    log = log_of(per_day=80, days=4)
    rows = log.describe(log.exposures.select("user_id", "item_id", "day"))
    found = History(log, ["click"], smoothing=5.0).lookup(rows)
    described = log.describe(log.exposures)
    for i in range(0, rows.height, 17):
        row = rows.row(i, named=True)
        earlier = described.filter(pl.col("day") < row["day"])
        mean = earlier["click"].mean() or 0.0
        same = earlier.filter(pl.col("topic") == row["topic"])
        lift = (same["click"].sum() - same.height * mean) / (same.height + 5.0)
        assert found[past("topic", "click")][i] == pytest.approx(lift, abs=1e-6)
        assert found[past("topic", "count")][i] == pytest.approx(np.log1p(same.height))


def test_unknown_key_values_have_no_history(log_of: Log) -> None:
    log = log_of()
    rows = pl.DataFrame(
        {"user_id": [-1], "item_id": [-1], "topic": [None], "day": [log.days[-1]]},
        schema_overrides={"topic": pl.Int32},
    )
    assert History(log, log.labels).lookup(rows).row(0) == (0.0,) * 12
