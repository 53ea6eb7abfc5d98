"""The documents are true: links lead somewhere, commands compose, settings and modules are the code's."""

from __future__ import annotations

import itertools
import math
import pkgutil
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from emer.cli import JOBS
from emer.config_files import config_dir
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.metrics.summary import MIN_REQUESTS
from emer.models import fusion
from emer.requests import Schema
from emer.training import pair_objective, ranker_module, tuning

ROOT = Path(__file__).parents[1]
README, METHODS = ROOT / "README.md", ROOT / "docs" / "methods.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_JOB_IN_COMMENT = re.compile(r"(python train\.py|emer [a-z-]+)((?: +(?:-m|'[^']+'|\S+=\S+))*)")
_GROUPS = "method|data|loader|trainer|baselines|metrics|callbacks|logger|paths"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def inline_code(text: str) -> list[str]:
    """What stands between single backticks outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def table(text: str, *header: str) -> list[list[str]]:
    """The cells of every table whose header begins with ``header``."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif tuple(cells[: len(header)]) == header:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            rows.append(cells)
    return rows


# Links


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text_of(document))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        found = target.exists() and target.is_relative_to(ROOT)
        if found and anchor:
            headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text_of(target)), re.M)
            found = anchor in map(slug, headings)
        if not found:
            broken.append(link)
    assert broken == []


def test_the_documents_are_all_there() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    wanted = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/methods.md", "docs/request_format.md"}
    assert wanted <= names
    assert len(text_of(README).splitlines()) <= 300


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda p: p.name)
def test_pictures_are_well_formed(picture: Path) -> None:
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


# Commands


def shell_commands(document: Path) -> Iterator[list[str]]:
    """The commands of a document's ``sh`` blocks, as words."""
    for language, block in _FENCE.findall(text_of(document)):
        if language in ("sh", "bash"):
            words = (shlex.split(line, comments=True) for line in block.splitlines())
            # A variable before the command sets its environment alone.
            words = (list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, line)) for line in words)
            yield from filter(None, words)


def job_of(words: list[str]) -> list[str] | None:
    """Name and arguments of the job that a command starts, if it starts one."""
    if words[:2] == ["python", "train.py"]:
        return ["train", *words[2:]]
    return words[1:] if words[0] == "emer" else None


def jobs_in_documents() -> list[str]:
    found = [job for path in DOCUMENTS for words in shell_commands(path) if (job := job_of(words))]
    return sorted({shlex.join(job) for job in found})


def jobs_in_configs() -> list[str]:
    found = set()
    for path in sorted(config_dir().rglob("*.yaml")):
        for comment in re.findall(r"#(.*)", text_of(path)):
            for program, arguments in _JOB_IN_COMMENT.findall(comment):
                job = job_of([*program.split(), *shlex.split(arguments)])
                assert job is not None
                found.add(shlex.join(job))
    return sorted(found)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def runs_of(arguments: list[str]) -> Iterator[list[str]]:
    """The overrides of every run that the arguments ask for: one, or each member of a sweep."""
    choices = []
    for override in OverridesParser.create().parse_overrides([a for a in arguments if a != "-m"]):
        if override.is_sweep_override():
            assert "-m" in arguments, f"{override.input_line} is a sweep, which needs -m"
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line])
    yield from map(list, itertools.product(*choices))


def test_there_are_commands_to_check() -> None:
    shown = [shlex.split(command) for command in jobs_in_documents()]
    assert {words[0] for words in shown} == set(JOBS)
    assert len(shown) >= 20
    assert len(jobs_in_configs()) >= 8
    swept = shlex.split("-m '+ablation=full,no_comp,no_post,no_prior,no_evolve,no_iput' seed=1,2,3")
    assert ["train", *swept] in shown
    assert len(list(runs_of(swept))) == 18


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({*jobs_in_documents(), *jobs_in_configs()}))
def test_a_job_composes_and_lacks_nothing(command: str) -> None:
    job, *arguments = shlex.split(command)
    assert job in JOBS
    for overrides in runs_of(arguments):
        cfg = compose(job.replace("-", "_"), overrides, return_hydra_config=True)
        if cfg.hydra.mode is not None:
            assert "-m" in arguments, "a search runs many jobs and is shown with -m"
        without_hydra = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        OmegaConf.to_container(without_hydra, resolve=True, throw_on_missing=True)


def test_other_commands_are_known() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.M))
    for words in itertools.chain.from_iterable(map(shell_commands, DOCUMENTS)):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        elif job_of(words) is None:
            assert words[0] in ("source", "wandb", "python", ".venv/bin/pre-commit"), words


# Settings


