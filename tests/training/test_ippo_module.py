"""IPPO as a training procedure: who learns from what, who is judged by what, and that a killed run goes on exactly."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from emer.data.module import RequestDataModule
from emer.data.simulated import SimulatedSource, simulate_requests
from emer.errors import EmerError
from emer.models.pantheon import Pantheon
from emer.objectives.pantheon import PantheonObjective
from emer.objectives.pointwise import MultiObjectiveBce
from emer.training.ippo import WindowGaucs
from emer.training.ippo_module import IppoModule
from emer.training.ippo_windows import earlier_part
from emer.training.ranker_module import RankerModule

LABELS = 7


@pytest.fixture(scope="module")
def tables():
    source = SimulatedSource(
        users=20, videos=1000, candidates=10, slate=5, train_requests=60, validation_requests=12, test_requests=8
    )
    return simulate_requests(source)


def module_of(tables, *, kind=IppoModule, objective=None, lr=3e-3, inputs="hidden", **more):
    torch.manual_seed(0)
    model = partial(
        Pantheon, inputs=inputs, width=8, feedforward=16, experts=2, expert_size=8, tower_size=6, embedding_width=4
    )
    objective = objective or PantheonObjective()
    optimizer = partial(torch.optim.AdamW, lr=lr)
    return kind(tables["train"].schema, model=model, objective=objective, optimizer=optimizer, **more)


def trainer_of(folder, **settings) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing="callbacks" in settings, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
        default_root_dir=str(folder), **settings,
    )  # fmt: skip


def data_of(tables, **more) -> RequestDataModule:
    return RequestDataModule(**tables, **{"batch_size": 9, **more})


def fitted(tables, folder, *, data=None, epochs=2, clip=1.0, **more) -> IppoModule:
    module = module_of(tables, **more)
    trainer = trainer_of(folder, max_epochs=epochs, gradient_clip_val=clip)
    trainer.fit(module, data or data_of(tables))
    return module


def archive_of(folder) -> dict:
    return json.loads((folder / "archive.json").read_text())


class Scripted(IppoModule):
    """Accepts the rounds of ``script``, and raises the first label's weight in the others."""

    script: tuple[int, ...] = ()

    def on_fit_start(self) -> None:
        super().on_fit_start()
        script, decide, rounds = self.script, self.rule.decide, self.log_of_rounds.rounds
        known = np.full(LABELS, 0.5)

        def scripted(weights, base_weights, gaucs, index):
            assert index == len(rounds)
            gap = np.full(LABELS, 0.1) if index in script else -0.1 * (np.arange(LABELS) == 0)
            return decide(weights, base_weights, WindowGaucs(known + gap, known, known * 0.01, known), index)

        self.rule.decide = scripted


class Accepting(Scripted):
    script = (2,)


