"""A run that another sweep has made already is taken from there: tables that share a method train it once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from omegaconf import DictConfig

from emer.run_folder import RESULTS, RunFolder, environment


def finished_twin(cfg: DictConfig) -> RunFolder | None:
    """The newest finished run below ``paths.output_dir/multirun`` with these settings and of this very code.

    None where the code has no commit to compare, or has changes that are in none.
    """
    commit = environment()["commit"]
    if commit is None or commit.endswith("-dirty"):
        return None
    found = []
    for path in Path(str(cfg.paths.output_dir)).glob("multirun/*/*/status.json"):
        folder = RunFolder(path.parent)
        status = folder.status()
        same = status.get("identity") == cfg.run.identity and folder.read("environment.json").get("commit") == commit
        if same and status.get("status") == "finished" and folder.path != Path(cfg.run.dir):
            found.append(folder)
    return max(found, key=lambda folder: folder.path.stat().st_mtime, default=None)


def take_over(twin: RunFolder, folder: RunFolder, cfg: DictConfig) -> None:
    """Fill ``folder`` with the results and checkpoints of ``twin``, and say in ``status.json`` where they are from."""
    folder.start(cfg)
    for name in RESULTS:
        if (twin.path / name).is_file():
            _link(twin.path / name, folder.path / name)
    folder.checkpoints.mkdir(exist_ok=True)
    for path in twin.checkpoints.iterdir():
        (folder.checkpoints / path.name).unlink(missing_ok=True)
        _link(path, folder.checkpoints / path.name)
    folder.set_status("finished", reused=str(twin.path))


def _link(source: Path, target: Path) -> None:
    """One copy on disk where the file system allows it; files of a run are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
