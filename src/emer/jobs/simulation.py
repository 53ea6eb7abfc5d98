"""What jobs that leave a folder of results share: list settings, where results go, and what is printed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.errors import EmerError


def as_list(cfg: DictConfig, key: str) -> list[Any]:
    """The values of a list setting.

    Raises:
        EmerError: it is no list.
    """
    if not OmegaConf.is_list(cfg[key]):
        raise EmerError(f"{key} is {cfg[key]!r}; give a list, {key}=[...]")
    return list(cfg[key])


def result_folder(cfg: DictConfig, name: str) -> Path:
    """``cfg.folder``, or a new one below the outputs of the job ``cfg.task_name``."""
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    return Path(cfg.folder or Path(cfg.paths.output_dir) / cfg.task_name / f"{stamp}_{name}")


def new_folder(cfg: DictConfig, name: str) -> Path:
    """A :func:`result_folder` that does not exist yet.

    Raises:
        EmerError: it does, or it cannot be made.
    """
    folder = result_folder(cfg, name)
    if folder.exists():
        raise EmerError(f"folder: {folder} exists already; choose another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent):
            pass
    except OSError as error:
        # Better now than after the simulation.
        raise EmerError(f"folder: {folder.parent} cannot be written to ({error.strerror}); choose another") from error
    return folder


def show(text: str, folder: Path) -> None:
    """Print a result, and where it lies."""
    out = Console()
    out.print(text, soft_wrap=True, highlight=False, markup=False)
    out.print(str(folder), soft_wrap=True, highlight=False)
