"""The jobs of the experiments: each composes, and no two would share a row of the table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from hydra import compose, initialize_config_dir

from emer.config_files import config_dir
from emer.jobs.app import register
from emer.labels import method_label


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def jobs_of(experiment: str) -> list[str]:
    text = (config_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["hydra"]["sweeper"]["jobs"]


def without_rate(job: str) -> str:
    return " ".join(part for part in job.split() if not part.startswith("method.optimizer.lr="))


@pytest.mark.slow
def test_every_job_is_a_row_of_its_own_under_one_budget() -> None:
    labels = []
    for job in jobs_of("all_methods"):
        cfg = compose("train", ["experiment=all_methods", *job.split()])
        labels.append(method_label(cfg.method))
        formula = cfg.method.name == "fusion_formula"
        assert cfg.monitor == ("tuning/best" if formula else "val/label_gauc/mean"), job
        assert (cfg.trainer.max_epochs, cfg.num_threads, cfg.baselines.fusion_formula) == (8, 1, False), job
        if formula:
            assert cfg.method.tuner.n_trials == 200, job
        elif "optimizer" in cfg.method:
            assert "method.optimizer.lr=" in job, "a network without a chosen learning rate"
    assert len(set(labels)) == len(labels)
    assert "emer" in labels


def test_the_learning_rate_of_every_network_was_searched() -> None:
    searched = set(jobs_of("learning_rates"))
    trained = {without_rate(job) for job in jobs_of("all_methods") if "method.optimizer.lr=" in job}
    assert searched < trained
    # An ablation that changes the input has its own; these have their method's.
    assert trained - searched == {"method=emer +ablation=no_comp", "method=pantheon +ablation=no_ippo"}
