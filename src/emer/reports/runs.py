"""Run folders, found and read."""

from __future__ import annotations

import csv
import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from emer.errors import EmerError
from emer.labels import group_identity, method_label, settings_of
from emer.metrics.summary import IDENTITY
from emer.run_folder import RunFolder

METRICS = ("label_gauc/mean", "pxtr_gauc/mean", "iput_gauc/mean")
"""Averages over requests, which are compared request by request."""

POOLED = "label_auc/sum"
"""Pooled over all requests, and so compared run by run: its interval is over seeds alone."""

COSTS = ("parameters", "train_rows_per_second", "fit_seconds")
"""Of ``timing.json``: trained parameters, candidates per second in training steps, seconds of training."""

Rows = tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        label: of the method, without data and seed.
        group: equal for runs that differ in the seed alone (:func:`emer.labels.group_identity`).
        settings: dotted key -> value of all that such runs share.
        metrics: test metrics without ``test/``; None where no request has one.
        costs: :data:`COSTS`, None where the run did not tell.
        per_request: column -> (R,), the random floors left out.
        history: rows of ``metrics.csv``, one per epoch; an empty cell is no key. Empty for what does not train.
        weights: rows of ``weights.csv``: ``step`` and each objective's mean weight since the row before.
        status, environment: the files of that name.
    """

    path: Path
    label: str
    data: str
    seed: int
    identity: str
    group: str
    settings: dict[str, Any]
    metrics: dict[str, float | None]
    costs: dict[str, float | None]
    per_request: dict[str, np.ndarray]
    history: Rows = ()
    weights: Rows = ()
    status: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder's name."""
        return self.path.name


@dataclass(frozen=True)
class Problem:
    """A run that is not, or not fully, in a comparison.

    Attributes:
        run: name of its folder, or for a run that nobody started its label and seed.
        kind: failed, interrupted, running, unreadable, missing or duplicate.
        why: in words.
    """

    run: str
    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.run}: {self.why}"


def find_runs(where: str | Path | Iterable[str | Path]) -> list[Path]:
    """Run folders, each once, sorted.

    Args:
        where: a run folder (it holds ``status.json``), a folder with such anywhere below it (of a sweep, say), a
            pattern such as ``outputs/train/*emer*``, or several of these. A job of a sweep that left nothing but
            Hydra's own files counts as a run, which :func:`read_runs` then calls unreadable.

    Raises:
        EmerError: one of them does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for one in [where] if isinstance(where, str | Path) else list(where):
        # Path.glob takes no absolute patterns.
        matches = glob.glob(str(one))  # noqa: PTH207
        paths = [Path(one)] if Path(one).exists() else [Path(path) for path in sorted(matches)]
        if not paths:
            raise EmerError(
                f"runs: there is nothing at {one}; name run folders, a sweep's folder or a pattern in quotes"
            )
        runs = [run for path in paths for run in _runs_at(path)]
        if not runs:
            raise EmerError(
                f"runs: {one} holds no run folder (a folder with status.json); name outputs/train/... or a sweep below "
                "outputs/multirun"
            )
        found |= {run.resolve(): run for run in runs if run.resolve() not in found}
    return sorted(found.values())


def _runs_at(path: Path) -> list[Path]:
    if (path / "status.json").is_file():
        return [path]
    started = {file.parent for file in path.rglob("status.json")}
    jobs = {hydra.parent for sweep in path.rglob("multirun.yaml") for hydra in sweep.parent.glob("*/.hydra")}
    return sorted(started | jobs)


def read_runs(
    folders: Iterable[Path],
    advance: Callable[[int], None] = lambda _: None,
    families: Sequence[str] | None = None,
) -> tuple[list[Run], list[Problem]]:
    """The finished runs among ``folders``, and what is the matter with each that is not.

    Args:
        folders: from :func:`find_runs`.
        advance: is told of every folder that was read.
        families: of per-request columns that are read, ``label_gauc`` for instance, beside those that are no metric;
            all if None. Many runs of a large log do not fit into memory with all of them.
    """
    runs, problems = [], []
    for path in folders:
        advance(1)
        folder = RunFolder(path)
        status = folder.status()
        state = str(status.get("status", "unreadable"))
        if state != "finished":
            why = status.get("error") or status.get("status", "no status.json")
            if state == "running" and not folder.is_alive():
                why = f"{why}, but no process of this machine is at work on it"
            problems.append(Problem(path.name, state, str(why)))
            continue
        try:
            runs.append(_read_run(folder, families))
        except Exception as error:
            # A damaged file can raise anything, and one run must not cost the others their table.
            first = (str(error).splitlines() or [""])[0]
            problems.append(Problem(path.name, "unreadable", f"cannot be read, {type(error).__name__}: {first}"))
    return runs, problems


def _read_run(folder: RunFolder, families: Sequence[str] | None) -> Run:
    cfg, timing = folder.load_config(), folder.read("timing.json")
    metrics = {name.removeprefix("test/"): value for name, value in folder.read("metrics.json").items()}
    lacking = [name for name in (*METRICS, POOLED) if name not in metrics]
    if lacking:
        raise EmerError(f"metrics.json has no test/{lacking[0]}")
    per_request = folder.path / "per_request.parquet"
    names = [name for name in pq.read_schema(per_request).names if _is_wanted(name, families)]
    columns = pq.read_table(per_request, columns=names)
    return Run(
        path=folder.path,
        label=method_label(cfg.method),
        data=str(cfg.data.name),
        seed=int(cfg.seed),
        identity=str(cfg.run.identity),
        group=group_identity(cfg),
        settings=settings_of(cfg),
        metrics=metrics,
        costs={name: timing.get(name) for name in COSTS},
        per_request={name: columns[name].to_numpy() for name in names},
        history=_rows(folder.path / "metrics.csv"),
        weights=_rows(folder.path / "weights.csv"),
        status=folder.status(),
        environment=folder.read("environment.json"),
    )


def _is_wanted(column: str, families: Sequence[str] | None) -> bool:
    family = column.split("/", 1)[0]
    return column in IDENTITY or (family != "random" if families is None else family in families)


def _rows(path: Path) -> Rows:
    """Numbers of a CSV file; none if there is no such file, as in runs that do not train."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple({name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file))


def differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys, sorted, in which these differ or that some of them lack.

    What a config repeats for the module (``method.module.objective.iput`` beside ``method.objective.iput``) is told
    once.
    """
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: [one.get(key, _ABSENT) for one in settings] for key in keys}
    found = {key for key, of_all in values.items() if any(value != of_all[0] for value in of_all)}
    original = {key: key.replace("method.module.", "method.", 1) for key in found}
    return sorted(key for key in found if original[key] == key or values.get(original[key]) != values[key])


_ABSENT = object()
