"""The README's commands, on a log of seconds: what a run leaves, twice the same, on two processes, resumed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from .conftest import ROOT, TINY, read

pytestmark = pytest.mark.e2e


def test_a_run_leaves_everything_and_evaluates_to_the_same(run) -> None:
    done = run("train", *TINY, shell=True)
    folder = done.folder
    for name in (
        "config.yaml", "metrics.json", "metrics.csv", "per_request.parquet", "status.json", "environment.json",
        "comparison.json", "validation.json", "timing.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert read(folder / "status.json")["status"] == "finished"
    assert not list(folder.rglob("*.tmp"))

    metrics = read(folder / "metrics.json")
    assert all(isinstance(value, (int, float, type(None))) for value in metrics.values())
    assert not any("second" in name for name in metrics)
    assert metrics["test/pxtr_gauc/mean"] > metrics["test/random/pxtr_gauc/mean"] == 0.5
    values = pq.read_table(folder / "per_request.parquet")
    assert values.num_rows == 101
    weight, value = values["n_candidates"].to_numpy(), values["pxtr_gauc/pltr"].to_numpy()
    assert metrics["test/pxtr_gauc/pltr"] == pytest.approx((weight * value).sum() / weight.sum(), abs=1e-12)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)["epoch"] == 2
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert read(folder / "validation.json")["val/loss"] == min(float(row["val/loss"]) for row in rows)

    for heading in ("emer", "fusion formula", "random", "pxtr GAUC", "label GAUC", "pltr"):
        assert heading in done.out
    again = run("evaluate", f"run={folder}", shell=True)
    assert "metrics equal the run's own exactly" in again.out
    for name in ("metrics.json", "comparison.json"):
        assert (again.folder / name).read_bytes() == (folder / name).read_bytes()


def test_the_same_seed_gives_the_same_bytes(run) -> None:
    # Forks share their hash seed; a process of its own has another.
    first, second, other = (
        run("train", *TINY, "logger=none", "baselines.fusion_formula=false", f"seed={seed}", shell=shell).folder
        for seed, shell in ((3, True), (3, False), (4, False))
    )
    assert first != second
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    assert (first / "metrics.json").read_bytes() != (other / "metrics.json").read_bytes()


def test_search_on_two_processes(run) -> None:
    done = run(
        "train", "-m", *TINY, "hparams_search=tpe", "hydra.sweeper.n_trials=2", "trainer.max_epochs=1", "logger=none",
        "trainer=ddp_cpu", "hydra.sweeper.params={method.model.width: null}",
        "baselines.fusion_formula=false",
    )  # fmt: skip
    trials = read(done.folder / "sweep.json")["trials"]
    assert trials[0]["params"] != trials[1]["params"]
    assert "method.model.width" not in trials[0]["params"], "null takes a parameter out"
    alone = run(
        "train", *TINY, "trainer.max_epochs=1", "logger=none", "trainer=ddp_cpu", "baselines.fusion_formula=false",
        *(f"{key}={value}" for key, value in trials[1]["params"].items()),
    )  # fmt: skip
    assert read(alone.folder / "validation.json")["val/loss"] == trials[1]["values"][0]


def test_interrupted_is_not_failed(tmp_path, shared_cache, environment, run) -> None:
    """Ctrl-C: the status says so, and the run can be resumed."""
    settings = [*TINY, "logger=none", "baselines.fusion_formula=false", "trainer.max_epochs=400", "patience=1000"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *settings, f"paths.cache_dir={shared_cache}"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("outputs/train/*/checkpoints/last.ckpt")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    (folder,) = tmp_path.glob("outputs/train/*")
    assert read(folder / "status.json")["status"] == "interrupted"


def test_auto_refuses_the_checkpoint_of_other_settings(run, tmp_path) -> None:
    sweep = ["-m", *TINY, "trainer.max_epochs=1", "logger=none", "baselines.fusion_formula=false"]
    sweep += [f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    first = run("train", *sweep, "+ablation=full", "method.optimizer.lr=1e-3").folder
    kept = (first / "metrics.json").read_bytes()
    other = run("train", *sweep, "+ablation=full", "method.optimizer.lr=1e-2", "ckpt_path=auto")
    assert other.status == 1
    assert "was made with other settings" in other.err
    same = run("train", *sweep, "+ablation=full", "method.optimizer.lr=1e-3", "ckpt_path=auto")
    assert same.status == 0 or "is finished already" in same.out
    assert (first / "metrics.json").read_bytes() == kept


@pytest.mark.parametrize("preset", ["default", "overfit", "profile"])
def test_debug_presets_run(preset, run) -> None:
    done = run("train", *TINY, f"debug={preset}", "trainer.max_epochs=1")
    assert done.folder.parent.name == "debug"
    assert (done.folder / "fit-profile.txt").is_file() == (preset == "profile")


@pytest.mark.parametrize("method", ["emer", "fusion_formula"])
def test_killed_and_resumed_equals_uninterrupted(method, run, tmp_path, shared_cache, environment) -> None:
    settings = TINY if method == "emer" else ["experiment=tiny", "method=fusion_formula"]
    settings = [*settings, "logger=none", "trainer.max_epochs=6", "baselines.fusion_formula=false"]
    settings += ["method.previous.source=snapshot", "method.model.dropout=0.1"] if method == "emer" else []
    whole = run("train", *settings).folder

    outputs = tmp_path / "killed"
    command = [sys.executable, str(ROOT / "train.py"), *settings, f"paths.cache_dir={shared_cache}"]
    process = subprocess.Popen(
        [*command, f"paths.output_dir={outputs}"], cwd=tmp_path, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(outputs.glob("train/*/checkpoints/last.ckpt")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (killed,) = outputs.glob("train/*")
    assert read(killed / "status.json")["status"] == "running", "the run was over before it was killed"
    assert not (killed / "metrics.json").exists()

    resumed = run("train", *settings, f"paths.output_dir={outputs}", "ckpt_path=auto")
    assert resumed.folder == killed
    for name in ("metrics.json", "metrics.csv", "validation.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    once_more = run("train", *settings, f"paths.output_dir={outputs}", "ckpt_path=auto")
    assert once_more.folder != killed, "a finished run is not resumed"


def test_two_processes_evaluate_to_the_same_and_make_one_wandb_run(run) -> None:
    done = run("train", *TINY, "trainer=ddp_cpu", "trainer.max_epochs=2")
    folder = done.folder
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert done.out.count("epoch 2/2") == 1
    alone = run("evaluate", f"run={folder}", "trainer=cpu")
    together = run("evaluate", f"run={folder}", "trainer=ddp_cpu")
    one, two = read(alone.folder / "metrics.json"), read(together.folder / "metrics.json")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == (None if value is None else pytest.approx(value, abs=1e-6)), name
    assert (alone.folder / "comparison.json").read_bytes() == (folder / "comparison.json").read_bytes()
    assert not list(together.folder.parent.glob(".*")), "nothing temporary is left"


def test_a_sweep_on_two_processes_trains_what_it_says_and_goes_on_after_a_failure(run) -> None:
    """Each job's ranks must get that job's settings: one that diverges, one equal to the same settings run alone."""
    settings = [*TINY, "trainer.max_epochs=1", "trainer.gradient_clip_val=null", "trainer=ddp_cpu", "logger=none"]
    settings += ["baselines.fusion_formula=false"]
    done = run("train", "-m", *settings, "method.optimizer.lr=1e12,0.02")
    assert done.status == 1
    assert "training has diverged" in done.err
    assert "Traceback" not in done.err
    sweep = Path(done.out.strip().splitlines()[-1]).parent
    folders = sorted(p for p in sweep.iterdir() if p.is_dir())
    assert [folder.name[0] for folder in folders] == ["0", "1"]
    assert [read(folder / "status.json")["status"] for folder in folders] == ["failed", "finished"]
    alone = run("train", *settings, "method.optimizer.lr=0.02").folder
    assert (folders[1] / "metrics.json").read_bytes() == (alone / "metrics.json").read_bytes()


def test_a_sweep_of_ablations_labels_its_runs(run) -> None:
    done = run(
        "train", "-m", *TINY, "+ablation=no_comp,no_prior,[no_post,no_evolve]", "trainer.max_epochs=1",
        "baselines.fusion_formula=false",
    )  # fmt: skip
    folders = sorted(p for p in done.folder.parent.iterdir() if p.is_dir())
    labels = [read(folder / "status.json")["label"] for folder in folders]
    assert labels == [f"emer-{x}_simulated_seed1" for x in ("no_comp", "no_prior", "no_post-no_evolve")]
    assert all(label in folder.name for label, folder in zip(labels, folders, strict=True))
    assert all(len(list(folder.glob("wandb/offline-run-*"))) == 1 for folder in folders)


def test_hyper_parameter_search(run) -> None:
    done = run(
        "train", "-m", *TINY, "hparams_search=tpe", "hydra.sweeper.n_trials=3", "trainer.max_epochs=1", "logger=none",
        "hydra.sweeper.params={method.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}",
        "baselines.fusion_formula=false",
    )  # fmt: skip
    sweep = read(done.folder / "sweep.json")
    assert [t["state"] for t in sweep["trials"]] == ["complete"] * 3
    values = [t["values"][0] for t in sweep["trials"]]
    assert sweep["best"] == [values.index(min(values))]
    for trial, folder in zip(sweep["trials"], sorted(p for p in done.folder.iterdir() if p.is_dir()), strict=True):
        assert read(folder / "validation.json")["val/loss"] == trial["values"][0]
        rate = trial["params"]["method.optimizer.lr"]
        assert f"lr: {rate}" in (folder / "config.yaml").read_text()


def test_search_over_two_metrics_keeps_the_front(run) -> None:
    done = run(
        "train", "-m", *TINY, "hparams_search=nsga2", "hydra.sweeper.n_trials=4", "trainer.max_epochs=1", "logger=none",
        "baselines.fusion_formula=false", "hydra.sweeper.population=2",
    )  # fmt: skip
    sweep = read(done.folder / "sweep.json")
    assert [t["state"] for t in sweep["trials"]] == ["complete"] * 4
    points = [t["values"] for t in sweep["trials"]]
    beaten = [any(all(a >= b for a, b in zip(q, p, strict=True)) and q != p for q in points) for p in points]
    assert [i for i in range(4) if not beaten[i]] == sorted(sweep["best"])
