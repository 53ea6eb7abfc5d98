"""Tuning a fusion formula: one interface for every family and every algorithm, and a cache of what was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from emer.data.table import RequestTable
from emer.files import write_json
from emer.models.formula_space import LARGEST_EXPONENT as LARGEST_EXPONENT
from emer.models.formula_space import LOG_RATIO_RANGE as LOG_RATIO_RANGE
from emer.models.formula_space import FormulaSpace
from emer.training.pair_objective import PairObjective, TuningObjective
from emer.training.population_search import check_grid
from emer.training.search import Objective, Search, Trial, check_budget

_CACHE_VERSION = 3


def tune(
    space: FormulaSpace,
    objective: Objective,
    budget: int,
    *,
    algorithm: str = "tpe",
    seed: int = 0,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> Search:
    """Search ``space`` for the largest value of ``objective`` and return the finished search.

    Args:
        space: a family of formulas.
        objective: of points of that space.
        budget: evaluations, the hand-set formula's included, whatever the algorithm.
        algorithm: one of :data:`emer.training.search.ALGORITHMS`.
        seed: of the search.
        on_trial: called with (trials done, trial) after each, for a progress bar.

    Raises:
        EmerError: the budget is below 1 or too small for the algorithm, this is unknown, or a grid is asked of too many
            objectives.
    """
    if algorithm == "grid":
        check_grid(len(space.schema.objectives))
    search = Search(algorithm, objective, start=space.centre.numpy(), budget=budget, seed=seed)
    while not search.finished:
        done = len(search.trials)
        for number, trial in enumerate(search.step(), done + 1):
            if on_trial is not None:
                on_trial(number, trial)
    return search


@dataclass(frozen=True)
class TunedFormula:
    """What a search found: the family and all trials, in order."""

    space: FormulaSpace
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The first trial with the largest value."""
        return max(self.trials, key=lambda trial: trial.value)

    def formula(self) -> nn.Module:
        """The best trial's formula."""
        return self.space.formula(torch.tensor(self.best.point, dtype=torch.float64))


def tune_formula(
    table: RequestTable,
    *,
    formula: str = "power_affine",
    algorithm: str = "tpe",
    objective: TuningObjective = "label_gauc",
    n_trials: int = 200,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> TunedFormula:
    """:func:`tune` for the largest mean GAUC on ``table``, or read what an earlier call found.

    Args:
        table: the tuning requests; report on later ones.
        formula: family (:data:`emer.models.formula_space.FAMILIES`).
        algorithm: one of :data:`emer.training.search.ALGORITHMS`.
        objective: see :class:`emer.training.pair_objective.PairObjective`.
        n_trials: the budget.
        seed: of the search and of the sample of requests it looks at.
        cache_dir: where results are kept, by the table's content, these settings and the ranges that are searched; None
            keeps nothing.
        on_trial: called with (trials done, trial) after each, for a progress bar.

    Raises:
        EmerError: as :func:`tune`, or the objective is unknown, or the table has no pair to order.
    """
    check_budget(n_trials)
    space = FormulaSpace(table.schema, formula)
    path = None
    if cache_dir is not None:
        libraries = [version(name) for name in ("optuna", "cmaes", "scikit-learn")]
        settings = [_CACHE_VERSION, libraries, table.fingerprint(), formula, algorithm, objective, n_trials, seed]
        # A point of the cube is other parameters where hand-set values or ranges are others.
        settings.append(_corners(space))
        name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        path = Path(cache_dir) / f"fusion_formula-{name}.json"
        if (kept := _read(path, space)) is not None:
            return kept
    goal = PairObjective(table, objective, space, seed=seed)
    search = tune(space, goal, n_trials, algorithm=algorithm, seed=seed, on_trial=on_trial)
    if path is not None:
        write_json(path, {"parameters": space.names, "trials": search.state()})
    return TunedFormula(space, tuple(search.trials))


def _corners(space: FormulaSpace) -> list[dict[str, list[float]]]:
    """Every parameter's least, hand-set and largest value."""
    points = (torch.full_like(space.centre, x) for x in (0.0, 0.5, 1.0))
    return [{name: values.tolist() for name, values in space.parameters(point).items()} for point in points]


def _read(path: Path, space: FormulaSpace) -> TunedFormula | None:
    """A kept result, or None if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(Trial(tuple(p), float(v), tuple(g)) for p, v, g in content["trials"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TunedFormula(space, trials) if trials else None
