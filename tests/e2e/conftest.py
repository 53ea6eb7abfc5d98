"""Jobs as a user starts them, on a log of seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
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


def clean_environment() -> dict[str, str]:
    """The caller's environment without accounts or leftovers of other runs."""
    drop = ("WANDB_", "HYDRA_", "LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The clean environment, with this test's folder as home."""
    return {
        **clean_environment(),
        "WANDB_CONFIG_DIR": str(tmp_path / "wandb_config"),
        "HOME": str(tmp_path),
        "COLUMNS": "100",
    }


class JobServer:
    """The other end of ``job_server.py``."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("job_server.py"))],
            env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def answer(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the job server is gone"
        return int(line)

    def run(self, arguments: list[str], folder: Path, environment: dict[str, str], timeout: float) -> Result:
        """Fork, wait, and kill what takes too long."""
        streams = {name: folder / f".{name}-{uuid.uuid4().hex}" for name in ("out", "err")}
        request = {
            "arguments": arguments,
            "cwd": str(folder),
            "environment": environment,
            **{name: str(path) for name, path in streams.items()},
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        timer = threading.Timer(timeout, os.kill, (self.answer(), signal.SIGKILL))
        timer.start()
        try:
            status = self.answer()
        finally:
            timer.cancel()
        return Result(status, *(path.read_text(encoding="utf-8") for path in streams.values()))

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="session")
def job_server() -> Iterator[JobServer]:
    server = JobServer()
    yield server
    server.close()


@pytest.fixture
def run(
    tmp_path: Path, shared_cache: Path, environment: dict[str, str], job_server: JobServer
) -> Callable[..., Result]:
    """Runs ``emer <job> ...`` in a process of its own, with outputs in this test's folder.

    The process is a fork of one that has the imports behind it, or with ``shell=True`` the README's command as a
    shell would start it.
    """

    def call(
        job: str, *arguments: str, more: dict[str, str] | None = None, timeout: float = 300, shell: bool = False
    ) -> Result:
        paths = [f"paths.output_dir={tmp_path / 'outputs'}", f"paths.cache_dir={shared_cache}"]
        variables = {**environment, **(more or {})}
        if not shell:
            return job_server.run([job, *paths, *arguments], tmp_path, variables, timeout)
        command = [str(ROOT / "train.py")] if job == "train" else ["-m", "emer.cli", job]
        done = subprocess.run(
            [sys.executable, *command, *paths, *arguments],
            cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    return call