def parameters(module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.slow
def test_the_base_learns_as_if_it_were_alone(tables, tmp_path, clip) -> None:
    """Its weights stay 1 while none is accepted: it must become what training without IPPO gives on the same
    batches. A gradient norm of both models, a shared parameter or a wrong start would part them. The reference, whose
    weights move, parts from both."""
    module = fitted(tables, tmp_path, kind=Scripted, clip=clip)
    assert module.log_of_rounds.accepted == 0 and module.objective.w[0] > 1.05
    early = tables["train"].select(~np.isin(np.arange(60), module.held_out_rows))
    data = data_of({**tables, "train": early})
    alone = fitted(tables, tmp_path, kind=RankerModule, data=data, clip=clip)
    for mine, other in zip(module.base.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert not same(module.model, module.base)


@pytest.mark.parametrize("data", [{}, {"shuffle": False}])
def test_the_ablation_differs_in_ippo_alone(tables, tmp_path, data) -> None:
    """Without IPPO the same requests are held out, unused: what is trained is the base that no reference replaced."""
    epochs = 1 if data else 2
    module = fitted(tables, tmp_path, kind=Scripted, data=data_of(tables, **data), epochs=epochs)
    again = data_of(tables, **data)
    ablated = fitted(tables, tmp_path, objective=PantheonObjective(ippo=False), data=again, epochs=epochs)
    assert (module.held_out_rows is None) == (ablated.held_out_rows is None) == bool(data)
    if not data:
        assert np.array_equal(module.held_out_rows, ablated.held_out_rows)
    for mine, other in zip(module.base.parameters(), ablated.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert ablated.base is None and not ablated.log_of_rounds.rounds
    assert len(again.splits.train) == 60, "they are back when training is over"


@pytest.mark.parametrize("serve", ["base", "reference"])
def test_the_one_that_is_served_gives_the_scores_and_is_validated(tables, tmp_path, serve) -> None:
    # Large steps of the weight, so that the two have different losses.
    module = module_of(tables, kind=Scripted, serve=serve, step=100.0, lr=1e-2)
    trainer = trainer_of(tmp_path, max_epochs=2)
    trainer.fit(module, data_of(tables))
    batch = tables["validation"].batch(range(12))
    module.eval()
    served, other = (module.base, module.model) if serve == "base" else (module.model, module.base)
    assert torch.equal(module(batch), served(batch))
    assert not torch.allclose(module(batch), other(batch), atol=1e-6)
    losses = []
    for network in (served, other):
        scores, details = network.forward_with_details(batch)
        losses.append(float(module.objective(scores, batch, None, details).loss))
    assert abs(losses[0] - losses[1]) > 1e-3
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(losses[0], abs=1e-5)


def test_an_accepted_reference_becomes_the_base_with_all_that_it_remembers(tables, tmp_path) -> None:
    """After the round they are one model; with equal weights and optimiser states they stay so until a rejection."""
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
            both = zip(parameters(module.model), parameters(module.base), strict=True)
            gap = max(float((a - b).abs().max()) for a, b in both)
            seen.append((len(module.log_of_rounds.rounds), gap))

    module = module_of(tables, kind=Accepting, rounds=3)
    trainer = trainer_of(tmp_path, max_epochs=2, callbacks=[Watch()])
    trainer.fit(module, data_of(tables, batch_size=6))
    # Callbacks come before the module's hook: the 3rd round ends after the last batch of the first epoch.
    by_rounds = {n: [gap for rounds, gap in seen if rounds == n] for n in range(6)}
    assert by_rounds[0] == [0.0] * 3
    assert min(by_rounds[1] + by_rounds[2]) > 0
    assert by_rounds[3] == [0.0] * 3, "neither weights nor moments nor clipping part them"
    assert min(by_rounds[4] + by_rounds[5]) > 0
    rounds = archive_of(tmp_path)["rounds"]
    assert [r["accepted"] for r in rounds] == [False, False, True, False, False, False]
    step = 0.1 / LABELS
    assert [r["weights"][0] for r in rounds] == pytest.approx([1 + i * step for i in (0, 1, 2, 2, 3, 4)])
    assert [r["base_weights"][0] for r in rounds] == pytest.approx([1 + i * step for i in (0, 0, 0, 2, 2, 2)])
    assert module.base_objective.w[0] == pytest.approx(1 + 2 * step)
    assert module.objective.w[0] == pytest.approx(1 + 5 * step)


def test_a_frozen_base_waits_until_it_is_replaced(tables, tmp_path) -> None:
    start = module_of(tables)
    module = fitted(tables, tmp_path / "a", kind=Scripted, base_mode="frozen")
    assert same(module.base, start.model) and not same(module.model, start.model)
    module = fitted(tables, tmp_path / "b", kind=Accepting, base_mode="frozen", epochs=1, rounds=3)
    assert same(module.base, module.model), "the third round is the last"


def test_held_out_requests_are_the_last_and_train_nothing(tables, tmp_path) -> None:
    """P5: the same training whatever their labels are, and a judgement of them alone."""
    table = tables["train"]
    trained, judged = set(), []

    class Watch(IppoModule):
        def training_step(self, batch, batch_index):
            trained.update(batch.request_id.tolist())
            return super().training_step(batch, batch_index)

        def _end_round(self, window):
            judged.append([i for batch in window for i in batch.request_id.tolist()])
            super()._end_round(window)

    data = data_of(tables)
    module = fitted(tables, tmp_path, kind=Watch, data=data, held_out=0.2, rounds=2)
    held = set(table.request_id[module.held_out_rows].tolist())
    assert 9 <= len(held) <= 15
    assert trained | held == set(table.request_id.tolist()) and not trained & held
    assert len(judged) == 2 * 2 and all(set(window) == held and len(window) == len(held) for window in judged)
    last = table.time_ms[~np.isin(table.request_id, list(held))].max()
    assert table.time_ms[module.held_out_rows].min() > last
    assert len(data.splits.train) == 60, "they are back when training is over"


def test_a_stream_is_judged_by_the_round_to_come(tables, tmp_path) -> None:
    """In the order of time and once: no request is judged by before or in the round that trains on it."""
    trained, events = [], []

    class Watch(IppoModule):
        def training_step(self, batch, batch_index):
            trained.extend(batch.request_id.tolist())
            return super().training_step(batch, batch_index)

        def _end_round(self, window):
            events.append((len(trained), [i for batch in window for i in batch.request_id.tolist()]))
            super()._end_round(window)

    data = data_of(tables, batch_size=7, shuffle=False)
    fitted(tables, tmp_path, kind=Watch, data=data, epochs=1, rounds=3)
    # 60 requests are 9 batches of 7 at most, 3 to a round; nothing follows the last round.
    assert [done for done, _ in events] == [21, 42]
    assert [window for _, window in events] == [trained[21:42], trained[42:60]]
    assert len(trained) == 60


@pytest.mark.parametrize(
    ("data", "epochs", "message"),
    [({"shuffle": True}, 1, "loader.shuffle=false"), ({"shuffle": False}, 2, "trainer.max_epochs=1")],
)
def test_without_a_stream_there_is_no_next_window(tables, tmp_path, data, epochs, message) -> None:
    with pytest.raises(EmerError, match=message):
        fitted(tables, tmp_path, data=data_of(tables, **data), epochs=epochs, window="next")
    module = fitted(tables, tmp_path, data=data_of(tables, **data), epochs=epochs)
    assert module.held_out_rows is not None


def test_a_stream_may_hold_out_all_the_same(tables, tmp_path) -> None:
    data = data_of(tables, shuffle=False)
    assert fitted(tables, tmp_path, data=data, epochs=1, window="held_out").held_out_rows is not None
    assert fitted(tables, tmp_path, data=data, epochs=1).held_out_rows is None


class KilledError(Exception):
    pass


class Kill(pl.Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        if trainer.current_epoch == self.epoch and batch_index == 2:
            raise KilledError


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"policy": "perturb"}, {"base_mode": "frozen", "renormalise": True}])
def test_a_killed_run_goes_on_exactly(tables, tmp_path, more) -> None:
    def run(folder, kill=None, resume=None):
        keep = pl.callbacks.ModelCheckpoint(
            folder / "checkpoints", filename="last", monitor=None, enable_version_counter=False,
            save_on_train_epoch_end=True,
        )  # fmt: skip
        module = module_of(tables, kind=Accepting, rounds=2, lr=1e-2, **more)
        trainer = trainer_of(folder, max_epochs=4, callbacks=[keep, *([Kill(kill)] if kill else [])])
        trainer.fit(module, data_of(tables), ckpt_path=resume)
        return module

    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        # After the third epoch, when reference and base have parted again.
        run(tmp_path / "killed", kill=3)
    assert len(archive_of(tmp_path / "killed")["rounds"]) == 6
    resumed = run(tmp_path / "killed", resume=tmp_path / "killed" / "checkpoints" / "last.ckpt")
    assert same(whole, resumed)
    assert whole.objective.w.tolist() == resumed.objective.w.tolist()
    assert whole.base_objective.w.tolist() == resumed.base_objective.w.tolist() != [1.0] * LABELS
    first, second = (archive_of(tmp_path / name) for name in ("whole", "killed"))
    assert first == second and len(first["rounds"]) == 8 and first["archive"]


def test_rounds_and_weights_are_logged(tables, tmp_path) -> None:
    class Logger(pl.loggers.logger.DummyLogger):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[dict] = []

        def log_metrics(self, metrics, step=None):
            self.rows.append(dict(metrics))

    logger = Logger()
    module = module_of(tables, kind=Accepting, rounds=3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
        default_root_dir=str(tmp_path),
    )  # fmt: skip
    trainer.fit(module, data_of(tables))
    rounds = [row for row in logger.rows if "round/accepted" in row]
    assert [row["round/accepted"] for row in rounds] == [0, 0, 1]
    step = 0.1 / LABELS
    assert [row["round/weight/click"] for row in rounds] == pytest.approx([1, 1 + step, 1 + 2 * step])
    numbers = {k: float(v) for k, v in trainer.callback_metrics.items()}
    assert numbers["ippo/accepted"] == 1
    assert numbers["ippo/weight/click"] == numbers["ippo/base_weight/click"] == pytest.approx(1 + 2 * step)
    assert numbers["ippo/weight/like"] == 1
    assert {"train/tower/like", "val/bce/like", "val/label_gauc/mean"} <= set(numbers)


def test_towers_are_not_left_untrained(tables) -> None:
    """Another objective would train a head on the hidden states of random towers."""
    with pytest.raises(EmerError, match=r"MultiObjectiveBce would leave untrained.*method\.model\.inputs=pxtr"):
        module_of(tables, objective=MultiObjectiveBce())


@pytest.mark.parametrize(
    ("objective", "inputs"), [(PantheonObjective(ippo=False), "hidden"), (MultiObjectiveBce(), "pxtr")]
)
def test_without_ippo_it_is_the_plain_training(tables, tmp_path, objective, inputs) -> None:
    """One model, no archive; with Pantheon's objective on the requests that IPPO trains on, with another on all."""
    module = fitted(tables, tmp_path, objective=objective, inputs=inputs)
    assert module.base is None and not (tmp_path / "archive.json").exists()
    table = tables["train"]
    if isinstance(objective, PantheonObjective):
        table = table.select(earlier_part(table.time_ms, 0.1))
        assert len(table) == 54
    else:
        assert module.held_out_rows is None
    plain = fitted(tables, tmp_path, kind=RankerModule, inputs=inputs, data=data_of({**tables, "train": table}),
        objective=type(objective)(**({"ippo": False} if isinstance(objective, PantheonObjective) else {})),
    )  # fmt: skip
    assert same(module.model, plain.model)


def test_accumulated_batches_end_rounds_with_a_step(tables, tmp_path) -> None:
    module = module_of(tables, kind=Scripted, rounds=4)
    trainer_of(tmp_path, max_epochs=1, accumulate_grad_batches=3).fit(module, data_of(tables, batch_size=6))
    # 54 requests are 9 batches and 3 steps.
    assert [r["step"] for r in module.log_of_rounds.rounds] == [1, 2, 3]


def test_it_runs_without_towers_and_in_half_precision(tables, tmp_path) -> None:
    module = module_of(tables, inputs="pxtr", rounds=2)
    trainer = trainer_of(tmp_path, max_epochs=1, precision="bf16-mixed")
    trainer.fit(module, data_of(tables))
    assert torch.isfinite(trainer.callback_metrics["val/loss"])
    assert len(module.log_of_rounds.rounds) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_mode": "thaw"}, "method.module.base_mode is 'thaw'; it must be one of continue, frozen"),
        ({"serve": "both"}, "method.module.serve is 'both'"),
        ({"window": "last"}, "method.module.window is 'last'"),
        ({"rounds": 0}, "method.module.rounds is 0; it must be at least 1"),
        ({"bootstrap": 1}, "method.module.bootstrap is 1; it must be at least 2"),
        ({"held_out": 1.0}, "method.module.held_out is 1.0"),
        ({"mode": "strict"}, "method.module.mode is 'strict'"),
    ],
)
def test_wrong_options_are_explained(tables, options, message) -> None:
    with pytest.raises(EmerError, match=message):
        module_of(tables, **options)
