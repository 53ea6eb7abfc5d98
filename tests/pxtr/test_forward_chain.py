"""Every day is predicted from earlier days only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from emer.data.log import InteractionLog
from emer.errors import DataError
from emer.pxtr.features import Columns, Encoder, feature_columns, past_features
from emer.pxtr.forward_chain import Block, ChainSettings, ForwardChain, plan_blocks
from emer.pxtr.history import History

Log = Callable[..., InteractionLog]
LABELS = ("click", "like")
WATCH = 2


def fast(**changes: Any) -> ChainSettings:
    small = {"experts": 2, "expert_size": 16, "tower_size": 8, "batch_size": 128, "min_count": 5, "epochs": 4}
    return ChainSettings(**(small | {"learning_rate": 5e-3, "min_train_days": 2} | changes))


def inputs(log: InteractionLog) -> tuple[Columns, pl.DataFrame, np.ndarray]:
    history = History(log, LABELS)
    targets = log.exposures.select(pl.col(*LABELS, "watch_seconds").cast(pl.Float32)).to_numpy()
    return feature_columns(log, history), past_features(log, history), targets


def predict(log: InteractionLog, days: list[int], settings: ChainSettings, seed: int = 1) -> np.ndarray:
    columns, frame, targets = inputs(log)
    queries = frame.filter(pl.col("day").is_in(days))
    return ForwardChain(columns, 3, WATCH, settings, seed).run(frame, targets, queries)


def test_blocks_of_days() -> None:
    days = list(range(10, 20))
    assert plan_blocks(days, [14, 15, 16], fast()) == [Block((14,), 10), Block((15,), 14), Block((16,), 15)]
    assert plan_blocks(days, [14, 15, 16, 18], fast(retrain_days=2)) == [
        Block((14, 15), 10),
        Block((16,), 14),
        Block((18,), 16),
    ]
    with pytest.raises(DataError, match="the log has 1 days before it"):
        plan_blocks(days, [11, 12], fast())


@pytest.mark.parametrize("warm", [True, False])
def test_a_learnable_signal_is_learnt(log_of: Log, warm: bool) -> None:
    log = log_of()
    days = list(log.days[4:])
    predicted = predict(log, days, fast(warm_start=warm))
    actual = log.exposures.filter(pl.col("day").is_in(days))
    assert np.isfinite(predicted).all()
    assert roc_auc_score(actual["click"], predicted[:, 0]) > 0.7
    seconds = actual["watch_seconds"].to_numpy()
    assert np.corrcoef(predicted[:, WATCH], seconds)[0, 1] > 0.2
    assert predicted[:, WATCH].mean() == pytest.approx(seconds.mean(), rel=0.15)


@pytest.mark.parametrize("settings", [fast(epochs=1), fast(epochs=1, warm_start=False), fast(epochs=1, retrain_days=2)])
def test_labels_of_a_day_and_later_never_reach_its_predictions(log_of: Log, settings: ChainSettings) -> None:
    log = log_of(per_day=120)
    days = list(log.days[3:6])
    changed_from = days[1]
    late = pl.col("day") >= changed_from
    parts: dict[str, Any] = {name: getattr(log, name) for name in log.__dataclass_fields__}
    parts["exposures"] = log.exposures.with_columns(
        *(pl.when(late).then(~pl.col(c)).otherwise(pl.col(c)).alias(c) for c in LABELS),
        pl.when(late).then(pl.col("watch_seconds") + 50).otherwise("watch_seconds").alias("watch_seconds"),
    )
    other = InteractionLog(**parts)
    before, after = predict(log, days, settings), predict(other, days, settings)
    day = log.exposures.filter(pl.col("day").is_in(days))["day"].to_numpy()
    assert (before[day <= changed_from] == after[day <= changed_from]).all()
    # With a model for every day, the changed labels do reach the day after.
    reached = day == days[2]
    if settings.retrain_days == 1:
        assert (before[reached] != after[reached]).any()


def test_training_never_sees_the_predicted_day(log_of: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(per_day=60)
    columns, frame, targets = inputs(log)
    frame = frame.with_row_index("index")
    seen: list[tuple[str, int, int]] = []
    count, transform = Encoder.count, Encoder.transform

    def note(kind: str, method: Any) -> Any:
        def call(self: Encoder, rows: pl.DataFrame) -> Any:
            seen.append((kind, int(rows["day"].min()), int(rows["day"].max())))
            return method(self, rows)

        return call

    monkeypatch.setattr(Encoder, "count", note("count", count))
    monkeypatch.setattr(Encoder, "transform", note("transform", transform))
    blocks: list[Block] = []
    queries = frame.filter(pl.col("day") >= log.days[4])
    chain = ForwardChain(columns, 3, WATCH, fast(epochs=1), 1)
    chain.run(frame, targets, queries, on_block=lambda block, encoder: blocks.append(block))
    expected = []
    for block in blocks:
        day = block.days[0]
        # Counted are the days that no model has counted before; they are those that it trains on.
        expected += [("count", block.new_from, day - 1), ("transform", block.new_from, day - 1)]
        expected += [("transform", day - 1, day - 1), ("transform", day, day)]
    assert seen == expected
    assert [block.days for block in blocks] == [(d,) for d in log.days[4:]]


def test_equal_seeds_give_equal_pxtrs(log_of: Log) -> None:
    log = log_of(per_day=60)
    one, two = (predict(log, [log.days[4]], fast(epochs=1), seed=s) for s in (3, 3))
    assert (one == two).all()
    assert (predict(log, [log.days[4]], fast(epochs=1), seed=4) != one).any()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(DataError, match="retrain_days is 0"):
        fast(retrain_days=0)
