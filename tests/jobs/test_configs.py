"""Every config composes; every ablation changes what it says and nothing else; wrong keys and names are explained."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, get_method
from omegaconf import DictConfig, OmegaConf

from emer.cli import JOBS, main
from emer.config_files import config_dir
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.jobs.messages import ablations_of
from emer.labels import identity, method_label
from emer.world.pxtr import ParametricStage

CONF = config_dir()

ABLATIONS = {
    "full": {},
    "no_comp": {"method.model.comparison": False},
    "no_post": {"method.objective.posterior": False},
    "no_prior": {"method.objective.prior": False},
    "no_evolve": {"method.objective.evolve": False},
    "no_iput": {"method.objective.iput": False},
}


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str, name: str = "train") -> DictConfig:
    return compose(name, [*overrides])


def flat(cfg: Any, prefix: str = "") -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        else:
            found[path] = node

    walk(content, prefix)
    return found


def options() -> list[tuple[str, str]]:
    return sorted((p.parent.relative_to(CONF).as_posix(), p.stem) for p in CONF.glob("*/*.yaml"))


def marked(option: tuple[str, str]) -> Any:
    """The many small files, each of which composes everything, are not for the quick tier."""
    many = option[0] in ("experiment", "ablation", "objective")
    return pytest.param(*option, marks=[pytest.mark.slow] if many else [])


METHODS = sorted(p.stem for p in (CONF / "method").glob("*.yaml"))
SWITCHES = [(method, name) for method in METHODS for name in ablations_of(method)]


def test_the_configs_are_all_there() -> None:
    """A test that lists the wrong folder would check nothing."""
    groups = {group for group, _ in options()}
    wanted = {
        "method",
        "objective",
        "ablation",
        "data",
        "trainer",
        "logger",
        "callbacks",
        "debug",
        "experiment",
        "hparams_search",
        "hydra",
        "paths",
        "world",
    }
    assert wanted <= groups
    assert len(options()) >= 30


@pytest.mark.parametrize(("group", "option"), map(marked, options()), ids=str)
def test_every_option_composes_and_resolves(group: str, option: str) -> None:
    rootless = {("data", "kuairand"), ("data", "parquet"), ("experiment", "kuairand")}
    required = ["data.root=/somewhere"] if (group, option) in rootless else []
    if group == "ablation":
        owner = next((method for method, name in SWITCHES if name == option), None)
        assert owner is not None, f"no method has a switch for conf/ablation/{option}.yaml"
        required = [f"method={owner}"]
    if group == "hydra":
        cfg = composed(name="train" if option == "default" else "evaluate")
    elif group == "world":
        cfg = composed(f"world={option}", name="ab_test")
    else:
        plus = "+" if group == "ablation" else ""
        cfg = composed(f"{plus}{group}={option}", *required)
    flat(cfg)


STAGES = sorted(p.stem for p in (CONF / "world" / "stage").glob("*.yaml"))


@pytest.mark.parametrize("job", ["ab_test", "calibrate", "online"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_multi_task_stage_goes_with_every_job_that_simulates(job: str, stage: str) -> None:
    setting = instantiate(composed("world=small", f"world/stage={stage}", name=job).world)
    assert isinstance(setting.stage, ParametricStage) == (stage == "parametric")
    assert setting == replace(instantiate(composed("world=small", name=job).world), stage=setting.stage)


@pytest.mark.parametrize("job", sorted(JOBS))
def test_every_job_has_a_config_and_a_function(job: str) -> None:
    name = job.replace("-", "_")
    cfg = compose(name)
    assert cfg.task_name == name
    assert callable(get_method(f"emer.jobs.{name}.{name}"))


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_an_ablation_changes_what_the_table_says(name: str) -> None:
    plain, changed = flat(composed()), flat(composed(f"+ablation={name}"))
    # The module repeats the model and objective by interpolation.
    difference = {k: v for k, v in changed.items() if plain.get(k) != v and not k.startswith("method.module.")}
    assert set(plain) == set(changed)
    assert difference == ABLATIONS[name]


ALSO = {
    ("urem", "no_reconstruction"): {"model.decoder": False},
    ("grade", "no_warm_start"): {"model.anchor_after": 0},
}
"""What an ablation has to change besides its switch: what would be left without a purpose."""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), SWITCHES)
def test_an_ablation_turns_its_switch_and_nothing_else(method: str, name: str) -> None:
    plain, changed = composed(f"method={method}").method, composed(f"method={method}", f"+ablation={name}").method
    before, after = flat(plain), flat(changed)
    difference = {k: v for k, v in after.items() if before.get(k) != v and not k.startswith("module.")}
    assert set(before) == set(after)
    if name == "full":
        assert difference == {}
        assert method_label(changed) == method
    else:
        path, _, value = {**plain.switches, **plain.objective_switches}[name].partition("=")
        assert difference == {path: yaml.safe_load(value) if value else False} | ALSO.get((method, name), {})
        assert method_label(changed) == f"{method}-{name}"


def test_emers_table_lists_its_ablations() -> None:
    assert set(ablations_of("emer")) == set(ABLATIONS)
    assert ablations_of("fusion_formula") == ["full"]


OBJECTIVES = sorted(p.stem for p in (CONF / "objective").glob("*.yaml"))
RANKERS = [method for method in METHODS if "shared/ranker@" in (CONF / "method" / f"{method}.yaml").read_text()]


@pytest.mark.parametrize("method", RANKERS)
def test_a_method_comes_with_the_objective_that_its_label_leaves_out(method: str) -> None:
    cfg = composed(f"method={method}").method
    assert cfg.name == method
    assert cfg.objective_name == cfg.default_objective
    assert method_label(cfg) == method


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_any_model_composes_with_any_objective(objective: str) -> None:
    own = OmegaConf.to_container(composed(f"objective={objective}").method.objective, resolve=True)
    for method in RANKERS:
        cfg = composed(f"method={method}", f"objective={objective}").method
        assert OmegaConf.to_container(cfg.objective, resolve=True) == own
        assert method_label(cfg) == (method if objective == cfg.default_objective else f"{method}+{objective}")


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        (("method=harmonrank", "objective=emer", "+ablation=no_post"), "harmonrank+emer-no_post"),
        (("method=harmonrank", "objective=emer", "+ablation=[no_gate,no_post]"), "harmonrank+emer-no_gate-no_post"),
        (("method=emer", "objective=urem_on_any", "+ablation=no_similarity"), "emer+urem_on_any-no_similarity"),
        (("method=emer", "objective=uame", "+ablation=no_comp"), "emer+uame-no_comp"),
        (("method=linear", "+ablation=no_prior"), "linear-no_prior"),
    ],
)
def test_an_objective_brings_its_switches_to_any_method(overrides: tuple[str, ...], label: str) -> None:
    assert method_label(composed(*overrides).method) == label
    method, objective = (next((o.split("=")[1] for o in overrides if o.startswith(k)), None) for k in ("method", "obj"))
    assert {name.strip("[]") for name in overrides[-1].split("=")[1].split(",")} < set(
        ablations_of(str(method), objective)
    )


def test_a_switch_that_an_objective_has_not_is_no_ablation_of_it() -> None:
    assert "no_reconstruction" in ablations_of("urem")
    assert "no_reconstruction" not in ablations_of("urem", "urem_on_any")
    assert "no_post" not in ablations_of("emer", "bce")


def test_the_readme_says_what_each_ablation_changes() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| `+ablation=")]
    said = {}
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        name = cells[0].strip("`").removeprefix("+ablation=")
        changes = [part.strip("` ") for part in cells[1].split(",") if "=" in part]
        said[name] = {key: {"false": False}[value] for key, value in (c.split("=") for c in changes)}
    assert said == ABLATIONS


def test_labels_come_from_the_switches() -> None:
    assert method_label(composed().method) == "emer"
    assert method_label(composed("+ablation=full").method) == "emer"
    assert method_label(composed("+ablation=[no_post,no_evolve]").method) == "emer-no_post-no_evolve"
    assert method_label(composed("+ablation=no_post", "method.objective.posterior=true").method) == "emer"
    assert method_label(composed("method.objective.evolve=false").method) == "emer-no_evolve"
    assert method_label(composed("method=fusion_formula").method) == "fusion_formula"
    assert (
        method_label(composed("method=fusion_formula", "method.tuner.tuned=false").method) == "fusion_formula-hand_set"
    )


@pytest.mark.slow
def test_identity_is_what_decides_the_numbers() -> None:
    base = identity(composed())
    for same in ("tags=[a]", "logger=none", "paths.output_dir=elsewhere", "ckpt_path=auto", "task_name=other"):
        assert identity(composed(same)) == base
    for other in (
        "seed=2",
        "+ablation=no_post",
        "loader.batch_size=32",
        "data.source.seed=1",
        "trainer.max_epochs=3",
    ):
        assert identity(composed(other)) != base


@pytest.mark.parametrize("method", METHODS)
def test_every_target_takes_the_configs_keys(method: str) -> None:
    """Binds each `_target_` to its signature without building anything, and reports all misfits together."""
    cfg = OmegaConf.to_container(composed(f"method={method}").method, resolve=True)
    wrong = []
    given = {"schema", "model", "formula", "top_k", "params", "objective", "previous", "optimizer"}

    def walk(node: Any, path: str) -> None:
        if not isinstance(node, dict):
            return
        if "_target_" in node:
            parameters = inspect.signature(get_class(node["_target_"]).__init__).parameters
            keys = {k for k in node if not k.startswith("_")}
            wrong.extend(f"{path}.{k}" for k in keys - set(parameters))
            required = {
                n for n, p in parameters.items()
                if p.default is p.empty and n != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            }  # fmt: skip
            wrong.extend(f"{path} lacks {k}" for k in required - keys - given)
        for key, value in node.items():
            walk(value, f"{path}.{key}")

    walk(cfg, "method")
    assert wrong == []


@pytest.mark.parametrize("trainer", sorted(p.stem for p in (CONF / "trainer").glob("*.yaml")))
def test_the_trainer_takes_its_keys(trainer: str) -> None:
    import pytorch_lightning as pl

    cfg = composed(f"trainer={trainer}").trainer
    keys = {str(k) for k in cfg if k != "_target_"}
    assert keys <= set(inspect.signature(pl.Trainer.__init__).parameters)
    assert cfg.use_distributed_sampler is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainr.max_epochs=3"], "the config has no key trainr.max_epochs; did you mean trainer.max_epochs"),
        (["method.model.widht=3"], "did you mean method.model.width"),
        (["method.model.width=abc"], "method.model.width=abc: the value could not be converted to Integer"),
        (["loader.batch_size=a b"], "loader.batch_size=a b"),
        (["method=foo"], "there is no method=foo; choose one of "),
        (["data=foo"], "there is no data=foo; choose one of kuairand, kuairec, kuaisar"),
        (
            ["+ablation=no_foo"],
            "method emer has no ablation no_foo; it has: full, no_comp, no_post, no_prior, no_evolve",
        ),
        (
            ["method=fusion_formula", "+ablation=no_post"],
            "method fusion_formula has no ablation no_post; it has: full",
        ),
        (
            ["method=emer", "objective=umre", "+ablation=no_post"],
            "method emer with objective umre has no ablation no_post; it has: full, no_comp, no_reweighting",
        ),
        (
            ["+objective=bce"],
            "objective has a value already and is replaced, not added: write objective=..., without +",
        ),
        (["method.model.use_pxtr=maybe"], "method.model.use_pxtr=maybe: the value is not a valid bool"),
        (["loader.shuffle=3.5"], "loader.shuffle=3.5: the value is not a valid bool"),
        (["+ablation=no_post,no_prior"], "write '+ablation=[no_post,no_prior]' for all in one run, or add -m"),
        (["method=fusion_formula", "+ablation=full", "seeed=1"], "the config has no key seeed; did you mean seed"),
        (["-m"], "-m and --cfg do not go together"),
        (["method.optimizer.lrr=3"], "did you mean method.optimizer.lr"),
        (["ablation=no_post"], "ablation is added, not replaced: write +ablation="),
        (
            ["method=fusion_formula", "method.objective.evolve=false"],
            "the config has no key method.objective.evolve",
        ),
        (["nonsense"], "missing EQUAL"),
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from hydra.core.global_hydra import GlobalHydra

    saved = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        status = main(["train", *arguments, "--cfg", "job", "--resolve"])
    finally:
        GlobalHydra.instance().clear()
        GlobalHydra.instance().hydra = saved
    error = capsys.readouterr().err
    assert status == 1
    assert message in error
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 4


def test_the_command_line_lists_its_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for job, text in JOBS.items():
        assert f"  {job}" in shown
        assert text in shown
    assert main(["trian"]) == 2
    assert "Did you mean train?" in capsys.readouterr().err
