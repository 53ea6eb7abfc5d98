"""Checks a whole folder of request Parquet files and lists what is wrong, file by file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emer.data.checks import Problem
from emer.data.metadata import SPLITS
from emer.data.parquet import check_repeats, read_files
from emer.data.places import Place
from emer.data.splits import overlaps, split_files
from emer.errors import DataError
from emer.requests import Schema


@dataclass(frozen=True)
class Report:
    """What :func:`validate_folder` found.

    Attributes:
        root: the folder.
        files: how many Parquet files there are.
        requests, candidates: how many stand in the sound ones.
        problems: breaches of the format, in the order of files.
        warnings: what is allowed but odd.
        complete: False if checking stopped at the largest number of problems.
    """

    root: str
    files: int
    requests: int
    candidates: int
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    complete: bool

    @property
    def ok(self) -> bool:
        """True if there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        head = f"{self.root}: {self.files} files, {self.requests} requests, {self.candidates} candidates"
        lines = [head, *(f"  problem: {problem}" for problem in self.problems)]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if not self.complete:
            lines.append(f"  stopped after {len(self.problems)} problems; there may be more")
        elif self.ok:
            lines.append("  no problems")
        return "\n".join(lines)


class _EnoughError(Exception):
    """Stops the checks once the report is full."""


def validate_folder(root: Place | str, *, max_problems: int = 20, schema: Schema | None = None) -> Report:
    """Check every file of a log, laid out as for :func:`emer.data.splits.read_splits`.

    Args:
        root: the folder.
        max_problems: stop after so many. A column that is wrong in many rows of a file counts once.
        schema: for files that carry none.
    """
    problems: list[Problem] = []

    def found(problem: Problem) -> None:
        problems.append(problem)
        if len(problems) >= max_problems:
            raise _EnoughError

    try:
        files = split_files(root)
    except DataError as error:
        return Report(str(root), 0, 0, 0, (Problem(str(error)),), (), True)
    listed = [path for paths in files.values() for path in paths]
    tables = {}
    complete = True
    try:
        read = read_files(listed, schema, found)
        tables = dict(read)
        check_repeats(read, found)
    except _EnoughError:
        complete = False
    none = np.zeros(0, dtype=np.int64)
    time_ms = {
        name: np.concatenate([none, *(tables[path].time_ms for path in files.get(name, []) if path in tables)])
        for name in SPLITS
    }
    return Report(
        root=str(root),
        files=len(listed),
        requests=sum(len(table) for table in tables.values()),
        candidates=sum(table.item_id.size for table in tables.values()),
        problems=tuple(problems),
        warnings=tuple(overlaps(time_ms)),
        complete=complete,
    )
