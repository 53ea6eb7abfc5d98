"""A Hydra callback that ends a sweep with one table of its methods."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from emer.errors import EmerError
from emer.reports.method_table import write_method_table
from emer.reports.runs import find_runs

log = logging.getLogger(__name__)


class SweepTable(Callback):
    """Writes ``methods.md`` and ``methods.csv`` into the sweep's folder and prints the former.

    Args:
        reference: label of the method that the others are compared with.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        try:
            text = write_method_table(find_runs(folder), folder, self.reference)
        except EmerError as error:
            # The sweep's own failure is reported by the job; a table must not hide it.
            log.warning("no table of methods: %s", error)
            return
        Console().print(f"{text}\n{folder / 'methods.md'}", soft_wrap=True, highlight=False, markup=False)
