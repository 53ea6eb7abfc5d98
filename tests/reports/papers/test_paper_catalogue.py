"""The catalogue: whole, joined to its sweeps and docs, and with the papers' numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emer.config_files import config_dir
from emer.errors import EmerError
from emer.reports.papers.definitions import Experiment, experiment, experiments

ROOT = Path(__file__).parents[3]
FIVE = "auc_sum/click,long_view,complete,like,comment"
EACH = pytest.mark.parametrize("definition", experiments().values(), ids=experiments())


def test_the_issue_of_every_table_is_there() -> None:
    wanted = [f"emer_table_{n}" for n in range(1, 7)] + [f"emer_figure_{n}" for n in (1, 4, 5)]
    wanted += [f"harmonrank_table_{n}" for n in (1, 2, 3, 4, 5, 7, 10)] + [f"harmonrank_figure_{n}" for n in (4, 5)]
    assert set(experiments()) == {*wanted, "pantheon_ablation", "pantheon_ippo"}
    assert sum(len(definition.claims) for definition in experiments().values()) >= 40


@EACH
def test_its_sweep_ends_with_it(definition: Experiment) -> None:
    path = config_dir() / "experiment" / f"{definition.name}.yaml"
    hydra = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]
    assert hydra["callbacks"]["table"] == {
        "_target_": "emer.jobs.paper_table.PaperTable",
        "name": definition.name,
    }
    assert hydra["sweeper"]["jobs"]


@EACH
def test_claims_are_about_its_variants(definition: Experiment) -> None:
    known = {*definition.variants, definition.reference, ""}
    if definition.kind == "front":
        known |= {variant.rsplit("_", 1)[0] for variant in definition.variants}
    metrics = {*definition.metrics, *definition.also, "hypervolume"}
    for claim in definition.claims:
        assert {part.variant for part in claim.components} <= known, claim.key
        assert {part.against for part in claim.components} <= known, claim.key
        assert {part.metric for part in claim.components} <= metrics, claim.key
    for rows in definition.published.values():
        assert set(rows) <= metrics
        assert {variant for row in rows.values() for variant in row} <= set(definition.variants)


def test_keys_of_claims_are_unique() -> None:
    keys = [claim.key for definition in experiments().values() for claim in definition.claims]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "log", "metric", "variant", "value"),
    [
        ("emer_table_1", "scenario_1", "WatchTime", "emer", 1.542),
        ("emer_table_1", "scenario_2", "Like", "emer", -0.270),
        ("emer_table_2", "scenario_2", "pxtr_gauc/plvtr", "urem", 0.761),
        ("emer_table_3", "scenario_1", "pxtr_gauc/pcpr", "emer-no_evolve", 0.551),
        ("emer_table_3", "scenario_1", "pxtr_gauc/pftr", "emer", 0.743),
        ("emer_table_4", "scenario_1", "Forward", "emer-no_iput", -10.826),
        ("emer_table_4", "scenario_1", "VideoView", "emer-no_evolve", -1.303),
        ("emer_table_5", "scenario_1", "iput_gauc/pwtr", "emer", 0.587),
        ("emer_table_6", "scenario_1", "pxtr_gauc/pcpr", "mean", 0.584),
        ("harmonrank_table_2", "kuaishou", FIVE, "harmonrank", 3.7522),
        ("harmonrank_table_3", "kuaishou", FIVE, "harmonrank-no_gate", 3.7362),
        ("harmonrank_table_5", "kuaishou", "log_speed", "harmonrank", 26000),
        ("harmonrank_table_7", "kuaishou", "Comment", "harmonrank", 3.034),
        ("harmonrank_table_10", "kuaishou", FIVE, "bce_hundredth", 3.31),
    ],
)  # fmt: skip
def test_published_numbers(name: str, log: str, metric: str, variant: str, value: float) -> None:
    assert experiment(name).published[log][metric][variant] == value


def test_the_doc_lists_every_experiment_and_the_readme_every_table_of_emer() -> None:
    doc = (ROOT / "docs" / "paper_tables.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in experiments():
        link = f"experiments/{name}/README.md"
        assert link in doc, name
        assert name.startswith("emer_") <= (link in readme), name


def test_an_unknown_experiment_names_those_that_there_are() -> None:
    with pytest.raises(EmerError, match=r"there is no experiment 'emer_table_7'; there are .*emer_table_6"):
        experiment("emer_table_7")
