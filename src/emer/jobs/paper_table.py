"""A Hydra callback that ends the sweep of a paper's table with its README."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from emer.errors import EmerError
from emer.jobs.paper import write_experiment
from emer.reports.papers.definitions import experiment
from emer.reports.runs import find_runs

log = logging.getLogger(__name__)


class PaperTable(Callback):
    """Writes README.md, picture.png, results.csv and results.json into the sweep's folder.

    Args:
        name: of the experiment.
    """

    def __init__(self, name: str) -> None:
        self.definition = experiment(name)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        try:
            path = write_experiment(self.definition, find_runs(folder), folder, folder / "ab_tests")
        except EmerError as error:
            # The sweep's own failure is reported by the job; a table must not hide it.
            log.warning("no README of %s: %s", self.definition.name, error)
            return
        Console().print(f"{path.read_text(encoding='utf-8')}\n{path}", soft_wrap=True, highlight=False, markup=False)
