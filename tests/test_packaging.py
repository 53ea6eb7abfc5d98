"""The lock and the environment it made."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
LOCK = {
    name.lower(): version
    for name, version in re.findall(
        r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
    )
}


def test_the_lock_is_exact_and_names_no_host() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    assert len(lines) == len(LOCK) > 50
    assert not [line for line in lines if "+" in line or "/" in line or "--" in line]
    assert LOCK["torch"] == "2.13.0"


def test_the_lock_covers_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [x for extra in project["optional-dependencies"].values() for x in extra]
    names = {re.match(r"[A-Za-z0-9_-]+", x).group().lower() for x in wanted}  # type: ignore[union-attr]
    assert names <= set(LOCK)


def test_no_torchvision() -> None:
    """With this torch build it breaks pytorch_lightning and torchmetrics on import."""
    assert importlib.util.find_spec("torchvision") is None
    assert "torchvision" not in LOCK
    assert torch.__version__.split("+")[0] == LOCK["torch"]


def test_nothing_tracked_names_a_machine() -> None:
    """Machine paths and package hosts stay out of the project."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    pattern = r"(/root/|/home/[a-z]|/work/[a-z]|--(extra-)?index-url|https?://[^ ]*/simple)"
    found = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ".", ":!tests/test_packaging.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""
