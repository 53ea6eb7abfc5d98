"""What goes wrong is said in a line, fails the command, and leaves nothing half-written."""

from __future__ import annotations

import socket
import threading

import pytest

from .conftest import TINY, read

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=parquet"], "data.root is not set"),
        (["data=parquet", "data.root=/no/such/folder"], "/no/such/folder does not exist"),
        (["data=kuairand", "data.root=/no/such/folder"], "/no/such/folder"),
        (["ckpt_path=/no/such.ckpt"], "ckpt_path: the checkpoint /no/such.ckpt does not exist"),
        (["trainer.precision=7-bit"], "precision"),
        (["trainer=gpu"], "pytorch_lightning.Trainer refuses its settings"),
        (["data.source.slate=50"], "slate is 50"),
        (["method.objective.posterior=false", "method.objective.prior=false"], "neither posterior nor prior"),
        (["baselines.objective=auc"], "baselines.objective is 'auc'"),
        (["optimized_metric=val/nothing"], "optimized_metric names val/nothing"),
        (["loader.batch_size=0"], "loader.batch_size is 0"),
        (["baselines.trials=0"], "baselines.trials is 0"),
        (["method.model.layers=0"], "model.layers is 0"),
        (["method.objective.posterior_scope=session"], "needs loader.shuffle=false"),
        (["trainer.precision=64-true"], "trainer.precision is 64-true"),
    ],
)
def test_a_failure_is_one_message(arguments, message, run, tmp_path) -> None:
    of_another_log = any(argument.startswith("data=") for argument in arguments)
    tiny = ["trainer.max_epochs=1"] if of_another_log else [*TINY, "trainer.max_epochs=1"]
    done = run("train", *tiny, "logger=none", *arguments)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.tmp"))
    for status in tmp_path.glob("outputs/train/*/status.json"):
        assert read(status)["status"] == "failed"
    assert not list(tmp_path.glob("outputs/train/*/metrics.json")) or "optimized_metric" in message


def test_a_damaged_checkpoint_is_named(run, tmp_path) -> None:
    folder = run("train", *TINY, "trainer.max_epochs=1", "logger=none", "baselines.fusion_formula=false").folder
    for name in ("best", "last"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        path.write_bytes(path.read_bytes()[:5000])
    done = run("evaluate", f"run={folder}", "checkpoint=last")
    assert done.status == 1
    assert f"checkpoint: {folder / 'checkpoints' / 'last.ckpt'} is damaged" in done.err
    (folder / "status.json").write_text((folder / "status.json").read_text().replace("finished", "failed"))
    done = run(
        "train", *TINY, "trainer.max_epochs=1", "logger=none", "baselines.fusion_formula=false", "ckpt_path=auto"
    )
    assert "last.ckpt is damaged" in done.err


def test_a_refused_resume_leaves_the_old_run_as_it_was(run, tmp_path) -> None:
    settings = [*TINY, "trainer.max_epochs=1", "logger=none", "baselines.fusion_formula=false"]
    folder = run("train", *settings, f"hydra.run.dir={tmp_path / 'here'}").folder
    before = {name: (folder / name).read_bytes() for name in ("config.yaml", "status.json", "metrics.json")}
    done = run("train", *settings, f"hydra.run.dir={folder}", "seed=2", "ckpt_path=auto")
    assert "was made with other settings" in done.err
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_evaluate_wants_a_run_folder(run, tmp_path) -> None:
    done = run("evaluate", "run=/no/such/run")
    assert (done.status, done.err.strip()) == (1, "error: run: the folder /no/such/run does not exist")
    done = run("evaluate", f"run={tmp_path}")
    assert done.status == 1
    assert "is not a run folder, it has no config.yaml" in done.err
    done = run("evaluate")
    assert "run is not set; give it on the command line as run=..." in done.err


def test_validate_names_file_row_and_column(run, tmp_path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.parquet").write_bytes(b"PAR1 but not really")
    done = run("validate", f"data.root={tmp_path / 'log'}")
    assert done.status == 1
    assert "a.parquet" in done.err
    assert "Traceback" not in done.err


class SilentServer:
    """Accepts connections and never answers."""

    def __enter__(self) -> int:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self.socket.getsockname()[1]

    def _accept(self) -> None:
        while True:
            try:
                self.kept.append(self.socket.accept()[0])
            except OSError:
                return

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.mark.parametrize("server", ["absent", "silent", "no account"])
def test_without_a_wandb_server_the_run_completes_offline(server, run) -> None:
    account = {} if server == "no account" else {"WANDB_API_KEY": "0" * 40}
    with SilentServer() as port:
        address = f"http://127.0.0.1:{port if server == 'silent' else 9}"
        done = run(
            "train", *TINY, "trainer.max_epochs=1", "logger=wandb_online", "logger.wandb.timeout=2",
            "baselines.fusion_formula=false", more={"WANDB_BASE_URL": address, **account},
        )  # fmt: skip
    folder = done.folder
    assert "goes on offline" in done.out + done.err
    assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert read(folder / "status.json")["status"] == "finished"