def keys_of(*overrides: str) -> dict[str, Any]:
    """Every dotted key of the composed training config, with its value; sections too."""
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        found[path] = node
        if isinstance(node, dict):
            for name, value in node.items():
                walk(value, f"{path}.{name}" if path else str(name))

    walk(OmegaConf.to_container(compose("train", [*overrides]), resolve=True), "")
    return found


@pytest.fixture(scope="module")
def defaults(hydra: None) -> dict[str, Any]:
    return keys_of()


@pytest.fixture(scope="module")
def known(defaults: dict[str, Any]) -> set[str]:
    methods = [[f"method={path.stem}"] for path in sorted((config_dir() / "method").glob("*.yaml"))]
    data = [[f"data={path.stem}", "data.root=x"] for path in sorted((config_dir() / "data").glob("*.yaml"))
            if "root:" in path.read_text() or "shared/log" in path.read_text()]  # fmt: skip
    others = (*data, *methods)
    return set(defaults).union(*(keys_of(*overrides) for overrides in others), keys_of("logger=many"))


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_setting_named_exists(document: Path, known: set[str]) -> None:
    named = {code.split("=")[0] for code in inline_code(text_of(document))}
    files = (".json", ".csv", ".py")
    named = {key for key in named if re.fullmatch(rf"(?:{_GROUPS})(?:\.[a-z_]+)+", key) and not key.endswith(files)}
    assert named - known == set()


def settings_of_resolutions() -> list[tuple[str, str]]:
    """(resolution, its cell of settings) of docs/methods.md."""
    return [(row[0], row[3]) for row in table(text_of(METHODS), "#", "open", "here", "settings")]


def test_every_resolution_is_there() -> None:
    assert [name for name, _ in settings_of_resolutions()] == [f"A{i}" for i in range(1, 29)]


@pytest.mark.parametrize(("name", "cell"), settings_of_resolutions(), ids=lambda x: x if len(x) < 4 else "")
def test_settings_of_a_resolution(
    name: str, cell: str, known: set[str], defaults: dict[str, Any], schema: Schema
) -> None:
    """`key=value` is the default, and the values after it build the method; "none" names no setting."""
    codes = inline_code(cell)
    assert codes or "none" in cell
    key = None
    for code in codes:
        if "=" in code:
            key, value = code.split("=")
            assert key in defaults
            assert defaults[key] == yaml.safe_load(value), key
        elif code in known:
            key = code
        else:
            assert key is not None, f"{code} is no setting"
            build(compose("train", [f"{key}={code}"]), schema)


def build(cfg: DictConfig, schema: Schema) -> Any:
    return instantiate(cfg.method.module, schema=schema, top_k=int(cfg.metrics.top_k))


def test_wrong_values_would_be_noticed(schema: Schema) -> None:
    with pytest.raises(Exception, match=r"method\.objective\.ties is 'third'"):
        build(compose("train", ["method.objective.ties=third"]), schema)


def test_the_ablations_of_the_methods_are_the_switches(defaults: dict[str, Any]) -> None:
    rows = table(text_of(METHODS), "paper", "switch")
    said = {row[0].removeprefix("No").lower(): row[1].strip("`") for row in rows}
    switches = {**defaults["method.switches"], **defaults["method.objective_switches"]}
    assert said == {name.removeprefix("no_"): f"method.{path}=false" for name, path in switches.items()}


@pytest.mark.slow
def test_the_settings_of_the_fusion_formula(known: set[str]) -> None:
    named = [code for row in table(text_of(METHODS), "use", "settings") for code in inline_code(row[1])]
    assert set(named) == {key for key in known if re.match(r"(method\.tuner|baselines)\.", key)}


def test_numbers_in_the_methods_are_the_codes() -> None:
    said = text_of(METHODS)
    for statement in (
        f"fewer than {MIN_REQUESTS} requests",
        f"up to {ranker_module.STATISTICS_REQUESTS:,} training requests",
        f"c in [0, {tuning.LARGEST_EXPONENT:g}]",
        f"within a factor of\n  {math.exp(tuning.LOG_RATIO_RANGE):.0f} on either side",
        f"{fusion.TYPICAL_SECONDS:g} s, {fusion.TYPICAL_CONSUMPTION:g} for".replace("0.", "."),
        f"{fusion.TYPICAL_INTERACTION:g} for an interaction".replace("0.", "."),
    ):
        assert statement in said
    assert pair_objective.MAX_PAIRS == 1_000_000  # "a million pairs"


# Modules


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_module_named_exists(document: Path) -> None:
    for code in inline_code(text_of(document)):
        if re.fullmatch(r"emer(\.\w+)+", code):
            pkgutil.resolve_name(code)
