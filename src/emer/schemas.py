"""Typed schemas of the configs. Each method has its own, so that a foreign key is an error.

An ablation of EMER on a method without that switch must fail, not compose silently and mislabel the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from emer.models.ranker import EmerRankerConfig
from emer.objectives.emer import EmerObjectiveConfig


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
    objective: str = MISSING
    n_trials: int = MISSING


@dataclass
class EmerModelNode(EmerRankerConfig):
    _partial_: bool = True


@dataclass
class EmerMethodConfig:
    """``conf/method/emer.yaml``. The optimiser is any of torch's, hence untyped."""

    name: str = MISSING
    monitor: str = MISSING
    monitor_mode: str = MISSING
    patience: int = MISSING
    switches: dict[str, str] = field(default_factory=dict)
    model: EmerModelNode = field(default_factory=EmerModelNode)
    objective: EmerObjectiveConfig = field(default_factory=EmerObjectiveConfig)
    previous: PreviousConfig = field(default_factory=PreviousConfig)
    optimizer: Any = MISSING
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    module: Any = MISSING


@dataclass
class FusionFormulaMethodConfig:
    """``conf/method/fusion_formula.yaml``."""

    name: str = MISSING
    monitor: str = MISSING
    monitor_mode: str = MISSING
    patience: int = MISSING
    switches: dict[str, str] = field(default_factory=dict)
    tuner: TunerConfig = field(default_factory=TunerConfig)
    module: Any = MISSING


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


def register() -> None:
    """Make the schemas known to Hydra."""
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="ask_tell", node=AskTellConfig)
    store.store(group="schema", name="train", node=TrainConfig)
    store.store(group="schema/method", name="emer", node=EmerMethodConfig)
    store.store(group="schema/method", name="fusion_formula", node=FusionFormulaMethodConfig)
