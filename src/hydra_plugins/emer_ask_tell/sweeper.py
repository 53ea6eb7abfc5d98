"""Hyper-parameter search: a Hydra sweeper over a current Optuna, by ask and tell.

Each trial is a job of the sweep with its own run folder, started by whatever launcher is chosen; under DDP all
its ranks get the one composed config (see :mod:`emer.jobs.launch`).

Hydra accepts sweepers only from below ``hydra_plugins``, and imports this file whenever it starts: Optuna is
imported when a search begins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from emer.errors import EmerError
from emer.files import write_json

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class AskTellSweeper(Sweeper):
    """Samples overrides with Optuna and tells it each job's ``optimized_metric``.

    Args:
        algorithm: ``tpe``, ``nsga2`` (several metrics at once) or ``random``.
        direction: ``minimize`` or ``maximize``, or a list with one for each metric.
        n_trials: jobs in all.
        population: trials per generation of ``nsga2``.
        batch: jobs handed to the launcher at a time; more than 1 pays with a parallel launcher.
        seed: of the sampler.
        params: config key -> {low, high, log, step, int} or {choices}; null takes a preset one out.
    """

    def __init__(
        self,
        algorithm: str,
        direction: str | Sequence[str],
        n_trials: int,
        population: int,
        batch: int,
        seed: int,
        params: dict[str, Any],
    ) -> None:
        directions = [direction] if isinstance(direction, str) else list(direction)
        wrong = [d for d in directions if d not in ("minimize", "maximize")]
        if wrong:
            raise EmerError(f"hydra.sweeper.direction is {', '.join(wrong)}; it must be minimize or maximize")
        self.directions = directions
        for name, number in (("n_trials", n_trials), ("batch", batch), ("population", population)):
            if number < 1:
                raise EmerError(f"hydra.sweeper.{name} is {number}; it must be at least 1")
        if algorithm == "nsga2" and n_trials <= population:
            raise EmerError(
                f"hydra.sweeper.n_trials is {n_trials}, but a generation of nsga2 has {population}: "
                "it would only draw at random; raise n_trials or lower hydra.sweeper.population"
            )
        if not params:
            raise EmerError("hydra.sweeper.params is empty: there is nothing to search")
        self.population = population
        self.algorithm, self.n_trials, self.batch, self.seed = algorithm, n_trials, batch, seed
        given = {key: spec for key, spec in params.items() if spec is not None}
        self.space = {key: distribution(key, OmegaConf.to_container(OmegaConf.create(v))) for key, v in given.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.job_config = config
        self.job_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run all trials; ``arguments`` are the command line's own overrides, the same for every trial.

        Raises:
            EmerError: an argument is itself a sweep, or every trial failed.
        """
        import optuna
        from optuna.trial import TrialState

        for override in OverridesParser.create().parse_overrides(arguments):
            if override.is_sweep_override():
                raise EmerError(
                    f"{override.get_key_element()} is swept on the command line, but hparams_search samples; "
                    "put it into hydra.sweeper.params, or leave hparams_search out"
                )
        folder = Path(self.job_config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=[optuna.study.StudyDirection[d.upper()] for d in self.directions],
            sampler=sampler(self.algorithm, self.seed, self.population),
        )
        done = 0
        while done < self.n_trials:
            trials = [study.ask(self.space) for _ in range(min(self.batch, self.n_trials - done))]
            jobs = [[*arguments, *(f"{k}={json.dumps(v)}" for k, v in trial.params.items())] for trial in trials]
            results = self.job_launcher.launch(jobs, initial_job_idx=done)
            for trial, result in zip(trials, results, strict=True):
                if result.status == JobStatus.COMPLETED:
                    study.tell(trial, result.return_value)
                else:
                    study.tell(trial, state=TrialState.FAIL)
                    log.warning("trial %d failed: %s", trial.number, result._return_value)
            done += len(trials)
            write_json(folder / "sweep.json", summary(study, self.job_config.optimized_metric))
        if not study.get_trials(states=[TrialState.COMPLETE]):
            raise EmerError(f"all {self.n_trials} trials failed; the last said: {results[-1]._return_value}")
        for best in study.best_trials:
            print(f"best: {best.values}  {' '.join(f'{k}={v}' for k, v in best.params.items())}")
        print(folder)


def sampler(algorithm: str, seed: int, population: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler by name.

    Raises:
        EmerError: there is none of that name.
    """
    import optuna

    samplers: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "nsga2": partial(optuna.samplers.NSGAIISampler, population_size=population),
        "random": optuna.samplers.RandomSampler,
    }
    if algorithm not in samplers:
        raise EmerError(f"hydra.sweeper.algorithm is {algorithm!r}; it must be one of {', '.join(samplers)}")
    return samplers[algorithm](seed=seed)


def distribution(key: str, spec: Any) -> optuna.distributions.BaseDistribution:
    """The search range of one config key.

    Raises:
        EmerError: the range is neither {low, high, ...} nor {choices}.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    try:
        if "choices" in spec:
            return CategoricalDistribution(spec["choices"])
        kind = IntDistribution if spec.get("int") else FloatDistribution
        more = {name: spec[name] for name in ("log", "step") if name in spec}
        return kind(spec["low"], spec["high"], **more)
    except (KeyError, TypeError, ValueError) as error:
        raise EmerError(
            f"hydra.sweeper.params.{key} is {spec}: {error}. Write {{low: 1e-4, high: 1e-2, log: true}}, "
            "{low: 1, high: 4, int: true} or {choices: [32, 64]}"
        ) from error


def summary(study: optuna.Study, metric: Any) -> dict[str, Any]:
    """Every trial so far, and the best ones, JSON-ready."""
    from optuna.trial import TrialState

    complete = study.get_trials(states=[TrialState.COMPLETE])
    return {
        "metric": OmegaConf.to_container(metric) if OmegaConf.is_config(metric) else metric,
        "directions": [d.name.lower() for d in study.directions],
        "best": [t.number for t in study.best_trials] if complete else [],
        "trials": [
            {"number": t.number, "state": t.state.name.lower(), "values": t.values, "params": t.params}
            for t in study.trials
        ],
    }
