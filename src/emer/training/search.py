"""One algorithm's search of a unit cube: generations evaluated at once, a budget, exact resumption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from emer.errors import EmerError
from emer.models.formula_space import FormulaSpace
from emer.training.model_search import CmaEs, GaussianProcess, Gradient, TreeParzen
from emer.training.population_search import Algorithm, CrossEntropy, DifferentialEvolution, GridSearch, RandomSearch

ALGORITHMS: Mapping[str, Callable[[np.ndarray, int, int], Algorithm]] = {
    "grid": GridSearch,
    "random": RandomSearch,
    "cem": CrossEntropy,
    "cma_es": CmaEs,
    "tpe": TreeParzen,
    "gp": GaussianProcess,
    "differential_evolution": DifferentialEvolution,
    "gradient": Gradient,
}

GRADIENT_PASSES = 3
"""What a gradient costs in evaluations: a backward pass counts as two forward ones. With the evaluation of the point
itself, a step of ``gradient`` is charged 4 of the budget. Measured, a gradient takes 1.6 to 2.3 evaluations made one at
a time, and 4 to 14 of those made 64 at a time; 3 stands between."""


class Objective(Protocol):
    """What is maximised: :class:`emer.training.pair_objective.PairObjective`, or a toy."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(P,) values of ``points`` (P, D)."""
        ...

    def gradient(self, point: np.ndarray) -> np.ndarray:
        """(D,) ascent direction at ``point`` (D,)."""
        ...


@dataclass(frozen=True)
class Trial:
    """One evaluated point of the unit cube (:class:`emer.models.formula_space.FormulaSpace`).

    ``gradient`` is empty unless the algorithm uses it, which is then part of the price.
    """

    point: tuple[float, ...]
    value: float
    gradient: tuple[float, ...] = ()

    @property
    def passes(self) -> int:
        """Evaluations' worth of work."""
        return 1 + (GRADIENT_PASSES if self.gradient else 0)


class Search:
    """One algorithm's search: asks it for generations, evaluates each at once, remembers.

    The first trial is ``start``. What comes next is a function of the seed and the trials before it, so a search that
    was stopped and restored goes on as if it had not been.

    Args:
        algorithm: one of :data:`ALGORITHMS`.
        objective: larger is better.
        start: (D,) first point; the hand-set formula is 1/2 everywhere.
        budget: evaluated points, the start included; a gradient counts as :data:`GRADIENT_PASSES`.
        seed: of the search.

    Raises:
        EmerError: the budget does not pay for one trial, or for the smallest grid, or the algorithm is unknown.
    """

    def __init__(self, algorithm: str, objective: Objective, *, start: np.ndarray, budget: int, seed: int) -> None:
        check_algorithm(algorithm)
        check_budget(budget)
        self._name, self._objective, self._seed = algorithm, objective, seed
        self.start, self.budget = start, budget
        self.restore([])

    @property
    def spent(self) -> int:
        """Evaluations' worth of work so far."""
        return sum(trial.passes for trial in self.trials)

    @property
    def finished(self) -> bool:
        """Whether the rest of the budget does not pay for another trial."""
        return self.budget - self.spent < self._price

    @property
    def best(self) -> Trial:
        """The first trial with the largest value."""
        return max(self.trials, key=lambda trial: trial.value)

    @property
    def best_value(self) -> float:
        """Value of the best trial."""
        return self.best.value

    @property
    def last_value(self) -> float:
        """Value of the last trial."""
        return self.trials[-1].value

    def step(self, most: int | None = None) -> list[Trial]:
        """Evaluate what is left of a generation, at most ``most`` trials of it, and return the new trials."""
        room = (self.budget - self.spent) // self._price
        points = self._waiting[: room if most is None else min(room, most)]
        if len(points) == 0:
            return []
        values = self._objective(points)
        trials = [
            Trial(tuple(point.tolist()), float(value), self._gradient(point))
            for point, value in zip(points, values, strict=True)
        ]
        self._add(trials)
        return trials

    def restore(self, trials: Sequence[Trial]) -> None:
        """Forget what was tried and go on from ``trials`` of an earlier search with the same arguments.

        Raises:
            EmerError: this search would not have tried them.
        """
        self._algorithm = ALGORITHMS[self._name](self.start, self.budget, self._seed)
        self._price = 1 + (GRADIENT_PASSES if self._algorithm.uses_gradient else 0)
        if self.budget < self._price:
            raise EmerError(
                f"method.tuner.n_trials is {self.budget}; a step of the algorithm {self._name} costs {self._price}"
            )
        self.trials: list[Trial] = []
        self._waiting, self._size = self.start[None], 1
        left = list(trials)
        while left:
            some, left = left[: len(self._waiting)], left[len(self._waiting) :]
            if [t.point for t in some] != [tuple(p) for p in self._waiting[: len(some)].tolist()]:
                raise EmerError(
                    "the checkpoint's trials are not those of this search: method.tuner or the version of a library "
                    "has changed; start anew, or evaluate the checkpoint without training on"
                )
            self._add(some)

    def state(self) -> list[Any]:
        """Plain content for a checkpoint."""
        return [[list(t.point), t.value, list(t.gradient)] for t in self.trials]

    def load(self, state: list[Any]) -> None:
        """:meth:`restore` what :meth:`state` gave."""
        self.restore([Trial(tuple(point), value, tuple(gradient)) for point, value, gradient in state])

    def formula(self, space: FormulaSpace) -> nn.Module:
        """The best trial's formula."""
        return space.formula(torch.tensor(self.best.point, dtype=torch.float64))

    def _gradient(self, point: np.ndarray) -> tuple[float, ...]:
        return tuple(self._objective.gradient(point).tolist()) if self._price > 1 else ()

    def _add(self, trials: list[Trial]) -> None:
        """Remember the trials of the next waiting points; a generation that is complete is told."""
        self.trials += trials
        self._waiting = self._waiting[len(trials) :]
        if len(self._waiting) == 0 and not self.finished:
            told = self.trials[-self._size :]
            points, values = np.array([t.point for t in told]), np.array([t.value for t in told])
            gradients = np.array([t.gradient for t in told]) if self._algorithm.uses_gradient else None
            self._algorithm.tell(points, values, gradients)
            self._waiting = self._algorithm.ask()
            self._size = len(self._waiting)


def check_algorithm(algorithm: str) -> None:
    """Raises EmerError where it is unknown."""
    if algorithm not in ALGORITHMS:
        raise EmerError(f"method.tuner.algorithm is {algorithm!r}; it must be one of {', '.join(ALGORITHMS)}")


def check_budget(budget: int) -> None:
    """Raises EmerError where it is below 1."""
    if budget < 1:
        raise EmerError(f"the fusion formula's budget is {budget} trials (method.tuner.n_trials); it must be 1 or more")
