"""Tuning by pl.Trainer: the whole budget, stopping, checkpoints, exact resumption, two processes."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from emer.data.module import RequestDataModule
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.requests import Category, Feedback, Objective, Schema, Unit
from emer.training.formula_module import FusionFormulaModule
from emer.training.tuning import tune_formula

SCHEMA = Schema(
    objectives=(Objective("pctr", feedback="click"), Objective("pvtr", unit=Unit.SECONDS)),
    feedback=(Feedback("click"),),
    user_categories=(Category("age", 3),),
)


def build(requests, seed):
    rng = np.random.default_rng(seed)
    n = 6
    pxtr = rng.random((requests * n, 2)) * [1, 30]
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.arange(requests + 1) * n,
        request_id=np.arange(requests) + 1000 * seed,
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(requests * n),
        pxtr=pxtr,
        exposed=np.ones(requests * n, dtype=bool),
        label=rng.random((requests * n, 1)) < pxtr[:, :1],
        user_categories=np.arange(requests)[:, None] % 3,
    )


@pytest.fixture
def data():
    """Five batches an epoch."""
    return RequestDataModule(train=build(40, 0), validation=build(10, 1), test=build(12, 2), batch_size=8)


class Stop(pl.Callback):
    """Dies after a number of steps, as by a signal."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        if trainer.global_step == self.step:
            raise InterruptedError


def trainer(folder, epochs=20, callbacks=(), **more):
    keep = ModelCheckpoint(
        folder, filename="best", monitor="tuning/best", mode="max", save_last=True, every_n_train_steps=1
    )
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[keep, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        gradient_clip_val=1.0,  # the usual trainer config must do no harm
        **more,
    )


def trials_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["formula_trials"]


def as_lists(trials):
    return [[list(t.point), t.value, []] for t in trials]


@pytest.mark.parametrize("epochs", [20, 1])
def test_runs_the_whole_budget_and_stops(tmp_path, data, epochs):
    """With 5 steps an epoch and 12 trials: in the third epoch, or several in each step of the only one."""
    module = FusionFormulaModule(SCHEMA, n_trials=12, seed=3)
    run = trainer(tmp_path, epochs)
    run.fit(module, datamodule=data)
    assert run.global_step == (12 if epochs == 20 else 5)
    expected = tune_formula(data.splits.train, n_trials=12, seed=3)
    assert trials_of(tmp_path / "last.ckpt") == as_lists(expected.trials)
    assert torch.equal(module.formula.log_ratio, expected.formula().log_ratio)
    assert run.callback_metrics["tuning/best"].item() == pytest.approx(expected.best.value)


def test_hand_set_tries_nothing(tmp_path, data):
    module = FusionFormulaModule(SCHEMA, tuned=False)
    run = trainer(tmp_path)
    run.fit(module, datamodule=data)
    assert run.global_step == 1 and len(trials_of(tmp_path / "last.ckpt")) == 1
    batch = data.splits.test.batch([0, 1])
    assert torch.equal(module(batch), FusionFormula.hand_set(SCHEMA)(batch))


