from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emer.errors import EmerError
from emer.training import callbacks
from emer.training.callbacks import RandomState, RanksAgree, StopEarly, Throughput, WeightHistogram, WeightTrajectory


def draw() -> list[float]:
    return [torch.rand(1).item(), random.random(), float(np.random.rand())]  # noqa: NPY002


def test_random_state_continues_where_it_was_saved(tmp_path) -> None:
    torch.manual_seed(1)
    draw()
    torch.save(RandomState().state_dict(), tmp_path / "state.pt")
    expected = draw()
    draw()
    restored = RandomState()
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    restored.on_train_start(None, None)  # type: ignore[arg-type]
    assert draw() == expected


def test_a_fresh_run_keeps_its_own_random_state() -> None:
    torch.manual_seed(1)
    expected = draw()[0]
    torch.manual_seed(1)
    RandomState().on_train_start(None, None)  # type: ignore[arg-type]
    assert draw()[0] == expected


def test_a_run_that_had_stopped_does_not_start_again() -> None:
    stopper = StopEarly(monitor="val/loss", patience=2)
    trainer = SimpleNamespace(should_stop=False)
    stopper.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert not trainer.should_stop
    stopper.load_state_dict({"wait_count": 2, "stopped_epoch": 4, "best_score": torch.tensor(1.0), "patience": 2})
    stopper.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop


def test_histograms_need_a_positive_interval() -> None:
    with pytest.raises(EmerError, match="every_n_steps is 0"):
        WeightHistogram(0)


def test_weights_are_averaged_over_requests_and_steps(tmp_path) -> None:
    trajectory = WeightTrajectory(str(tmp_path / "weights.csv"), every_n_steps=2)
    trainer = SimpleNamespace(global_step=0, is_global_zero=True)
    module = SimpleNamespace(last_weights=None, last_weight_names=("pctr", "pltr"))
    trajectory.on_train_start(trainer, module)  # type: ignore[arg-type]

    def step(number: int, weights: list[list[float]]) -> None:
        trainer.global_step, module.last_weights = number, torch.tensor(weights)
        trajectory.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]

    step(1, [[1.0, 2.0], [3.0, 2.0]])
    step(1, [[99.0, 99.0]])  # gradients are accumulated: no step
    restored = WeightTrajectory(str(tmp_path / "weights.csv"), every_n_steps=2)
    restored.load_state_dict(trajectory.state_dict())
    trajectory = restored
    trajectory.on_train_start(trainer, module)  # type: ignore[arg-type]
    step(2, [[4.0, 6.0]])
    step(3, [[7.0, 7.0]])
    trajectory.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert (tmp_path / "weights.csv").read_text().splitlines() == ["step,pctr,pltr", "2,3.0,4.0"]


def test_trajectories_need_a_positive_interval_and_an_objective_with_weights(tmp_path) -> None:
    with pytest.raises(EmerError, match=r"weight_trajectory\.every_n_steps is 0"):
        WeightTrajectory("weights.csv", 0)
    trajectory = WeightTrajectory(str(tmp_path / "weights.csv"), 1)
    trainer = SimpleNamespace(global_step=1, is_global_zero=True)
    trajectory.on_train_batch_end(trainer, SimpleNamespace(), None, None, 0)  # type: ignore[arg-type]
    trajectory.on_train_epoch_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert not (tmp_path / "weights.csv").exists()


@pytest.mark.parametrize(("identities", "message"), [(("a", "a"), "agreed"), (("a", "b"), "rank 0: a, rank 1: b")])
def test_ranks_with_different_settings_stop(identities, message, on_two_processes) -> None:
    """Both ranks must raise: one alone would leave the other waiting."""

    def agree(rank: int) -> str:
        try:
            RanksAgree(identities[rank]).setup(None, None, "fit")  # type: ignore[arg-type]
        except EmerError as error:
            return str(error)
        return "agreed"

    assert all(message in answer for answer in on_two_processes(agree))


def test_the_speed_leaves_out_the_first_step_which_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 10.5, 11.0, 12.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    throughput = Throughput()
    assert throughput.rows_per_second is None

    def step(candidates: int) -> None:
        batch = SimpleNamespace(mask=torch.ones(1, candidates, dtype=torch.bool))
        throughput.on_train_batch_start(None, None, batch, 0)  # type: ignore[arg-type]
        throughput.on_train_batch_end(None, None, None, batch, 0)  # type: ignore[arg-type]

    step(18)
    assert throughput.rows_per_second == 2.0  # nothing else is known: 18 in 9 seconds
    step(30)
    step(60)
    assert throughput.rows_per_second == 60.0  # 90 in .5 and 1 seconds
