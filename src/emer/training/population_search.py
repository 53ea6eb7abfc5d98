"""Search algorithms without a model of the objective: random, grid, CEM, differential evolution (docs/rivals.md).

Each is asked for a generation of points in the unit cube, is told their values, larger better, and so on. What it asks
for is a function of its arguments and of what it was told: random numbers come from (seed, generation), so an algorithm
that is told a finished part again goes on as if it had not been stopped.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from emer.errors import EmerError

GENERATIONS = 10
"""A population shrinks until the budget has at least this many generations; with fewer there is no search."""

GRID_OBJECTIVES = 3
GRID_ROUNDS = 3
"""Grids that the budget should pay for, each around the best point of the last; its levels follow from that."""


class Algorithm(Protocol):
    """The first generation of a search is the start alone; it is told to the algorithm without having been asked for.

    ``uses_gradient``: :meth:`tell` gets gradients (p, D), else None.
    """

    uses_gradient: bool

    def ask(self) -> np.ndarray:
        """(p, D) points in [0, 1]."""
        ...

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        """Points (p, D) of a whole generation and values (p,)."""
        ...


class RandomSearch:
    """Uniform points. Args: ``start`` (D,), ``budget`` of evaluations, ``seed``."""

    uses_gradient = False

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._D, self._seed, self._generation = start.size, seed, 0

    def ask(self) -> np.ndarray:
        # 64 at a time are evaluated in one go.
        return generator(self._seed, self._generation).random((64, self._D))

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        self._generation += 1


class GridSearch:
    """Grids of L^D points at the centres of equal cells, over the cube and then around the best point so far.

    Each grid is 1.5 cells of the last wide, so that an optimum at a cell's edge is not lost; its points come in random
    order, so that the last grid, which the budget may cut short, leaves no side out.

    Args as of :class:`RandomSearch`.

    Raises:
        EmerError: the budget does not pay for the start and one whole grid of two levels.
    """

    uses_gradient = False

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        # Two values of each parameter in random order, some corners left out, are no grid.
        if 2**start.size > budget - 1:
            raise EmerError(
                f"method.tuner.n_trials is {budget}, and the algorithm grid needs at least {2**start.size + 1}: two "
                f"levels for each of {start.size} parameters, and the start; raise it, or choose random or tpe"
            )
        self._seed, self._round = seed, 0
        self._best, self._value = start, -np.inf
        self._width = 1.0
        # The small number keeps 64 ** (1 / 6) = 2 from rounding to 1.
        self.levels = max(2, int(((budget - 1) / GRID_ROUNDS) ** (1 / start.size) + 1e-9))

    def ask(self) -> np.ndarray:
        D = self._best.size
        step = (np.arange(self.levels) + 0.5) / self.levels - 0.5
        centre = np.clip(self._best, self._width / 2, 1 - self._width / 2)
        grid = np.stack(np.meshgrid(*[step] * D, indexing="ij"), axis=-1).reshape(-1, D)
        return generator(self._seed, self._round).permutation(centre + self._width * grid)

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        best = int(np.argmax(values))
        if values[best] > self._value:
            self._best, self._value = points[best], values[best]
        if self._round > 0:  # the start is no grid
            self._width *= 1.5 / self.levels
        self._round += 1


class CrossEntropy:
    """CEM: a Gaussian with independent axes moves to the best of its samples, with noise that decays.

    64 samples of which 10 are the elites, in proportion if the budget is small; the mean and the standard deviation
    keep 0.3 of the old and take 0.7 of the elites', and noise falls linearly from :attr:`NOISE` to 0 over
    30 generations, or over those that the budget has.

    Args as of :class:`RandomSearch`.
    """

    uses_gradient = False
    NOISE = 0.05
    SMOOTHING = 0.7

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._seed, self._generation = seed, 0
        self.population = min(64, max(6, (budget - 1) // GENERATIONS))
        self._elites = max(2, round(self.population * 10 / 64))
        self._decay = min(30, max(1, (budget - 1) // self.population))
        self._mean, self._deviation = start, np.full(start.size, 0.3)

    def ask(self) -> np.ndarray:
        noise = self.NOISE * max(0.0, 1 - (self._generation - 1) / self._decay)
        draws = generator(self._seed, self._generation).standard_normal((self.population, self._mean.size))
        return np.clip(self._mean + (self._deviation + noise) * draws, 0.0, 1.0)

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        if self._generation > 0:
            elites = points[np.argsort(-values, kind="stable")[: self._elites]]
            self._mean = self._mean + self.SMOOTHING * (elites.mean(axis=0) - self._mean)
            self._deviation = self._deviation + self.SMOOTHING * (elites.std(axis=0) - self._deviation)
        self._generation += 1


class DifferentialEvolution:
    """rand/1/bin with F = 0.7 and CR = 0.9 (Storn and Price 1997), 10 D members or fewer if the budget is small.

    The first member is the start, the others are uniform. A mutant outside the cube is set half way between its parent
    and the wall.

    Args as of :class:`RandomSearch`.
    """

    uses_gradient = False
    F = 0.7
    CR = 0.9

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._seed, self._generation = seed, 0
        self.population = min(10 * start.size, max(6, (budget - 1) // GENERATIONS))
        self.population = max(4, self.population)  # three others than the parent
        self._members, self._values = start[None], np.zeros(0)

    def ask(self) -> np.ndarray:
        rng = generator(self._seed, self._generation)
        n, D = self.population, self._members.shape[1]
        if len(self._members) < n:
            return rng.random((n - len(self._members), D))
        others = np.stack([rng.permutation(np.delete(np.arange(n), i))[:3] for i in range(n)])
        a, b, c = (self._members[others[:, i]] for i in range(3))
        mutant = a + self.F * (b - c)
        mutant = np.where(mutant < 0, self._members / 2, np.where(mutant > 1, (self._members + 1) / 2, mutant))
        crossed = rng.random((n, D)) < self.CR
        crossed[np.arange(n), rng.integers(D, size=n)] = True
        return np.where(crossed, mutant, self._members)

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        if self._generation == 0:
            self._members, self._values = points, values
        elif self._generation == 1:
            self._members, self._values = (
                np.concatenate([self._members, points]),
                np.concatenate([self._values, values]),
            )
        else:
            better = values >= self._values
            self._members = np.where(better[:, None], points, self._members)
            self._values = np.where(better, values, self._values)
        self._generation += 1


def check_grid(objectives: int) -> None:
    """Raises EmerError where a grid makes no sense."""
    if objectives > GRID_OBJECTIVES:
        raise EmerError(
            f"method.tuner.algorithm is grid, but the log has {objectives} objectives: a grid of two levels for each "
            f"parameter grows beyond any budget with more than {GRID_OBJECTIVES}; choose random or tpe"
        )


def generator(seed: int, generation: int) -> np.random.Generator:
    """Random numbers of one generation."""
    return np.random.default_rng([seed, generation])
