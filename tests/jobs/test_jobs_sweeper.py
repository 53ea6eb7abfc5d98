"""Hand-picked jobs are crossed with the command line's sweep, and only with that."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from emer.errors import EmerError
from emer.files import write_json


def split(jobs: list[str], *arguments: str, batch: int | None = None) -> list[list[list[str]]]:
    # Hydra imports its plugins anew when it looks for them, so a class imported before that has a stale base.
    Plugins.instance()
    sweeper = importlib.import_module("hydra_plugins.emer_jobs.sweeper").JobsSweeper(jobs)
    overrides = OverridesParser.create().parse_overrides(list(arguments))
    return sweeper.split_arguments(overrides, batch)


def test_each_job_meets_each_point_of_the_grid() -> None:
    [batch] = split(["method=emer +ablation=no_comp", "method=borda"], "seed=1,2", "data=tiny")
    assert batch == [
        ["method=emer", "+ablation=no_comp", "seed=1", "data=tiny"],
        ["method=emer", "+ablation=no_comp", "seed=2", "data=tiny"],
        ["method=borda", "seed=1", "data=tiny"],
        ["method=borda", "seed=2", "data=tiny"],
    ]


def test_batches_hold_what_the_launcher_gets_at_a_time() -> None:
    batches = split(["method=emer", "method=borda"], "seed=1,2,3", batch=4)
    assert [len(batch) for batch in batches] == [4, 2]


def test_jobs_alone_are_enough() -> None:
    assert split(["method=emer", "method=borda"]) == [[["method=emer"], ["method=borda"]]]


def test_what_the_jobs_set_is_not_set_twice() -> None:
    with pytest.raises(EmerError, match=r"method is set by the sweep's jobs"):
        split(["method=emer"], "method=urem", "seed=1")
    with pytest.raises(EmerError, match=r"ablation is set by the sweep's jobs"):
        split(["method=emer +ablation=no_comp"], "+ablation=full,no_post")
    with pytest.raises(EmerError, match="jobs is empty"):
        split([])


def test_a_job_is_no_sweep_of_its_own() -> None:
    message = r"hydra\.sweeper\.jobs: seed=1,2 in 'method=emer seed=1,2' has several values; write a job for each"
    with pytest.raises(EmerError, match=message):
        split(["method=emer seed=1,2"])
    with pytest.raises(EmerError, match="'method=emer method=linear' sets method twice"):
        split(["method=emer method=linear"])
    with pytest.raises(EmerError, match="has an empty job"):
        split(["method=emer", ""])
    assert split(["method=emer tags=[a,b]"]) == [[["method=emer", "tags=[a,b]"]]]


@pytest.mark.parametrize(("started", "ends"), [(True, 1), (False, 0)])
def test_a_sweep_with_a_failed_job_still_ends_with_its_table(tmp_path: Path, started: bool, ends: int) -> None:
    """Hydra calls back at the end of a sweep only if no job failed."""
    Plugins.instance()
    sweeper = importlib.import_module("hydra_plugins.emer_jobs.sweeper").JobsSweeper(["method=emer"])
    told: list[str] = []
    callbacks = SimpleNamespace(on_multirun_end=lambda config, config_name: told.append(config_name))
    sweeper.hydra_context = SimpleNamespace(callbacks=callbacks)
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "job": {"config_name": "train"}}})
    sweeper.launcher = None  # where the sweep of Hydra stops with an error
    if started:
        write_json(tmp_path / "0_emer" / "status.json", {"status": "failed"})
    with pytest.raises(AssertionError):
        sweeper.sweep([])
    assert told == ["train"] * ends