TUNERS = {
    "tpe": {},
    "generations": {"algorithm": "cem", "formula": "rank_reciprocal", "n_trials": 80},
    "gradient": {"algorithm": "gradient", "formula": "log_sum", "n_trials": 48},
    "segments": {"algorithm": "per_segment", "segment": "age", "segment_requests": 5, "n_trials": 12},
}


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("killed_at", [2, 5, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, data, killed_at, tuner):
    def fresh():
        return FusionFormulaModule(SCHEMA, **{"n_trials": 12, "seed": 3, **TUNERS[tuner]})

    whole = fresh()
    run = trainer(tmp_path / "whole")
    run.fit(whole, datamodule=data)
    run.test(whole, datamodule=data, verbose=False)
    steps = run.global_step

    with pytest.raises(InterruptedError):
        trainer(tmp_path / "cut", callbacks=[Stop(killed_at)]).fit(fresh(), datamodule=data)
    last = tmp_path / "cut" / "last.ckpt"
    assert trials_of(last) and trials_of(last) != trials_of(tmp_path / "whole" / "last.ckpt")
    resumed = fresh()
    run = trainer(tmp_path / "cut")
    run.fit(resumed, datamodule=data, ckpt_path=last)
    assert run.global_step == steps  # no trial was run twice
    run.test(resumed, datamodule=data, verbose=False)
    assert trials_of(last) == trials_of(tmp_path / "whole" / "last.ckpt")
    assert resumed.test_summary == whole.test_summary


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_checkpoint_alone_gives_the_same_scores(tmp_path, data, tuner):
    module = FusionFormulaModule(SCHEMA, **{"n_trials": 12, "seed": 3, **TUNERS[tuner]})
    trainer(tmp_path).fit(module, datamodule=data)
    fresh = FusionFormulaModule(SCHEMA, **{"n_trials": 12, "seed": 3, **TUNERS[tuner]})
    trainer(tmp_path).test(fresh, datamodule=data, ckpt_path=tmp_path / "best.ckpt", verbose=False)
    batch = data.splits.test.batch([0, 1])
    assert torch.equal(fresh(batch), module(batch))


def test_what_cannot_be_tuned_is_refused():
    for options, message in (
        ({"n_trials": 0}, "budget is 0 trials"),
        ({"algorithm": "sgd"}, "algorithm is 'sgd'; it must be one of grid, random"),
        ({"formula": "sum"}, "formula is 'sum'; it must be one of power_affine"),
        ({"algorithm": "per_segment"}, "per_segment needs the name of a user category"),
        ({"segment": "age"}, "the other algorithms take none"),
        ({"algorithm": "per_segment", "segment": "sex"}, "segment is 'sex'; it must be one of age"),
    ):
        with pytest.raises(EmerError, match=message):
            FusionFormulaModule(SCHEMA, **options)


def test_hand_set_needs_no_budget_of_any_algorithm(tmp_path, data):
    for options in (TUNERS["gradient"], TUNERS["segments"]):
        module = FusionFormulaModule(SCHEMA, tuned=False, **options)
        trainer(tmp_path).fit(module, datamodule=data)
        assert len(trials_of(tmp_path / "last.ckpt")) == 1


WORKER = """
import pickle, sys
import pytorch_lightning as pl, torch
from emer.data.module import RequestDataModule
from emer.training.formula_module import FusionFormulaModule

torch.set_num_threads(1)
train, validation, test = pickle.load(open(sys.argv[1], "rb"))
data = RequestDataModule(train=train, validation=validation, test=test, batch_size=8)
module = FusionFormulaModule(train.schema, n_trials=12, seed=3)
run = pl.Trainer(
    max_epochs=20, accelerator="cpu", devices=2, strategy="ddp", logger=False, use_distributed_sampler=False,
    enable_progress_bar=False, enable_checkpointing=False, default_root_dir=sys.argv[2],
)
run.fit(module, datamodule=data)
run.test(module, datamodule=data, verbose=False)
if run.is_global_zero:
    with open(sys.argv[2] + "/summary.pickle", "wb") as file:
        pickle.dump((module.formula.log_ratio.tolist(), module.test_summary), file)
"""


@pytest.mark.slow
def test_two_processes_tune_and_test_as_one(tmp_path, data):
    module = FusionFormulaModule(SCHEMA, n_trials=12, seed=3)
    run = trainer(tmp_path / "one")
    run.fit(module, datamodule=data)
    run.test(module, datamodule=data, verbose=False)
    script, tables = tmp_path / "worker.py", tmp_path / "tables.pickle"
    script.write_text(WORKER)
    tables.write_bytes(pickle.dumps(tuple(data.splits)))
    done = subprocess.run(
        [sys.executable, script, tables, tmp_path], timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parameters, summary = pickle.loads((tmp_path / "summary.pickle").read_bytes())
    assert parameters == module.formula.log_ratio.tolist()
    assert summary == module.test_summary
