"""The README's KuaiRand commands: on a made-up log in the official layout, and on the real one where it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from hydra import initialize_config_dir
from tests.methods.conftest import METHODS, method_config

from emer.config_files import config_dir
from emer.data.module import RequestDataModule
from emer.data.splits import read_splits
from emer.data.table import RequestTable
from emer.instantiation import instantiate
from emer.jobs.app import register

from .conftest import read

pytestmark = [pytest.mark.e2e, pytest.mark.real_data, pytest.mark.slow]


def splits_of(folder: Path) -> dict[str, RequestTable]:
    splits = read_splits(folder)
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def test_prepare_train_and_compare_on_the_real_log(run, real_data, shared_cache) -> None:
    """One test for all, since one preparation serves all."""
    data = ["data=kuairand", f"data.root={real_data}", "num_threads=1"]
    prepared = run("prepare", *data, "data.source.reference=true", timeout=900)
    trees, quality = (read(prepared.folder / name) for name in ("reference.json", "calibration.json"))
    for objective in ("pctr", "plvtr", "pcpr", "pltr"):
        assert objective in prepared.out
        assert quality["pooled"][objective]["auc"] > trees["auc"][objective] - 0.03
        assert quality["pooled"][objective]["ece"] < 0.02
    assert "AUC HistGB" in prepared.out
    for name in ("calibration.png", "source.json", "test/part-00000.parquet"):
        assert (prepared.folder / name).is_file()
    tables = splits_of(prepared.folder)
    assert len(tables["train"]) > 10_000 and len(tables["validation"]) > 1_000 and len(tables["test"]) > 1_500

    settings = ["trainer.max_epochs=1", "logger=none", "baselines.trials=8"]
    part = "trainer.limit_train_batches=80"  # of some 210
    folder = run("train", *data, *settings, part).folder
    metrics, comparison = read(folder / "metrics.json"), read(folder / "comparison.json")
    assert metrics["test/exposed_pxtr_gauc/mean"] > 0.6
    for name in ("label_gauc/click", "exposed_pxtr_gauc/pctr"):
        row = comparison[name]
        assert row["random"] == 0.5
        for column in ("method", "fusion_formula", "fusion_formula difference"):
            assert row[column]["low"] < row[column]["estimate"] < row[column]["high"]

    formula = run("train", *data, *settings, "method=fusion_formula").folder
    assert read(formula / "metrics.json")["test/pxtr_gauc/mean"] > 0.5
    ablation = run(
        "train", *data, *settings, "+ablation=no_prior", "trainer.limit_train_batches=20",
        "baselines.fusion_formula=false",
    ).folder  # fmt: skip
    assert read(ablation / "status.json")["label"].startswith("emer-no_prior_kuairand")

    validated = run("validate", f"data.root={prepared.folder}")
    assert "no problems" in validated.out
    own = run("train", "data=parquet", f"data.root={prepared.folder}", *settings, part, "num_threads=1").folder
    assert read(own / "metrics.json") == metrics
    again = run("evaluate", f"run={folder}", f"data_root={real_data}", "num_threads=1")
    assert "metrics equal the run's own exactly" in again.out

    few_of = {name: table.select(np.arange(len(table)) < 128) for name, table in tables.items()}
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for method in [name for name in METHODS if name != "production"]:  # the log does not say how it was ordered
            few = ["method.tuner.n_trials=4"] if method == "fusion_formula" else []
            schema = few_of["train"].schema
            module = instantiate(method_config(f"method={method}", *few).method.module, schema=schema)
            trainer = pl.Trainer(
                accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, use_distributed_sampler=False, default_root_dir=prepared.folder.parent,
            )  # fmt: skip
            trainer.fit(module, RequestDataModule(**few_of, batch_size=64))
            trainer.test(module, RequestDataModule(**few_of, batch_size=64), verbose=False)
            value = module.test_summary["label_gauc/click"]
            assert value is not None, method
            assert 0.2 < value < 0.9, method
