"""A run that another sweep has made already is taken from there: tables that share a method train it once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from omegaconf import DictConfig

from emer.run_folder import RESULTS, RunFolder, environment


def finished_twin(cfg: DictConfig) -> RunFolder | None:
    """The newest finished run below ``paths.output_dir/multirun`` with these settings and of this very code.

    None where the code has no commit to compare, or has changes that are in none. The identity does not tell where the
    log lies, and the commit not which packages are installed: both must be the same besides, and the run whole.
    """
    here = environment()
    commit = here["commit"]
    if commit is None or commit.endswith("-dirty"):
        return None
    found = []
    for path in Path(str(cfg.paths.output_dir)).glob("multirun/*/*/status.json"):
        folder = RunFolder(path.parent)
        status = folder.status()
        if status.get("identity") != cfg.run.identity or status.get("status") != "finished":
            continue
        there = folder.read("environment.json")
        same = all(there.get(name) == here.get(name) for name in ("commit", "python", "packages"))
        other = folder.path.resolve() != Path(cfg.run.dir).resolve()
        if same and other and _is_whole(folder) and _log_of(folder.load_config()) == _log_of(cfg):
            found.append(folder)
    return max(found, key=lambda folder: folder.path.stat().st_mtime, default=None)


def _is_whole(folder: RunFolder) -> bool:
    results = all((folder.path / name).is_file() for name in ("config.yaml", "metrics.json", "per_request.parquet"))
    return results and (folder.best_checkpoint.is_file() or folder.last_checkpoint.is_file())


def _log_of(cfg: DictConfig) -> str | None:
    """Where the log lies, as an absolute path; a URL stays as it is. None for one that is made from its settings."""
    root = cfg.data.get("root")
    return root if root is None or "://" in str(root) else str(Path(str(root)).resolve())


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
