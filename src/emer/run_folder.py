"""The folder that every run leaves, and how a killed run finds its own again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from emer.errors import EmerError
from emer.files import write_json, write_text
from emer.labels import identity, run_label
from emer.processes import is_rank, job_name

_PACKAGES = (
    "emer",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "wandb",
    "numpy",
    "pyarrow",
    "optuna",
)


RESULTS = (
    "metrics.json", "metrics.csv", "per_request.parquet", "comparison.json", "validation.json", "timing.json",
    "relations.json", "relations.png", "archive.json", "weights.csv",
)  # fmt: skip


class RunFolder:
    """Reads and writes the files of one run.

    - ``config.yaml``: resolved config; ``environment.json``: versions and machine;
    - ``status.json``: running, finished, failed or interrupted, with the error;
    - ``metrics.csv``: one row per epoch; ``validation.json``: the best epoch's row;
    - ``weights.csv``: the evolving weights, every few steps, where the objective has them;
    - ``metrics.json``: flat test metrics; ``per_request.parquet``: the same per request;
    - ``comparison.json``: against the baselines, with intervals; ``timing.json``: seconds;
    - ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.checkpoints / "best.ckpt"

    def start(self, cfg: DictConfig, keep: bool = False) -> None:
        """Write config, environment and the status ``running``; unless ``keep``, remove an older run's results."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not keep:
            for name in RESULTS:
                (self.path / name).unlink(missing_ok=True)
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_json(self.path / "environment.json", environment())
        about = {"label": run_label(cfg), "identity": cfg.run.identity, "seed": cfg.seed}
        process = {"host": platform.node(), "pid": os.getpid()}
        write_json(self.path / "status.json", {"status": "running", **about, **process})

    def set_status(self, status: str, **more: Any) -> None:
        """Update ``status.json``, keeping what it already says."""
        write_json(self.path / "status.json", {**self.status(), "status": status, **more})

    def is_alive(self) -> bool:
        """Whether a process of this machine is still working on the run."""
        status = self.status()
        if status.get("status") != "running" or status.get("host") != platform.node():
            return False
        try:
            os.kill(int(status["pid"]), 0)
        except (OSError, KeyError, ValueError):
            return False
        return int(status["pid"]) != os.getpid()

    def status(self) -> dict[str, Any]:
        """Content of ``status.json``; empty if there is none that can be read."""
        return self.read("status.json")

    def read(self, name: str) -> dict[str, Any]:
        """Content of one of the folder's JSON files; empty if there is none that can be read."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def load_config(self) -> DictConfig:
        """The resolved config.

        Raises:
            EmerError: the folder is not a run folder.
        """
        path = self.path / "config.yaml"
        if not self.path.is_dir():
            raise EmerError(f"run: the folder {self.path} does not exist")
        if not path.is_file():
            raise EmerError(f"run: {self.path} is not a run folder, it has no config.yaml")
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig):
            raise EmerError(f"run: {path} does not hold a config")
        return config


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the source tree, with ``-dirty`` if it has changes; None outside a checkout."""
    here = Path(__file__).parent
    if not (here.parents[1] / ".git").exists():
        return None  # installed somewhere inside another project's checkout, perhaps
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def find_unfinished(root: Path, wanted: str) -> Path | None:
    """The newest run folder directly below ``root`` with identity ``wanted`` that did not finish."""
    candidates = []
    for status_file in root.glob("*/status.json"):
        folder = RunFolder(status_file.parent)
        status = folder.status()
        resumable = status.get("status") != "finished" and folder.last_checkpoint.is_file()
        if status.get("identity") == wanted and resumable and not folder.is_alive():
            candidates.append(folder.path)
    return max(candidates, key=lambda path: path.name, default=None)


_started = datetime.now()


def single_run_dir(cfg: DictConfig) -> str:
    """Folder of a run that is not part of a sweep: a time and a label, or the run that ``auto`` resumes.

    Ranks that torchrun or SLURM started compose this each for itself, so theirs is named after the job instead.

    Raises:
        EmerError: the launcher gave the job no name.
    """
    root = Path(str(cfg.paths.output_dir)) / str(cfg.task_name)
    if cfg.get("ckpt_path") == "auto":
        unfinished = find_unfinished(root, identity(cfg))
        if unfinished is not None:
            return str(unfinished)
    if is_rank():
        name = job_name()
        if name is None:
            raise EmerError("torchrun needs --standalone or --rdzv-id=<a new name>: the run folder is named after it")
        return str(root / f"{name}_{run_label(cfg)}")
    return str(root / f"{_started:%Y-%m-%d_%H-%M-%S-%f}_{run_label(cfg)}")
