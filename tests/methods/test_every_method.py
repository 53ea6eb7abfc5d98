"""What holds for each method as configured: a set goes in, scores come out; it trains, and resumes where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from tests.methods.conftest import METHODS, RANKERS

from emer.data.module import RequestDataModule
from emer.requests import RequestBatch
from emer.training.callbacks import RandomState

PER_CANDIDATE = (
    "pxtr", "rank_gap", "iput_rank_gap", "mask", "exposed", "label", "watch_time", "negative", "item_categories",
    "item_numbers", "previous_score", "item_id",
)  # fmt: skip


def on_candidates(batch: RequestBatch, change) -> RequestBatch:
    """The batch with ``change`` applied to every column that has a candidate axis."""
    found = {name: getattr(batch, name) for name in PER_CANDIDATE}
    return replace(batch, **{name: change(value) for name, value in found.items() if value is not None})


def widened(batch: RequestBatch, by: int) -> RequestBatch:
    """More padding, filled with candidates that would score well if they were read."""
    more = on_candidates(batch, lambda value: torch.cat([value, value[:, :by]], dim=1))
    mask = more.mask.clone()
    mask[:, -by:] = False
    return replace(more, mask=mask, exposed=more.exposed & mask)


def trainer_of(folder: Path, **settings) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        enable_checkpointing=False, use_distributed_sampler=False, num_sanity_val_steps=0, max_epochs=2, **settings,
    )  # fmt: skip


class StopAfterFirstEpoch(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = True


@pytest.fixture
def trained(build, tables, tmp_path):
    """A method after two epochs."""

    def train(method: str):
        module = build(tables["train"].schema, f"method={method}")
        pl.seed_everything(1, verbose=False)
        trainer_of(tmp_path).fit(module, RequestDataModule(**tables, batch_size=20))
        return module.eval()

    return train


@pytest.mark.parametrize("method", METHODS)
def test_candidates_are_a_set(method, trained, tables) -> None:
    """Permuted candidates get permuted scores; padding changes nothing and scores 0."""
    module, batch = trained(method), tables["test"].batch(range(6))
    with torch.no_grad():
        scores = module(batch)
        order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(3))
        permuted = module(on_candidates(batch, lambda value: value[:, order]))
        padded = module(widened(batch, 3))
    assert scores.shape == batch.mask.shape
    assert torch.isfinite(scores).all()
    assert scores.std() > 0
    torch.testing.assert_close(permuted, scores[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded[:, :-3], scores, rtol=1e-4, atol=1e-5)
    assert (padded[:, -3:] == 0).all()


def test_grade_comes_to_its_policy_gradient(trained) -> None:
    """Else the others would say nothing of it."""
    module = trained("grade")
    assert int(module.objective.steps) == 4 and int(module.objective.draws.step) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_resumes_to_the_same_numbers(method, build, tables, tmp_path) -> None:
    schema = tables["train"].schema
    states, checkpoint = {}, tmp_path / "stopped.ckpt"
    for name in ("uninterrupted", "stopped", "resumed"):
        module = build(schema, f"method={method}")
        pl.seed_everything({"uninterrupted": 1, "stopped": 1, "resumed": 9}[name], verbose=False)
        stop = [StopAfterFirstEpoch()] if name == "stopped" else []
        trainer = trainer_of(tmp_path, callbacks=[RandomState(), *stop])
        data = RequestDataModule(**tables, batch_size=20, seed=1)
        trainer.fit(module, data, ckpt_path=str(checkpoint) if name == "resumed" else None, weights_only=False)
        if name == "stopped":
            trainer.save_checkpoint(checkpoint)
        states[name] = module.state_dict()
    assert states["uninterrupted"].keys() == states["resumed"].keys()
    for key, value in states["uninterrupted"].items():
        torch.testing.assert_close(states["resumed"][key], value, rtol=0, atol=0, equal_nan=True, msg=key)


@pytest.mark.parametrize("method", RANKERS)
def test_hard_requests_give_a_finite_loss_and_gradient(method, build, tables) -> None:
    """One candidate, in each of three requests and in a batch of one; nothing shown; all candidates alike."""
    batch = tables["train"].batch(range(3))
    module = build(batch.schema, f"method={method}").train()
    first = torch.zeros_like(batch.mask)
    first[:, 0] = True
    liked = first.unsqueeze(-1).expand_as(batch.label).to(batch.label.dtype)
    alone = replace(batch, mask=first, exposed=first, label=liked)
    lonely = alone.select(torch.tensor([1]))
    hidden = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    alike = replace(
        batch, pxtr=batch.pxtr[:, :1].expand_as(batch.pxtr), rank_gap=torch.zeros_like(batch.rank_gap),
        iput_rank_gap=torch.zeros_like(batch.iput_rank_gap),
    )  # fmt: skip
    for hard in (alone, lonely, hidden, alike) * 2:  # twice: GRADE's first batch is of another stage than the others
        module.zero_grad()
        _, output = module.evaluate_objective(hard)
        assert torch.isfinite(output.loss)
        if output.loss.requires_grad:
            output.loss.backward()
        for parameter in module.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()
