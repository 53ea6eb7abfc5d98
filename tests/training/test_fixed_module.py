"""Scorers without parameters by pl.Trainer: one step, a fit on every training request, checkpoints and resumption."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

import emer.training.fixed_module as fixed_module
from emer.data.module import RequestDataModule
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.request_metrics import RequestMetrics
from emer.models.controls import BestSinglePxtr, RandomScores
from emer.models.neural_controls import LinearScorer
from emer.models.rank_aggregation import RankAggregation
from emer.requests import Feedback, Objective, RequestBatch, Schema, Unit
from emer.training.fixed_module import FixedModule

SCHEMA = Schema(
    objectives=(Objective("noise"), Objective("pvtr", unit=Unit.SECONDS), Objective("pctr")),
    feedback=(Feedback("click"),),
)


def build(requests: int, seed: int) -> RequestTable:
    """Clicks follow the last pxtr, in the first third of the requests the first."""
    rng = np.random.default_rng(seed)
    n = 6
    pxtr = rng.random((requests * n, 3)) * [1, 30, 1]
    leading = np.where(np.arange(requests * n) < requests * n // 3, pxtr[:, 0], pxtr[:, 2])
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.arange(requests + 1) * n,
        request_id=np.arange(requests) + 1000 * seed,
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(requests * n),
        pxtr=pxtr,
        exposed=np.ones(requests * n, dtype=bool),
        label=(leading > 0.5)[:, None],
    )


@pytest.fixture
def data() -> RequestDataModule:
    """Five batches an epoch."""
    return RequestDataModule(train=build(40, 0), validation=build(10, 1), test=build(12, 2), batch_size=8)


def trainer(folder, **more) -> pl.Trainer:
    keep = ModelCheckpoint(folder, filename="best", monitor="val/pxtr_gauc/mean", mode="max", save_last=True)
    return pl.Trainer(
        max_epochs=20, accelerator="cpu", devices=1, logger=False, callbacks=[keep], enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, gradient_clip_val=1.0, num_sanity_val_steps=0,
        **more,
    )  # fmt: skip


@pytest.mark.parametrize("model", [RandomScores, BestSinglePxtr, RankAggregation])
def test_one_step_and_a_test_of_the_scores(tmp_path, data, model) -> None:
    module = FixedModule(SCHEMA, model=model)
    run = trainer(tmp_path)
    run.fit(module, datamodule=data)
    assert run.global_step == 1
    run.test(module, datamodule=data, ckpt_path=tmp_path / "best.ckpt", verbose=False)
    alone = model(SCHEMA)
    if isinstance(alone, BestSinglePxtr):
        alone = BestSinglePxtr(SCHEMA, objective="pctr")
    metrics = RequestMetrics(SCHEMA, k=10)
    batch = data.splits.test.batch(range(12))
    metrics.update(alone(batch), batch)
    assert module.test_summary == metrics.compute()[0]


@pytest.mark.parametrize("at_a_time", [7, 40, 1000])
def test_the_fit_sees_every_training_request_once(tmp_path, data, monkeypatch, at_a_time) -> None:
    monkeypatch.setattr(fixed_module, "FIT_REQUESTS", at_a_time)
    seen: list[int] = []

    class Watching(BestSinglePxtr):
        def fit(self, batches) -> None:
            kept = list(batches)
            assert all(isinstance(batch, RequestBatch) and len(batch) <= at_a_time for batch in kept)
            seen.extend(int(i) for batch in kept for i in batch.request_id)
            super().fit(kept)

    module = FixedModule(SCHEMA, model=Watching)
    trainer(tmp_path).fit(module, datamodule=data)
    assert seen == list(range(40))
    assert int(module.model.column) == 2


def test_a_checkpoint_alone_gives_the_same_scores(tmp_path, data) -> None:
    module = FixedModule(SCHEMA, model=BestSinglePxtr)
    trainer(tmp_path).fit(module, datamodule=data)
    fresh = FixedModule(SCHEMA, model=BestSinglePxtr)
    trainer(tmp_path / "other").test(fresh, datamodule=data, ckpt_path=tmp_path / "best.ckpt", verbose=False)
    batch = data.splits.test.batch([0, 1])
    assert torch.equal(fresh(batch), batch.pxtr[..., 2])


def test_a_resumed_run_makes_no_other_step(tmp_path, data) -> None:
    trainer(tmp_path).fit(FixedModule(SCHEMA, model=BestSinglePxtr), datamodule=data)
    steps: list[int] = []

    class Counting(FixedModule):
        def training_step(self, batch, batch_index):
            steps.append(batch_index)
            return super().training_step(batch, batch_index)

    resumed = Counting(SCHEMA, model=BestSinglePxtr)
    run = trainer(tmp_path)
    run.fit(resumed, datamodule=data, ckpt_path=tmp_path / "last.ckpt")
    assert steps == [] and run.global_step == 1
    run.test(resumed, datamodule=data, verbose=False)
    assert resumed.test_summary["label_gauc/click"] is not None


def test_gradient_accumulation_still_leaves_a_checkpoint(tmp_path, data) -> None:
    run = trainer(tmp_path, accumulate_grad_batches=3)
    run.fit(FixedModule(SCHEMA, model=RandomScores), datamodule=data)
    assert run.global_step == 1
    assert (tmp_path / "best.ckpt").is_file() and (tmp_path / "last.ckpt").is_file()


def test_a_choice_that_the_log_does_not_allow_is_an_error(tmp_path) -> None:
    train = build(4, 0)
    train.label[:] = False
    data = RequestDataModule(train=train, validation=build(4, 1), test=build(4, 2), batch_size=8)
    with pytest.raises(EmerError, match=r"method\.model\.objective is null"):
        trainer(tmp_path).fit(FixedModule(SCHEMA, model=BestSinglePxtr), datamodule=data)
    named = FixedModule(SCHEMA, model=partial(BestSinglePxtr, objective="noise"))
    trainer(tmp_path).fit(named, datamodule=data)


def test_a_model_that_needs_training_is_refused() -> None:
    with pytest.raises(EmerError, match=r"LinearScorer has parameters.*RankerModule"):
        FixedModule(SCHEMA, model=LinearScorer)
