"""``emer paper``: a paper's table or figure from the runs of its sweep, and the ledger of claims from all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.data.splits import read_splits
from emer.errors import EmerError
from emer.files import write_json, write_text
from emer.jobs.paper_worlds import tests_in_worlds
from emer.jobs.prepare import prepare_data
from emer.reports.groups import Grouped, group_runs
from emer.reports.papers import special
from emer.reports.papers.definitions import Experiment, experiment, experiments
from emer.reports.papers.ledger import NAME, ledger, results_folders
from emer.reports.papers.numbers import Number, as_csv, read_numbers
from emer.reports.papers.offline import check_logs, offline_numbers
from emer.reports.papers.online import Worlds, daily_numbers, online_numbers
from emer.reports.papers.pictures import draw
from emer.reports.papers.presence import variants_amiss
from emer.reports.papers.readme import readme
from emer.reports.runs import Problem, find_runs, read_runs
from emer.run_folder import RunFolder

ONLINE = ("online", "daily")
"""Kinds of experiments whose runs serve users in A/B tests."""


def paper(cfg: DictConfig) -> None:
    """Make an experiment's folder from its runs, make its README anew from its results, or make the ledger.

    Raises:
        EmerError: neither an experiment nor a ledger is named, or the runs are not those of the experiment.
    """
    if cfg.ledger is not None:
        target = write_ledger(Path(cfg.ledger))
    elif cfg.table is None:
        raise EmerError("name a table or figure, table=emer_table_3 with runs=..., or a folder of them, ledger=...")
    else:
        definition = experiment(str(cfg.table))
        users, days = (getattr(definition, k) if cfg.get(k) is None else int(cfg[k]) for k in ("users", "days"))
        definition = replace(definition, users=users, days=days)
        target = Path(cfg.folder or f"experiments/{definition.name}")
        if cfg.runs is None:
            render(definition, target)
        else:
            tests = Path(cfg.tests or target_of_tests(cfg.runs)) if definition.kind in ONLINE else None
            write_experiment(definition, find_runs(cfg.runs), target, tests)
    Console().print(str(target), soft_wrap=True, highlight=False)


def target_of_tests(runs: Any) -> Path:
    """Where the A/B tests of a sweep's runs go: below the sweep.

    Raises:
        EmerError: ``runs`` is no folder.
    """
    if not isinstance(runs, str) or not Path(runs).is_dir():
        raise EmerError("tests is not set; name the folder of the A/B tests, or give one sweep's folder as runs=")
    return Path(runs) / "ab_tests"


def write_experiment(definition: Experiment, runs: Sequence[Path], target: Path, tests: Path | None) -> Path:
    """``results.csv``, ``results.json``, ``README.md`` and ``picture.png`` in ``target``.

    Args:
        definition: of the experiment.
        runs: run folders of its sweep.
        target: an existing folder or a new one.
        tests: folder of the A/B tests of an online experiment, else None; those that are there are not made again.

    Raises:
        EmerError: no run is finished, or they are not this experiment's.
    """
    grouped = group_runs(*read_runs(runs))
    if not grouped.sections:
        raise EmerError("no run is finished" + "".join(f"\n{problem}" for problem in grouped.problems))
    finished = [run.path for section in grouped.sections for run in section.runs]
    worlds: Worlds = {}
    left_out: list[Problem] = []
    if definition.kind in ONLINE:
        assert tests is not None
        worlds, left_out = tests_in_worlds(definition, finished, tests)
    rows = numbers_of(definition, grouped, worlds)
    problems = [*grouped.problems, *left_out, *variants_amiss(definition, rows)]
    about = about_runs(definition, grouped, worlds, problems)
    target.mkdir(parents=True, exist_ok=True)
    write_text(target / "results.csv", as_csv(rows))
    write_json(target / "results.json", about)
    return render(definition, target)


def render(definition: Experiment, target: Path) -> Path:
    """``README.md`` and ``picture.png`` from the results in ``target``.

    Raises:
        EmerError: there are no results, or they cannot be read.
    """
    numbers = read_numbers(target / "results.csv")
    path = target / "results.json"
    if not path.is_file():
        raise EmerError(f"{path} does not exist")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in ABOUT if name not in about]
    except ValueError as error:
        raise EmerError(
            f"{path} is damaged ({error}); make it anew from the runs, emer paper table=... runs=..."
        ) from error
    if missing:
        raise EmerError(f"{path} does not tell {', '.join(missing)}; make it anew, emer paper table=... runs=...")
    write_text(target / "README.md", readme(definition, numbers, about))
    draw(definition, numbers, target / "picture.png")
    return target / "README.md"


def write_ledger(root: Path) -> Path:
    """``CLAIMS.md`` in ``root`` from the results of all experiments below it.

    Raises:
        EmerError: there are none, or a folder with results is not named after an experiment.
    """
    folders = results_folders(root)
    if strange := [folder.name for folder in folders if folder.name not in experiments()]:
        raise EmerError(
            f"ledger: {root} holds results in {', '.join(strange)}, which is no experiment's name; move them "
            "elsewhere, or name the folder after its experiment"
        )
    found = {folder.name: (experiment(folder.name), read_numbers(folder / "results.csv")) for folder in folders}
    if not found:
        raise EmerError(f"ledger: {root} has no folder with results.csv and results.json")
    write_text(root / NAME, ledger(found))
    return root / NAME


def numbers_of(definition: Experiment, grouped: Grouped, worlds: Worlds) -> list[Number]:
    """All numbers of an experiment, by its kind.

    Raises:
        EmerError: the runs have none of its metrics.
    """
    if definition.kind == "online":
        rows = online_numbers(worlds, definition.reference)
    elif definition.kind == "daily":
        rows = daily_numbers(worlds, definition.reference)
    elif definition.kind == "activity":
        rows = _activity(grouped.sections[0].data, [run.path for s in grouped.sections for run in s.runs])
    elif definition.kind == "losses":
        check_logs(grouped)
        rows = special.loss_numbers(grouped)
    elif definition.kind == "relations":
        check_logs(grouped)
        rows = special.relation_numbers(grouped)
    else:
        rows = offline_numbers(definition, grouped)
        if definition.kind == "skew":
            rows += special.skew_numbers(definition, grouped)
        if definition.kind == "front":
            rows += special.front_numbers(definition, grouped)
        if definition.kind == "ippo":
            rows += special.ippo_numbers(grouped)
    there = {row.variant for row in rows}
    if not there & set(definition.variants):
        raise EmerError(
            f"these are not the runs of {definition.name}: it compares {', '.join(definition.variants)}, and the runs "
            f"are {', '.join(sorted(there)) or 'none of them'}"
        )
    return rows


def _activity(data: str, runs: Sequence[Path]) -> list[Number]:
    logs = {}
    for path in runs:
        logs[seed_of_log(path)] = list(read_splits(prepare_data(RunFolder(path).load_config())))
    return special.activity_numbers(logs, data)


def seed_of_log(run: Path) -> int:
    """Seed of the simulated log of a run.

    Raises:
        EmerError: its log is not simulated.
    """
    seed = OmegaConf.select(RunFolder(run).load_config(), "data.source.seed")
    if seed is None:
        raise EmerError(f"runs: {run} is not of a simulated log (data=simulated), whose seed is wanted")
    return int(seed)


ABOUT = ("commands", "commit", "minutes", "runs", "seeds", "sizes", "problems")
"""What ``results.json`` tells."""


def about_runs(definition: Experiment, grouped: Grouped, worlds: Worlds, problems: Sequence[Problem]) -> dict[str, Any]:
    """What a README says of the runs: command, commit, time, seeds, sizes, and what is missing."""
    runs = [run for section in grouped.sections for run in section.runs]
    logs = [section.data for section in grouped.sections]
    environment = "EMER_REAL_DATA=/path/to/KuaiRand-Pure " if "kuairand" in logs else ""
    sizes = {}
    for section in grouped.sections:
        training = OmegaConf.select(RunFolder(section.runs[0].path).load_config(), "data.source.train_requests")
        words = f"{training:,} training and " if training else ""
        sizes[section.data] = f"{words}{section.requests:,} test requests of {section.users:,} users"
    if worlds:
        sizes = {
            kind: f"{len(folders)} worlds, {definition.users:,} users for {definition.days} days under every arm"
            for kind, folders in worlds.items()
        }
    seeds = {seed for of in worlds.values() for seed in of} or {run.seed for run in runs}
    if definition.kind == "activity":
        seeds = {seed_of_log(run.path) for run in runs}
    return {
        "commands": [f"{environment}python train.py -m experiment={definition.name}"],
        "commit": ", ".join(sorted({str(run.environment.get("commit")) for run in runs})),
        "minutes": sum(seconds_of(run.path) for run in runs) / 60,
        "runs": len(runs),
        "seeds": ", ".join(map(str, sorted(seeds))),
        "sizes": sizes,
        "problems": [f"{problem.run} ({problem.kind}): {problem.why}" for problem in problems],
    }


def seconds_of(run: Path) -> float:
    """What a run took, preparing, training and testing."""
    timing: Mapping[str, Any] = RunFolder(run).read("timing.json")
    return sum(float(timing.get(f"{part}_seconds") or 0.0) for part in ("prepare", "fit", "evaluate"))
