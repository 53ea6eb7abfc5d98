"""Jobs as a user starts them, on a log of seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TINY = ["experiment=tiny", "method.model.width=16", "method.model.heads=2", "method.model.feedforward=32"]


@dataclass
class Result:
    """A finished command."""

    status: int
    out: str
    err: str

    @property
    def folder(self) -> Path:
        """The last line that a job prints is the folder it wrote."""
        assert self.status == 0, self.err[-3000:]
        return Path(self.out.strip().splitlines()[-1])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated log and tuned formulas of all these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The caller's environment without accounts or leftovers of other runs."""
    drop = ("WANDB_", "HYDRA_", "LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    return {**kept, "WANDB_CONFIG_DIR": str(tmp_path / "wandb_config"), "HOME": str(tmp_path), "COLUMNS": "100"}


@pytest.fixture
def run(tmp_path: Path, shared_cache: Path, environment: dict[str, str]) -> Callable[..., Result]:
    """Runs ``emer <job> ...`` in a process of its own, with outputs in this test's folder."""

    def call(job: str, *arguments: str, more: dict[str, str] | None = None, timeout: float = 300) -> Result:
        command = (
            [sys.executable, str(ROOT / "train.py")] if job == "train" else [sys.executable, "-m", "emer.cli", job]
        )
        done = subprocess.run(
            [*command, f"paths.output_dir={tmp_path / 'outputs'}", f"paths.cache_dir={shared_cache}", *arguments],
            cwd=tmp_path,
            env={**environment, **(more or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call
