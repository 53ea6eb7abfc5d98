"""The A/B tests behind the papers' online tables: one in each world, of the runs that learnt there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from emer.errors import EmerError
from emer.files import write_json
from emer.jobs.ab_worlds import WorldTests, runs_by_world
from emer.jobs.run_arms import arms_of
from emer.labels import method_label
from emer.online.ab_test import Plan
from emer.reports.papers.definitions import Experiment
from emer.reports.papers.online import Worlds, tested_arms, tested_users
from emer.reports.runs import Problem
from emer.run_folder import RunFolder

RECORD = "tested.json"
"""What the tests of a folder were made of."""


def tests_in_worlds(definition: Experiment, runs: Sequence[Path], tests: Path) -> tuple[Worlds, list[Problem]]:
    """The A/B tests of an online experiment, one in every world of each kind of platform (a run's first tag), and what
    was left out: a world that lacks an arm is in no number, since the worlds are the sample.

    Raises:
        EmerError: a run cannot serve, or ``tests`` holds tests of other runs or sizes.
    """
    kinds: dict[str, list[Path]] = {}
    for path in runs:
        tags = RunFolder(path).load_config().tags
        kinds.setdefault(str(tags[0]) if tags else "world", []).append(path)
    plan = Plan(
        users=definition.users, days=definition.days, segments=(),
        processes=min(4, os.cpu_count() or 1),
    )  # fmt: skip
    found, problems = {}, []
    for kind, members in kinds.items():
        whole, left_out = complete_worlds(members, kind)
        problems += left_out
        by_world, settings = runs_by_world(whole, plan.users)
        labels = set(next(iter(by_world.values())))
        of_run = definition.reference in labels
        fixed = {} if of_run else arms_of([definition.reference], least=1)
        tested = WorldTests(by_world, settings, fixed, definition.reference if of_run else None)
        tested.check()
        claim(tests / kind, definition, by_world)
        found[kind] = tested.run(plan, tests / kind)
    return found, problems


def complete_worlds(runs: Sequence[Path], kind: str) -> tuple[list[Path], list[Problem]]:
    """The runs of the worlds that have every arm, and a problem for each of the others.

    Raises:
        EmerError: no world has all arms.
    """
    arms: dict[int | None, dict[Path, str]] = {}
    for path in runs:
        cfg = RunFolder(path).load_config()
        seed = OmegaConf.select(cfg, "data.source.setting.seed")
        arms.setdefault(seed, {})[path] = method_label(cfg.method)
    every = {label for of in arms.values() for label in of.values()}
    lacking = {seed: sorted(every - set(of.values())) for seed, of in arms.items()}
    if all(lacking.values()):
        raise EmerError(f"no world of {kind} has a finished run of each of {', '.join(sorted(every))}")
    problems = [
        Problem(
            f"world {seed} of {kind}",
            "missing",
            f"no finished run of {', '.join(labels)}, which other worlds have; the world is in none of the numbers",
        )
        for seed, labels in lacking.items()
        if labels
    ]
    return [path for seed, of in arms.items() if not lacking[seed] for path in of], problems


def claim(folder: Path, definition: Experiment, by_world: Mapping[int, Mapping[str, Path]]) -> None:
    """Check that the tests in ``folder`` are of these runs, users and days, and write down what the others will be of.

    Raises:
        EmerError: one is not.
    """
    path = folder / RECORD
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for seed, runs in by_world.items():
        own = {"users": definition.users, "days": definition.days, "runs": {k: _version(v) for k, v in runs.items()}}
        test, name = folder / f"world_{seed}", str(seed)
        if test.is_dir():
            if name in told:
                same = told[name] == own
            else:  # nothing was written down: what the test itself tells must do
                same = tested_users(test) == (definition.users, definition.days)
                same = same and tested_arms(test) == set(runs) - {definition.reference}
            if not same:
                raise EmerError(
                    f"tests: {test} is a test of other runs, users or days than these; move it away to have it made "
                    "anew, or name another folder (tests=...)"
                )
        told[name] = told[name] if test.is_dir() and name in told else own
    write_json(path, told)


def _version(run: Path) -> str:
    """What decides a run's weights: settings and code."""
    folder = RunFolder(run)
    return f"{folder.status().get('identity')} {folder.read('environment.json').get('commit')}"
