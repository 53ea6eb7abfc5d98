"""A Hydra sweeper over hand-picked jobs: a list of override lists, each crossed with what the command line sweeps.

Hydra's own sweeper knows full grids only, in which every method would meet every objective and every ablation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from emer.errors import EmerError


class JobsSweeper(BasicSweeper):
    """Hydra's grid of ``params`` and the command line, for each of ``jobs``.

    Args:
        jobs: each a string of overrides separated by blanks, such as ``method=emer +ablation=no_comp``; no override may
            hold a blank, or several values (a job is one run for each point of the grid).
        params: config key -> comma-separated values, as in Hydra's sweeper.
        max_batch_size: jobs handed to the launcher at a time; None hands over all.
    """

    def __init__(
        self, jobs: Sequence[str], params: dict[str, str] | None = None, max_batch_size: int | None = None
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        if not jobs:
            raise EmerError("hydra.sweeper.jobs is empty; give at least one list of overrides, such as 'method=emer'")
        self.jobs = [str(job).split() for job in jobs]
        if not all(self.jobs):
            raise EmerError("hydra.sweeper.jobs has an empty job; give each its overrides, such as 'method=emer'")

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs. Where one failed Hydra leaves out the callbacks, but a table of the others is wanted."""
        try:
            return super().sweep(arguments)
        except Exception:
            assert self.config is not None and self.hydra_context is not None
            if any(Path(self.config.hydra.sweep.dir).glob("*/status.json")):
                name = self.config.hydra.job.config_name
                self.hydra_context.callbacks.on_multirun_end(config=self.config, config_name=name)
            raise

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Batches of jobs, each a list of overrides: job by job, and within it in the order of the grid.

        Raises:
            EmerError: a job has several values for a key, or the command line sets what the jobs set themselves.
        """
        given = {override.key_or_group for override in overrides}
        parser = OverridesParser.create()
        for job in self.jobs:
            own = parser.parse_overrides(job)
            several = next((override for override in own if override.is_sweep_override()), None)
            if several is not None:
                raise EmerError(
                    f"hydra.sweeper.jobs: {several.input_line} in '{' '.join(job)}' has several values; "
                    "write a job for each"
                )
            keys = [override.key_or_group for override in own]
            again = sorted({key for key in keys if keys.count(key) > 1})
            if again:
                raise EmerError(f"hydra.sweeper.jobs: '{' '.join(job)}' sets {', '.join(again)} twice; leave one out")
            twice = sorted(given & {override.key_or_group for override in own})
            if twice:
                raise EmerError(
                    f"{', '.join(twice)} is set by the sweep's jobs; choose among them by "
                    '\'hydra.sweeper.jobs=["method=emer","method=harmonrank"]\''
                )
        [grid] = BasicSweeper.split_arguments(overrides, None)
        everything = [[*job, *point] for job in self.jobs for point in grid]
        return list(BasicSweeper.split_overrides_to_chunks(everything, max_batch_size))
