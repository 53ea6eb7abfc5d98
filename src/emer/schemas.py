"""Typed schemas of the configs. Each model and objective has its own, so that a foreign key is an error.

An ablation of EMER on a method without that switch must fail, not compose silently and mislabel the run.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass, make_dataclass
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from emer import models, objectives


@dataclass
class PreviousConfig:
    _target_: str = "emer.training.previous.PreviousModel"
    _partial_: bool = True
    source: str = MISSING
    refresh_steps: int = MISSING
    ema_decay: float = MISSING


@dataclass
class ScheduleConfig:
    warmup_steps: int = MISSING
    final_lr_factor: float = MISSING


@dataclass
class TunerConfig:
    tuned: bool = MISSING
    algorithm: str = MISSING
    objective: str = MISSING
    n_trials: int = MISSING
    segment: str | None = MISSING
    segment_requests: int = MISSING


@dataclass
class MethodConfig:
    """What every file of ``conf/method`` has."""

    name: str = MISSING
    monitor: str = MISSING
    monitor_mode: str = MISSING
    patience: int = MISSING
    switches: dict[str, str] = field(default_factory=dict)
    module: Any = MISSING


@dataclass
class RankerMethodConfig(MethodConfig):
    """``conf/method/shared/ranker.yaml`` and every method built on it.

    The model and the objective bring schemas of their own; the optimiser is any of torch's.
    """

    default_objective: str = MISSING
    objective_name: str = MISSING
    # None: a switch of the file that this objective's is built on, which it has not.
    objective_switches: dict[str, str | None] = field(default_factory=dict)
    model: Any = MISSING
    objective: Any = MISSING
    previous: PreviousConfig = field(default_factory=PreviousConfig)
    optimizer: Any = MISSING
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@dataclass
class FusionFormulaMethodConfig(MethodConfig):
    """``conf/method/fusion_formula.yaml``."""

    formula: str = MISSING
    tuner: TunerConfig = field(default_factory=TunerConfig)


@dataclass
class FixedMethodConfig(MethodConfig):
    """``conf/method/shared/fixed.yaml`` and every scorer without parameters built on it."""

    model: Any = MISSING


@dataclass
class RunConfig:
    dir: str | None = None
    identity: str | None = None
    group: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class MetricsConfig:
    top_k: int = MISSING


@dataclass
class LoaderConfig:
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    shuffle: bool = MISSING
    num_workers: int = MISSING
    pin_memory: bool = MISSING
    iput_floor: float = MISSING
    fractions: list[float] = MISSING
    stream: bool = MISSING
    buffer: int = MISSING
    sample: int = MISSING
    keep_positives: dict[str, float] = field(default_factory=dict)


@dataclass
class BaselinesConfig:
    fusion_formula: bool = MISSING
    trials: int = MISSING
    objective: str = MISSING


@dataclass
class TrainConfig:
    """``conf/train.yaml`` without its groups, which bring their own content."""

    task_name: str = MISSING
    seed: int = MISSING
    tags: list[str] = MISSING
    num_threads: int | None = MISSING
    ckpt_path: str | None = MISSING
    reuse: bool = MISSING
    monitor: str = MISSING
    monitor_mode: str = MISSING
    patience: int = MISSING
    optimized_metric: Any = MISSING
    run: RunConfig = field(default_factory=RunConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    paths: Any = None
    data: Any = None
    method: Any = None
    trainer: Any = None
    callbacks: Any = None
    logger: Any = None


@dataclass
class AskTellConfig:
    """``hydra.sweeper`` of conf/hparams_search."""

    _target_: str = "hydra_plugins.emer_ask_tell.sweeper.AskTellSweeper"
    algorithm: str = "tpe"
    population: int = 8
    direction: Any = "minimize"
    n_trials: int = 20
    batch: int = 1
    seed: int = 1
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class JobsConfig:
    """``hydra.sweeper`` of experiments whose jobs are no grid."""

    _target_: str = "hydra_plugins.emer_jobs.sweeper.JobsSweeper"
    jobs: list[str] = MISSING
    params: dict[str, str] = field(default_factory=dict)
    max_batch_size: int | None = None


def schemas_in(package: ModuleType) -> Iterator[tuple[str, type]]:
    """(name, dataclass) of each ``<Class>Config`` that a module of ``package`` defines; the name is <class> in snake
    case. A new model or objective is found by being there.
    """
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for attribute, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and is_dataclass(value) and isinstance(value, type) and attribute.endswith("Config"):
                yield re.sub(r"(?<!^)(?=[A-Z])", "_", attribute.removesuffix("Config")).lower(), value


def register() -> None:
    """Make the schemas known to Hydra."""
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="ask_tell", node=AskTellConfig)
    store.store(group="hydra/sweeper", name="jobs", node=JobsConfig)
    store.store(group="schema", name="train", node=TrainConfig)
    store.store(group="schema/method", name="ranker", node=RankerMethodConfig)
    store.store(group="schema/method", name="fusion_formula", node=FusionFormulaMethodConfig)
    store.store(group="schema/method", name="fixed", node=FixedMethodConfig)
    for name, schema in schemas_in(models):
        # The training module calls it with the request log's schema, hence partial.
        node = make_dataclass(f"{schema.__name__}Node", [("_partial_", bool, True)], bases=(schema,))
        store.store(group="schema/model", name=name, node=node)
    for name, schema in schemas_in(objectives):
        store.store(group="schema/objective", name=name, node=schema)
