"""``emer validate``: check request Parquet files."""

from __future__ import annotations

from omegaconf import DictConfig
from rich.console import Console

from emer.data.validation import validate_folder
from emer.errors import DataError


def validate(cfg: DictConfig) -> None:
    """Check every file below ``cfg.data.root`` and print what is there.

    Raises:
        DataError: listing the faults by file, row, column and reason.
    """
    report = validate_folder(cfg.data.root, max_problems=int(cfg.max_problems))
    if not report.ok:
        raise DataError(str(report))
    Console().print(str(report), highlight=False)
