"""Past rates: their arithmetic, and that nothing of a row's day or later reaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from emer.data.log import InteractionLog
from emer.pxtr.features import past_features
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


def known_on(log: InteractionLog, day: int, rows: pl.DataFrame, **options: Any) -> pl.DataFrame:
    """Features of ``rows`` as of the start of ``day``."""
    history = History(log, log.labels, **options)
    history.add(log.describe(log.exposures.filter(pl.col("day") < day)))
    return history.lookup(rows)


def test_values_by_hand() -> None:
    log = tiny()

    def of(user: int, item: int, day: int) -> dict[str, float]:
        return known_on(log, day, pl.DataFrame({"user_id": [user], "item_id": [item]}), smoothing=2.0).row(
            0, named=True
        )

    # Day 0: nothing is known.
    assert tuple(of(2, 5, 0)) == History(log, log.labels).columns
    assert set(of(2, 5, 0).values()) == {0.0}
    # Day 1, item 5: one exposure, liked; overall 1 of 2. User 2: never seen.
    found = of(2, 5, 1)
    assert found[past("item_id", "count")] == pytest.approx(np.log(2))
    assert found[past("item_id", "like")] == pytest.approx((1 - 1 * 1 / 2) / (1 + 2.0))
    overall = (np.log(2) + 0) / 2
    assert found[past("item_id", "watch")] == pytest.approx((np.log(2) - overall) / (1 + 2.0), abs=1e-6)
    assert found[past("user_id", "count")] == 0
    # Day 2: overall 1 of 3. User 1: two exposures on day 0, one liked. Item 7 is new.
    found = of(1, 7, 2)
    assert found[past("user_id", "like")] == pytest.approx((1 - 2 / 3) / (2 + 2.0))
    assert found[past("item_id", "like")] == 0
    # Day 4: item 5 had three exposures on days 0, 1 and 3, two liked; overall 2 of 4.
    found = of(9, 5, 4)
    assert found[past("item_id", "count")] == pytest.approx(np.log(4))
    assert found[past("item_id", "like")] == pytest.approx((2 - 3 * 2 / 4) / (3 + 2.0))


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
    before = past_features(log, History(log, log.labels))
    after = past_features(changed(log, day, lambda c: ~c), History(log, log.labels))
    early = log.exposures["day"] <= day
    assert before.filter(early).equals(after.filter(early))
    late = log.exposures["day"] == day + 1
    assert not before.filter(late).equals(after.filter(late))


def test_agrees_with_counting_row_by_row(log_of: Log) -> None:
    log = log_of(per_day=80, days=4)
    found = past_features(log, History(log, ["click"], smoothing=5.0))
    described = log.describe(log.exposures)
    for i in range(0, described.height, 17):
        row = described.row(i, named=True)
        earlier = described.filter(pl.col("day") < row["day"])
        mean = earlier["click"].mean() or 0.0
        same = earlier.filter(pl.col("topic") == row["topic"])
        lift = (same["click"].sum() - same.height * mean) / (same.height + 5.0)
        assert found[past("topic", "click")][i] == pytest.approx(lift, abs=1e-6)
        assert found[past("topic", "count")][i] == pytest.approx(np.log1p(same.height))


def test_a_day_may_be_added_in_any_pieces(log_of: Log) -> None:
    log = log_of()
    rows = log.describe(log.exposures)
    whole, pieces, lazy = (History(log, log.labels) for _ in range(3))
    whole.add(rows)
    for piece in (rows[2000:], rows[:700], rows[700:2000]):
        pieces.add(piece)
    lazy.add(rows.lazy())
    assert whole.lookup(rows).equals(pieces.lookup(rows))
    assert whole.lookup(rows).equals(lazy.lookup(rows))


def test_unknown_key_values_have_no_history(log_of: Log) -> None:
    log = log_of()
    rows = pl.DataFrame(
        {"user_id": [-1], "item_id": [-1], "topic": [None]},
        schema_overrides={"topic": pl.Int32},
    )
    assert known_on(log, log.days[-1] + 1, rows).row(0) == (0.0,) * 12
