"""When a run is taken from another sweep, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from emer.files import write_json, write_text
from emer.jobs import reuse
from emer.jobs.reuse import finished_twin, take_over
from emer.run_folder import RunFolder


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    told: dict[str, str | None] = {"commit": "abc"}
    monkeypatch.setattr(reuse, "environment", lambda: dict(told))
    return told


def config(root: Path, identity: str = "same") -> DictConfig:
    return OmegaConf.create(
        {
            "paths": {"output_dir": str(root)},
            "run": {"identity": identity, "dir": str(root / "multirun" / "new" / "0_emer")},
            "method": {"name": "emer"},
            "data": {"name": "simulated", "root": str(root / "log")},
            "seed": 1,
        }
    )


def run(
    root: Path, sweep: str, *, identity: str = "same", status: str = "finished", commit: str = "abc", log: str = "log"
) -> Path:
    path = root / "multirun" / sweep / "3_emer"
    write_json(path / "status.json", {"status": status, "identity": identity})
    write_json(path / "environment.json", {"commit": commit})
    write_json(path / "metrics.json", {"test/label_gauc/mean": 0.5})
    write_text(path / "metrics.csv", "epoch\n0\n")
    write_text(path / "per_request.parquet", "rows")
    write_text(path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create({"data": {"root": str(root / log)}})))
    write_text(path / "checkpoints" / "best.ckpt", "weights")
    return path


def test_the_same_settings_and_commit_are_taken(tmp_path: Path, commit: dict) -> None:
    path = run(tmp_path, "old")
    twin = finished_twin(config(tmp_path))
    assert twin is not None
    assert twin.path == path
    target = RunFolder(tmp_path / "multirun" / "new" / "0_emer")
    take_over(twin, target, config(tmp_path))
    assert target.read("metrics.json") == {"test/label_gauc/mean": 0.5}
    assert target.best_checkpoint.read_text() == "weights"
    assert target.status()["status"] == "finished"
    assert target.status()["reused"] == str(path)
    assert target.load_config().run.dir == str(target.path)
    take_over(twin, target, config(tmp_path))  # once more is no error


@pytest.mark.parametrize("changed", [{"identity": "other"}, {"status": "failed"}, {"commit": "abcd"}, {"log": "newer"}])
def test_another_run_is_not(tmp_path: Path, commit: dict, changed: dict[str, str]) -> None:
    run(tmp_path, "old", **changed)
    assert finished_twin(config(tmp_path)) is None


@pytest.mark.parametrize("here", [None, "abc-dirty"])
def test_code_that_no_commit_tells_takes_nothing(tmp_path: Path, commit: dict, here: str | None) -> None:
    commit["commit"] = here
    run(tmp_path, "old", commit=str(here))
    assert finished_twin(config(tmp_path)) is None


def test_a_run_is_not_its_own_twin(tmp_path: Path, commit: dict) -> None:
    path = run(tmp_path, "new")
    cfg = config(tmp_path)
    cfg.run.dir = str(path)
    assert finished_twin(cfg) is None


def test_a_run_is_not_its_own_twin_by_another_way_to_its_folder(
    tmp_path: Path, commit: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paths.output_dir is relative and run.dir absolute: taking itself over, a run would lose its results."""
    path = run(tmp_path, "new")
    monkeypatch.chdir(tmp_path)
    cfg = config(tmp_path)
    cfg.paths.output_dir, cfg.run.dir = ".", str(path)
    assert finished_twin(cfg) is None
    cfg.run.dir = str(tmp_path / "multirun" / "newer" / "0_emer")
    assert finished_twin(cfg) is not None


def test_other_packages_are_another_run(tmp_path: Path, commit: dict) -> None:
    run(tmp_path, "old")
    commit["packages"] = {"torch": "99"}
    assert finished_twin(config(tmp_path)) is None


@pytest.mark.parametrize("lost", ["metrics.json", "per_request.parquet", "config.yaml", "checkpoints/best.ckpt"])
def test_a_run_that_lost_a_file_is_not_taken(tmp_path: Path, commit: dict, lost: str) -> None:
    (run(tmp_path, "old") / lost).unlink()
    assert finished_twin(config(tmp_path)) is None
