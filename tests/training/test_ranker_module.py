"""The training procedure: it reaches the optimum of its own loss, keeps a fair snapshot, logs what it should."""

from __future__ import annotations

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from emer.data.module import RequestDataModule
from emer.data.simulated import SimulatedSource, simulate_requests
from emer.losses.pairwise import pairwise_logistic_loss
from emer.models.grade import GradeRanker
from emer.models.ranker import EmerRanker
from emer.objectives.emer import EmerObjective
from emer.objectives.grade import GradeObjective
from emer.training.previous import PreviousModel
from emer.training.ranker_module import RankerModule


@pytest.fixture(scope="module")
def tables():
    source = SimulatedSource(
        users=20, videos=1000, candidates=10, slate=5, train_requests=40, validation_requests=8, test_requests=8
    )
    return simulate_requests(source)


def module_of(tables, *, objective=None, lr=3e-3, **more) -> RankerModule:
    torch.manual_seed(0)
    return RankerModule(
        tables["train"].schema,
        model=partial(EmerRanker, width=32, heads=2, feedforward=64, head_width=16),
        objective=objective or EmerObjective(),
        optimizer=partial(torch.optim.AdamW, lr=lr),
        **more,
    )


def trainer_of(**settings) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("comparison", [True, False])
def test_on_eight_requests_it_reaches_the_optimum_of_its_loss(tables, comparison) -> None:
    """Within 5 % of the loss that free scores, one per candidate, can reach on the same requests."""
    eight = tables["train"].batch(range(8))
    objective = EmerObjective(evolve=False)
    free = torch.zeros(8, 10, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        best = objective(free, eight).loss
        best.backward()
        optimiser.step()
    torch.manual_seed(0)
    model = EmerRanker(eight.schema, width=32, heads=2, feedforward=128, comparison=comparison)
    model.features.fit(eight)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        loss = objective(model(eight), eight).loss
        loss.backward()
        optimiser.step()
    assert loss.item() <= 1.05 * best.item()


def test_ten_epochs_lower_the_prior_loss(tables) -> None:
    data = RequestDataModule(**tables, batch_size=40)
    module = module_of(tables)
    batch = tables["train"].batch(range(40))
    trainer = trainer_of(max_epochs=10)
    trainer.fit(module, data)
    after = pairwise_logistic_loss(module(batch), None, ranks=batch.iput_rank_gap, where=batch.mask)
    assert after < torch.log(torch.tensor(2.0)) - 0.02
    assert {"train/loss", "train/posterior", "train/prior", "val/loss"} <= set(trainer.callback_metrics)
    assert "weight/max" not in trainer.callback_metrics, "without a previous model there are no weights"


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_validation_loss_does_not_depend_on_batches(size, tables) -> None:
    """Requests without a posterior pair must not dilute it, however they fall into batches."""
    module = module_of(tables)
    whole = tables["validation"].batch(range(8))
    trainer = trainer_of(max_epochs=1)
    trainer.fit(module, RequestDataModule(**tables, batch_size=40, eval_batch_size=size))
    expected = module.objective(module.eval()(whole), whole)
    for name, value in expected.terms.items():
        torch.testing.assert_close(trainer.callback_metrics[f"val/{name}"], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(trainer.callback_metrics["val/loss"], expected.loss.detach(), rtol=1e-5, atol=1e-6)


def test_evolving_weights_use_the_snapshot_of_the_last_epoch(tables) -> None:
    data = RequestDataModule(**tables, batch_size=20)
    module = module_of(tables, previous=partial(PreviousModel, source="snapshot"))
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
            seen.append((bool(module.previous.filled), module.last_weights))

    trainer = trainer_of(max_epochs=2, callbacks=[Watch()])
    trainer.fit(module, data)
    assert [filled for filled, _ in seen] == [False, False, True, True]
    assert all(w.shape == (20, 8) and (w > 0).all() for _, w in seen)
    assert "weight/pltr_iput" in trainer.callback_metrics
    for mine, current in zip(module.previous.copy.parameters(), module.model.parameters(), strict=True):
        assert torch.equal(mine, current)


def test_the_snapshot_counts_optimiser_steps_not_batches(tables) -> None:
    steps = []

    class Recording(PreviousModel):
        def after_step(self, model, step):
            steps.append(step)

    data = RequestDataModule(**tables, batch_size=10)
    module = module_of(tables, previous=partial(Recording, source="snapshot", refresh_steps=1))
    trainer_of(max_epochs=2, accumulate_grad_batches=2).fit(module, data)
    assert steps == [1, 2, 3, 4]


def test_only_objectives_that_ask_get_a_previous_model(tables) -> None:
    for switch in ("evolve", "prior"):
        module = module_of(tables, objective=EmerObjective(**{switch: False}), previous=PreviousModel)
        assert module.previous is None
    assert module_of(tables, previous=PreviousModel).previous is not None


def test_schedule_warms_up_and_ends_at_the_final_factor(tables) -> None:
    rates = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_index):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    data = RequestDataModule(**tables, batch_size=4)
    module = module_of(tables, lr=1.0, warmup_steps=3, final_lr_factor=0.2)
    trainer = trainer_of(max_epochs=2, callbacks=[Watch()])
    trainer.fit(module, data)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.2)


def test_bfloat16_autocast_trains(tables) -> None:
    data = RequestDataModule(**tables, batch_size=20)
    trainer = trainer_of(max_epochs=1, precision="bf16-mixed")
    trainer.fit(module_of(tables, previous=PreviousModel), data)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_scores_under_bfloat16_keep_their_differences(tables) -> None:
    """bfloat16 has 8 bits: scores rounded to it would tie, and ties count half in every GAUC."""
    batch = tables["train"].batch(range(30))
    torch.manual_seed(0)
    model = EmerRanker(batch.schema, width=32, heads=2).eval()
    full = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(batch)
    assert half.dtype == torch.float32
    assert half[batch.mask].unique().numel() == full[batch.mask].unique().numel()
    torch.testing.assert_close(half, full, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "planned"),
    [
        ({"max_epochs": 3}, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 2, "max_steps": 3}, 6),
        ({"max_steps": 2, "limit_train_batches": 1}, 2),
    ],
)
def test_the_objective_is_told_what_is_planned(tables, settings, planned) -> None:
    class Planned(EmerObjective):
        plans: tuple[float, ...] = ()
        trained = 0

        def check_plan(self, batches: float) -> None:
            self.plans = (*self.plans, batches)

        def forward(self, *arguments):
            self.trained += self.training
            return super().forward(*arguments)

    objective = Planned(evolve=False)
    trainer_of(**settings).fit(module_of(tables, objective=objective), RequestDataModule(**tables, batch_size=10))
    assert objective.plans == (planned,)
    assert objective.trained == planned


def test_a_training_that_is_all_warm_start_is_warned_about(tables, caplog) -> None:
    """GRADE's policy gradient would never be taken, and nothing would say so."""
    for batches, warned in ((6, True), (5, False)):
        caplog.clear()
        objective = GradeObjective(warm_start_steps=batches)
        module = RankerModule(
            tables["train"].schema,
            model=partial(GradeRanker, width=8, head_width=6, embedding_width=4, anchor_after=batches),
            objective=objective,
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
        )
        trainer_of(max_epochs=2).fit(module, RequestDataModule(**tables, batch_size=16))
        assert int(objective.steps) == 6
        found = f"warm_start_steps is {batches}, and the training has 6 batches" in caplog.text
        assert found == warned
