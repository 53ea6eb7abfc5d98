"""UREM as it is composed and trained: one key for the public code's quirks, and a decoder only where it is read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from emer.config_files import config_dir
from emer.data.module import RequestDataModule
from emer.data.simulated import SimulatedSource, simulate_requests
from emer.errors import EmerError
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.labels import method_label
from emer.models.harmonrank import HarmonRank
from emer.objectives.urem import UremObjective
from emer.training.ranker_module import RankerModule


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def tables():
    source = SimulatedSource(
        users=20, videos=1000, candidates=10, slate=5, train_requests=40, validation_requests=8, test_requests=8
    )
    return simulate_requests(source)


def method(*overrides: str) -> DictConfig:
    return compose("train", ["method=urem", *overrides]).method


def module_of(tables, *overrides: str) -> RankerModule:
    torch.manual_seed(0)
    return instantiate(method(*overrides).module, schema=tables["train"].schema)


def fit(module, tables, epochs: int) -> dict[str, torch.Tensor]:
    """Everything that was logged last."""
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=epochs,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, RequestDataModule(**tables, batch_size=20))
    return dict(trainer.callback_metrics)


def test_quirks_are_set_once_for_both() -> None:
    for wanted in (True, False):
        both = method(f"method.model.reference_quirks={wanted}")
        assert [both.model.reference_quirks, both.objective.reference_quirks] == [wanted, wanted]
    assert method_label(method("method.model.reference_quirks=true")) == "urem-quirks"
    assert method_label(method("method.model.backbone=lr")) == "urem-lr"


@pytest.mark.parametrize("overrides", [["+ablation=no_reconstruction"], ["objective=rank_sum"]])
def test_the_decoder_is_there_only_where_it_is_read(overrides, tables) -> None:
    assert method().model.decoder
    assert not method(*overrides).model.decoder
    module = module_of(tables, *overrides)
    assert module.details == ()
    assert not any("decoder" in name for name, _ in module.named_parameters())


@pytest.mark.parametrize("off", ["exposure", "similarity", "reconstruction"])
def test_an_ablation_takes_its_term_away(off, tables) -> None:
    schema = tables["train"].schema
    full, ablated = (module_of(tables, *more).objective.term_names(schema) for more in ([], [f"+ablation=no_{off}"]))
    assert set(full) - set(ablated) == {name for name in full if name.split("/")[0] == off}
    assert set(ablated) < set(full)
    assert method_label(method(f"+ablation=no_{off}")) == f"urem-no_{off}"


@pytest.mark.slow
def test_training_lowers_every_term(tables) -> None:
    first, later = (fit(module_of(tables, "method.model.bins=20"), tables, epochs) for epochs in (1, 8))
    for name, least in (("exposure", 0.05), ("similarity", 0.1), ("reconstruction", 0.05), ("loss", 0.3)):
        assert later[f"train/{name}_epoch"] < first[f"train/{name}_epoch"] - least
    assert {f"val/similarity/{name}" for name in tables["train"].schema.objective_names} <= set(later)


def test_a_model_without_decoder_is_refused_with_the_reason(tables) -> None:
    def module(**options) -> RankerModule:
        return RankerModule(
            tables["train"].schema,
            model=HarmonRank,
            objective=UremObjective(**options),
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
        )

    with pytest.raises(EmerError, match=r"HarmonRank does not give; set method\.objective\.reconstruction=false"):
        module()
    assert "val/similarity" in fit(module(reconstruction=False), tables, 1)


def test_on_any_is_the_objective_without_its_reconstruction() -> None:
    here, there = (
        OmegaConf.to_container(method(f"objective={name}").objective, resolve=True) for name in ("urem", "urem_on_any")
    )
    assert here == {**there, "reconstruction": True}
    assert not there["reconstruction"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exposure", (None, None, 0.0)),
        ("exposure_weighted", (None, None, 1.0)),
        ("primary", ("long_view", "click", 0.0)),
    ],
)
def test_the_losses_of_the_public_code_are_composed_as_documented(name, expected, tables) -> None:
    objective = module_of(tables, f"objective={name}").objective
    assert (objective.target, objective.among, objective.label_factor) == expected
    assert method_label(method(f"objective={name}")) == f"urem+{name}"


def test_drawn_pairs_go_on_where_a_checkpoint_stopped(batch_of) -> None:
    batch = batch_of(B=4, N=9)
    scores = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    objective, resumed = (UremObjective(reconstruction=False, pairs=5) for _ in range(2))
    objective(scores, batch)
    resumed.load_state_dict(objective.state_dict())
    torch.rand(7)
    assert torch.equal(objective(scores, batch).loss, resumed(scores, batch).loss)
    other = UremObjective(reconstruction=False, pairs=5, seed=1)
    other.load_state_dict(objective.state_dict())
    assert not torch.equal(objective(scores, batch).loss, other(scores, batch).loss)


def test_quirks_train(tables) -> None:
    logged = fit(module_of(tables, "method.model.reference_quirks=true", "method.model.backbone=mlp"), tables, 2)
    assert all(torch.isfinite(value) for value in logged.values())
