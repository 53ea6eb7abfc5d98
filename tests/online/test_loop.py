"""The closed loop: what is served is logged and learnt, what is published serves, interruptions leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from tests.methods.conftest import method_config

from emer.config_files import config_dir
from emer.data.parquet import read_requests
from emer.data.simulated import simulated_schema
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.online.gate import judge, mean_label_gauc
from emer.online.incremental import IncrementalTrainer
from emer.online.loop import FORMULA, ClosedLoop, LoopSettings
from emer.online.setting import Setting
from emer.world.exposure import fusion_score

HOURS = 12


def trainer(*overrides: str) -> IncrementalTrainer:
    torch.manual_seed(0)
    small = ["method.model.width=16", "method.model.heads=2", "method.model.feedforward=16"]
    node = method_config(*(overrides or ("method=emer", *small))).method.module
    return IncrementalTrainer(instantiate(node, schema=simulated_schema(), top_k=5), batch_size=16)


def loop(folder: Path, hours: int = HOURS, **settings) -> ClosedLoop:
    setting = Setting(users=120, videos=1000, candidates=16, slate=5)
    given = {"users": 120, "warmup_hours": 8, "held_out": 0.2, "tolerance": 1.0} | settings
    return ClosedLoop(setting, trainer(), LoopSettings(hours=hours, **given), folder)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def finished(hydra, tmp_path_factory) -> ClosedLoop:
    made = loop(tmp_path_factory.mktemp("loop") / "a")
    made.run()
    return made


def tables(of: ClosedLoop):
    return {int(p.name[5:]): read_requests(p) for p in sorted((of.folder / "logs").iterdir())}


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_the_formula_serves_until_the_first_model_is_published(finished) -> None:
    versions = [int(row["version"]) for row in finished.rows]
    assert versions[:8] == [0] * 8
    assert versions[8:] == [1, 2, 3, 4]
    for hour, table in tables(finished).items():
        of_formula = fusion_score(table.pxtr)
        assert np.array_equal(table.previous_score, of_formula) == (versions[hour] == 0)


def test_both_sides_are_the_same_as_long_as_the_formula_serves_both(finished) -> None:
    for row in finished.rows[:8]:
        assert row["model/stay_time"] == row[f"{FORMULA}/stay_time"]
    assert any(row["model/stay_time"] != row[f"{FORMULA}/stay_time"] for row in finished.rows[8:])


def test_the_log_has_every_request_once_in_its_hour(finished) -> None:
    logs = tables(finished)
    assert sum(map(len, logs.values())) == sum(row["model/requests"] for row in finished.rows)
    ids = np.concatenate([table.request_id for table in logs.values()])
    assert np.array_equal(np.sort(ids), np.arange(ids.size))
    start = min(table.time_ms.min() for table in logs.values()) // 86_400_000 * 86_400_000
    for hour, table in logs.items():
        assert (((table.time_ms - start) // 3_600_000) == hour).all()


@pytest.mark.slow
def test_an_interruption_leaves_no_trace(finished, tmp_path) -> None:
    """Killed at the end of one hour, and in the middle of another after its log was written."""
    first = loop(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda _: stop_after(first, 5))
    second = loop(tmp_path / "b")
    learn = second.trainer.learn

    def broken(table):
        if second.hour == 9:
            raise KeyboardInterrupt
        return learn(table)

    second.trainer.learn = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        second.run()
    third = loop(tmp_path / "b")
    third.run()
    assert third.rows == finished.rows
    assert same_weights(third.serving, finished.serving)
    for arm, totals in third.totals().items():
        for name, value in totals.values.items():
            assert np.array_equal(value, finished.totals()[arm].values[name]), name
    for hour, table in tables(finished).items():
        assert table.differing_columns(tables(third)[hour]) == []


def stop_after(running: ClosedLoop, hour: int) -> None:
    if running.hour == hour:
        raise KeyboardInterrupt


def test_a_version_is_the_model_that_served(finished) -> None:
    files = sorted((finished.folder / "versions").iterdir())
    assert [int(path.stem) for path in files] == list(range(1, finished.version + 1))
    last = torch.load(files[-1], weights_only=True)["model"]
    assert all(torch.equal(value, finished.serving.state_dict()[name]) for name, value in last.items())


def test_what_the_gate_refuses_does_not_serve(tmp_path) -> None:
    made = loop(tmp_path / "c", hours=10, tolerance=0.0)
    worse = iter(range(100))
    made.trainer.snapshot = lambda: Backwards(next(worse))  # type: ignore[method-assign,return-value]
    made.run()
    assert [row["published"] for row in made.rows if "published" in row] == [False, False, False]
    assert made.version == 0 and not (made.folder / "versions").exists()


class Backwards(torch.nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, batch):
        """What nobody clicked comes first."""
        return -batch.label.sum(dim=-1)


def test_the_gate_by_hand(finished) -> None:
    table = next(iter(tables(finished).values()))
    perfect, backwards = (lambda b: b.label[..., 0]), (lambda b: -b.label[..., 0])
    assert mean_label_gauc(perfect, table) > 0.7
    assert not judge(backwards, perfect, table, 0.1).passed
    assert judge(perfect, backwards, table, 0.0).passed
    assert judge(backwards, perfect, table, 1.0).passed
    assert judge(backwards, perfect, table.select(np.arange(0)), 0.0).passed


def test_the_gate_leaves_out_labels_that_hardly_any_request_tells_of(finished) -> None:
    table = RequestTable.concat(list(tables(finished).values()))
    rare = table.label[:, -1].sum()
    assert 0 < rare < 30
    by_click = mean_label_gauc(lambda b: b.label[..., 0], table)
    against_the_rare = mean_label_gauc(lambda b: b.label[..., 0] - 2 * b.label[..., -1], table)
    assert against_the_rare == pytest.approx(by_click, abs=0.02)


def test_held_out_requests_are_not_learnt_from(tmp_path) -> None:
    made, seen = loop(tmp_path / "d", hours=6), []
    learn = made.trainer.learn
    made.trainer.learn = lambda table: (seen.append(table.request_id), learn(table))[1]  # type: ignore[method-assign]
    made.run()
    learnt = np.concatenate(seen)
    apart = np.concatenate([table.request_id for table in made.held_out])
    assert apart.size and not np.isin(apart, learnt).any()


@pytest.mark.parametrize("overrides", [("method=pantheon",), ("method=fusion_formula",)])
def test_methods_that_need_more_than_a_stream_are_refused(overrides) -> None:
    with pytest.raises(EmerError, match="online training takes methods that learn from one batch after the other"):
        trainer(*overrides)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hours": 0}, "loop.hours is 0"),
        ({"held_out": 1.0}, "loop.held_out is 1.0"),
        ({"users": 121}, r"loop.users is 121; the world has 120"),
    ],
)
def test_wrong_settings_of_the_loop_are_refused(settings, message, tmp_path) -> None:
    with pytest.raises(EmerError, match=message):
        loop(tmp_path, **settings)
