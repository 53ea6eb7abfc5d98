"""Training from Parquet that stays in its files: one process and two, resumed in the middle of an epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import TINY, read

pytestmark = pytest.mark.e2e

STREAM = ["data=parquet", "logger=none", "loader.stream=true", "loader.buffer=64", "loader.batch_size=16"]
STREAM += ["method.model.dropout=0.1"]
STEPS = "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: %s, filename: 'step{step}', "
STEPS += "auto_insert_metric_name: false, every_n_train_steps: 5, save_top_k: -1, monitor: null}"


@pytest.fixture
def root(run) -> Path:
    """Folder of the tiny log: 192 training requests, 12 batches."""
    return run("prepare", "data=tiny").folder


@pytest.mark.parametrize(("trainer", "workers"), [("cpu", 1), ("ddp_cpu", 0)])
def test_a_stream_goes_on_in_the_middle_of_an_epoch(
    run, root: Path, tmp_path: Path, trainer: str, workers: int
) -> None:
    settings = [*TINY, *STREAM, f"data.root={root}", f"trainer={trainer}", "trainer.max_epochs=2"]
    settings += [f"loader.num_workers={workers}", "baselines.fusion_formula=false"]
    whole = run("train", *settings, f"+callbacks.steps={STEPS % (tmp_path / 'steps')}").folder
    assert {path.name for path in (tmp_path / "steps").iterdir()} == {f"step{s}.ckpt" for s in (5, 10, 15, 20)}
    elsewhere = [f"ckpt_path={tmp_path / 'steps' / 'step5.ckpt'}", f"paths.output_dir={tmp_path / 'again'}"]
    again = run("train", *settings, *elsewhere).folder
    assert (again / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


def test_a_streamed_run_has_the_whole_table(run, root: Path) -> None:
    settings = [*TINY, *STREAM, "trainer.max_epochs=1"]
    done = run("train", *settings, f"data.root=file://{root}")
    held = run("train", *settings, f"data.root={root}", "loader.stream=false").folder
    for heading in ("emer", "fusion formula", "random", "pxtr GAUC", "label GAUC", "pltr"):
        assert heading in done.out
    ours, theirs = (read(folder / "comparison.json") for folder in (done.folder, held))
    formula = {name: values["fusion_formula"] for name, values in theirs.items() if "fusion_formula" in values}
    assert formula and {name: ours[name]["fusion_formula"] for name in formula} == formula
    again = run("evaluate", f"run={done.folder}")
    assert "metrics equal the run's own exactly" in again.out


def test_methods_that_need_the_whole_log_refuse_a_stream(run, root: Path) -> None:
    done = run("train", "experiment=tiny", *STREAM[:-1], f"data.root={root}", "method=pantheon")
    assert done.status == 1
    assert "needs the whole log in memory: set loader.stream=false" in done.err and "Traceback" not in done.err
