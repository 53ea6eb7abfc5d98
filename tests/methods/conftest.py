"""Every method of conf/method as its config builds it, on a log of seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from emer.config_files import config_dir
from emer.data.simulated import SimulatedSource, simulate_requests
from emer.data.table import RequestTable
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.requests import Schema
from emer.training.evaluated_module import EvaluatedModule

METHODS = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
RANKERS = [m for m in METHODS if "shared/ranker@" in (config_dir() / "method" / f"{m}.yaml").read_text()]

SHORT = {"grade": ["method.objective.warm_start_steps=1"]}
"""What a method needs so that a training of four batches comes to all that it does: GRADE to its policy gradient."""


@pytest.fixture(scope="session")
def tables() -> dict[str, RequestTable]:
    source = SimulatedSource(
        users=20, videos=1000, candidates=10, slate=5, train_requests=40, validation_requests=16, test_requests=16
    )
    return simulate_requests(source)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def method_config(*overrides: str) -> DictConfig:
    """The resolved config of a training job."""
    resolved = OmegaConf.create(OmegaConf.to_container(compose("train", [*overrides]), resolve=True))
    assert isinstance(resolved, DictConfig)
    return resolved


@pytest.fixture
def build() -> Callable[..., EvaluatedModule]:
    """(schema, overrides) -> the LightningModule of the composed method, with seeded parameters and :data:`SHORT`."""

    def make(schema: Schema, *overrides: str) -> EvaluatedModule:
        torch.manual_seed(0)
        short = [more for method, settings in SHORT.items() if f"method={method}" in overrides for more in settings]
        return instantiate(method_config(*overrides, *short).method.module, schema=schema, top_k=5)

    return make
