"""Black-box search for the fusion formula's parameters: Optuna's TPE, one trial at a time, exactly
resumable.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from torch import Tensor

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.files import write_json
from emer.models.fusion import FusionFormula
from emer.requests import Schema
from emer.training.pair_objective import PairObjective, TuningObjective

LOG_RATIO_RANGE = math.log(100.0)
"""u is searched this far on either side of the hand-set value: from nearly linear to nearly a pure power."""

LARGEST_EXPONENT = 2.0
"""c is searched in [0, this]; the hand-set value is 1, and 0 leaves an objective out."""

_STARTUP_TRIALS = 10
_CACHE_VERSION = 2


@dataclass(frozen=True)
class Trial:
    """One evaluated formula: K log ratios u, K exponents c (:class:`emer.models.fusion.FusionFormula`)."""

    log_ratio: tuple[float, ...]
    exponent: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class TunedFormula:
    """What a search found: the objectives' names and all trials, in order."""

    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The first trial with the largest value."""
        return max(self.trials, key=lambda trial: trial.value)

    def formula(self) -> FusionFormula:
        """The best trial's formula."""
        return FusionFormula(self.objectives, self.best.log_ratio, self.best.exponent)


class FormulaTuner:
    """Asks TPE for parameters, evaluates them, remembers.

    The first trial is the hand-set formula. Each later one is a function of the seed and the trials before it
    alone (a fresh sampler per trial, seeded by its number), so a search that was stopped and restored goes on
    as if it had not been.

    Args:
        schema: names the objectives and gives the hand-set formula.
        evaluate: (u (K,), c (K,)) float64 -> value, larger is better.
        seed: of the search.
    """

    def __init__(self, schema: Schema, evaluate: Callable[[Tensor, Tensor], float], *, seed: int = 0) -> None:
        start = FusionFormula.hand_set(schema)
        self.objectives = schema.objective_names
        self.trials: list[Trial] = []
        self._evaluate = evaluate
        self._seed = seed
        self._start = tuple(start.log_ratio.tolist()), tuple(start.exponent.tolist())
        self._space: dict[str, BaseDistribution] = {}
        for name, u in zip(self.objectives, self._start[0], strict=True):
            self._space[f"u_{name}"] = FloatDistribution(u - LOG_RATIO_RANGE, u + LOG_RATIO_RANGE)
            self._space[f"c_{name}"] = FloatDistribution(0.0, LARGEST_EXPONENT)
        self._study = _quiet_study()

    def step(self) -> Trial:
        """Run the next trial."""
        if not self.trials:
            trial = self._run(*self._start)
            self._add(trial)
            return trial
        self._study.sampler = _sampler(self._seed, len(self.trials))
        asked = self._study.ask(self._space)
        trial = self._run(
            tuple(asked.params[f"u_{name}"] for name in self.objectives),
            tuple(asked.params[f"c_{name}"] for name in self.objectives),
        )
        self._study.tell(asked, trial.value)
        self.trials.append(trial)
        return trial

    def restore(self, trials: Sequence[Trial]) -> None:
        """Forget what was tried and go on from ``trials`` of an earlier search."""
        self.trials = []
        self._study = _quiet_study()
        for trial in trials:
            self._add(trial)

    def result(self) -> TunedFormula:
        """All trials so far."""
        return TunedFormula(self.objectives, tuple(self.trials))

    def _run(self, log_ratio: tuple[float, ...], exponent: tuple[float, ...]) -> Trial:
        u, c = (torch.tensor(values, dtype=torch.float64) for values in (log_ratio, exponent))
        return Trial(log_ratio, exponent, self._evaluate(u, c))

    def _add(self, trial: Trial) -> None:
        params = {f"u_{name}": u for name, u in zip(self.objectives, trial.log_ratio, strict=True)}
        params |= {f"c_{name}": c for name, c in zip(self.objectives, trial.exponent, strict=True)}
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=self._space, value=trial.value))
        self.trials.append(trial)


def tune_formula(
    table: RequestTable,
    *,
    objective: TuningObjective = "label_gauc",
    n_trials: int = 200,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> TunedFormula:
    """Search the fusion formula with the largest mean GAUC on ``table``.

    Args:
        table: the tuning requests; report on later ones.
        objective: see :class:`emer.training.pair_objective.PairObjective`.
        n_trials: formulas that are evaluated, the hand-set one included.
        seed: of the search and of the sample of requests it looks at.
        cache_dir: where results are kept, by the table's content and these settings; None keeps nothing.
        on_trial: called with (trials done, trial) after each, for a progress bar.

    Returns:
        All trials, the best of which is the formula.

    Raises:
        EmerError: the budget is below 1, the objective unknown, or the table has no pair to order.
    """
    if n_trials < 1:
        raise EmerError(f"the fusion formula's budget is {n_trials} trials; it must be at least 1")
    path = None
    if cache_dir is not None:
        settings = [_CACHE_VERSION, optuna.__version__, table.fingerprint(), objective, n_trials, seed]
        name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        path = Path(cache_dir) / f"fusion_formula-{name}.json"
        if (kept := _read(path, table.schema.objective_names)) is not None:
            return kept
    tuner = FormulaTuner(table.schema, PairObjective(table, objective, seed=seed), seed=seed)
    for done in range(1, n_trials + 1):
        trial = tuner.step()
        if on_trial is not None:
            on_trial(done, trial)
    result = tuner.result()
    if path is not None:
        write_json(path, asdict(result))
    return result


def _sampler(seed: int, trial: int) -> optuna.samplers.BaseSampler:
    state = np.random.SeedSequence([seed, trial]).generate_state(1)
    with warnings.catch_warnings():
        # Optuna 4 calls the joint model experimental; in 5 it is the default.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=int(state[0]), multivariate=True, constant_liar=False, n_startup_trials=_STARTUP_TRIALS
        )


def _quiet_study() -> optuna.Study:
    """A study in memory, without Optuna's line about its creation."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)


def _read(path: Path, objectives: tuple[str, ...]) -> TunedFormula | None:
    """A kept result, or None if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(Trial(tuple(t["log_ratio"]), tuple(t["exponent"]), float(t["value"])) for t in content["trials"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TunedFormula(objectives, trials) if trials else None
