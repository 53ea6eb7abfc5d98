"""Search algorithms with a model of the objective: TPE, Gaussian process, CMA-ES, and gradients (docs/rivals.md).

Protocol and arguments as in :mod:`emer.training.population_search`.
"""

from __future__ import annotations

import warnings

import cmaes
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from emer.training.population_search import generator

_STARTUP_TRIALS = 10


class TreeParzen:
    """TPE of Optuna, multivariate, one point at a time; the first ten besides the start are random.

    A fresh sampler for each point, seeded by its number.
    """

    uses_gradient = False

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._seed, self._told = seed, 0
        self._space: dict[str, BaseDistribution] = {f"x{d}": FloatDistribution(0.0, 1.0) for d in range(start.size)}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line about the study's creation
        try:
            self._study = optuna.create_study(direction="maximize")
        finally:
            optuna.logging.set_verbosity(verbosity)

    def ask(self) -> np.ndarray:
        state = np.random.SeedSequence([self._seed, self._told]).generate_state(1)
        with warnings.catch_warnings():
            # Optuna 4 calls the joint model experimental; in 5 it is the default.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(state[0]), multivariate=True, constant_liar=False, n_startup_trials=_STARTUP_TRIALS
            )
        # The asked trial stays open and counts for nothing: TPE looks at complete ones alone.
        asked = self._study.ask(self._space)
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return np.array([[asked.params[name] for name in self._space]])

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        for point, value in zip(points.tolist(), values.tolist(), strict=True):
            params = dict(zip(self._space, point, strict=True))
            self._study.add_trial(optuna.trial.create_trial(params=params, distributions=self._space, value=value))
        self._told += len(points)


class GaussianProcess:
    """Bayesian optimisation: expected improvement under a Gaussian process, Matern 5/2 with one length scale.

    Ten random points first. The improvement is maximised over 2 048 uniform points and 512 around the best point, at
    distances from 0.3 to 0.003. scikit-learn's process: Optuna's sampler, without its optional greenlet, takes more
    than a second for each point.
    """

    uses_gradient = False

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._seed = seed
        self._points, self._values = np.zeros((0, start.size)), np.zeros(0)

    def ask(self) -> np.ndarray:
        n, D = self._points.shape
        rng = generator(self._seed, n)
        if n <= _STARTUP_TRIALS:
            return rng.random((1, D))
        best = int(np.argmax(self._values))
        near = self._points[best] + rng.standard_normal((512, D)) * 10 ** rng.uniform(-2.5, -0.5, (512, 1))
        candidates = np.concatenate([rng.random((2048, D)), np.clip(near, 0.0, 1.0)])
        spread = self._values.std()
        if spread == 0:
            return candidates[:1]
        y = (self._values - self._values.mean()) / spread
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(0.5, (0.05, 20.0), nu=2.5) + WhiteKernel(1e-4, (1e-8, 1.0))
        with warnings.catch_warnings():
            # A hyper-parameter at its bound is a fine answer.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = GaussianProcessRegressor(kernel).fit(self._points, y)
            mean, deviation = model.predict(candidates, return_std=True)
        gain = mean - y[best]
        z = gain / np.maximum(deviation, 1e-12)
        improvement = gain * norm.cdf(z) + deviation * norm.pdf(z)
        return candidates[np.argmax(improvement)][None]

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        self._points, self._values = np.concatenate([self._points, points]), np.append(self._values, values)


class CmaEs:
    """CMA-ES (Hansen and Ostermeier 2001) of the package cmaes: 4 + floor(3 ln D) samples, step 0.3.

    Begins at the start; once converged, again from a random point with twice the population (Auger and Hansen 2005).
    """

    uses_gradient = False

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        self._seed, self._D, self._restarts = seed, start.size, 0
        self._generation = 0
        # The package wants two dimensions at least; a second one that nothing depends on does no harm.
        self._dims = max(2, start.size)
        self._begin(np.append(start, np.full(self._dims - start.size, 0.5)), 4 + int(3 * np.log(self._dims)))

    def _begin(self, mean: np.ndarray, population: int) -> None:
        bounds = np.tile([0.0, 1.0], (self._dims, 1))
        seed = int(np.random.SeedSequence([self._seed, self._restarts]).generate_state(1)[0])
        self._cma = cmaes.CMA(mean=mean, sigma=0.3, bounds=bounds, seed=seed, population_size=population)
        self._full: list[np.ndarray] = []

    def ask(self) -> np.ndarray:
        self._full = [self._cma.ask() for _ in range(self._cma.population_size)]
        return np.stack(self._full)[:, : self._D]

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        if self._generation > 0:
            self._cma.tell([(x, -float(v)) for x, v in zip(self._full, values, strict=True)])
            if self._cma.should_stop():
                self._restarts += 1
                rng = generator(self._seed, self._generation)
                self._begin(rng.random(self._dims), 2 * self._cma.population_size)
        self._generation += 1


class Gradient:
    """Adam (Kingma and Ba 2015) on the loss whose gradient it is told, from the start, inside the cube.

    Steps shrink linearly to a tenth over the budget; each evaluated point is where the next gradient is taken.
    """

    uses_gradient = True
    STEP = 0.1
    BETAS = (0.9, 0.99)

    def __init__(self, start: np.ndarray, budget: int, seed: int) -> None:
        # A step is charged 4 of the budget (:data:`emer.training.search.GRADIENT_PASSES`).
        self._point, self._planned = start, max(1, budget // 4)
        self._steps = 0
        self._first, self._second = np.zeros(start.size), np.zeros(start.size)

    def ask(self) -> np.ndarray:
        return self._point[None]

    def tell(self, points: np.ndarray, values: np.ndarray, gradients: np.ndarray | None) -> None:
        assert gradients is not None  # uses_gradient
        g = gradients[0]
        self._steps += 1
        b1, b2 = self.BETAS
        self._first = b1 * self._first + (1 - b1) * g
        self._second = b2 * self._second + (1 - b2) * g**2
        direction = (self._first / (1 - b1**self._steps)) / (np.sqrt(self._second / (1 - b2**self._steps)) + 1e-12)
        shrunk = self.STEP * max(0.1, 1 - self._steps / self._planned)
        self._point = np.clip(points[0] + shrunk * direction, 0.0, 1.0)
