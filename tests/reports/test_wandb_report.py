"""A comparison goes to W&B as a report of the runs that are there, and what is not there is named."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.reports.hand_made import made_run, write_rows
from tests.reports.wandb_stand_in import ENTITY, StandIn

from emer.errors import EmerError
from emer.labels import wandb_id
from emer.reports.runs import Run, read_runs
from emer.reports.wandb_panels import comparison_report
from emer.reports.wandb_report import publish
from emer.reports.wandb_runs import LoggedRun, axes, grouping_keys, how_to_upload, logged_run

LOG_OFFLINE = """
import json, sys, wandb
from omegaconf import OmegaConf
for folder in sys.argv[1:]:
    config = OmegaConf.to_container(OmegaConf.load(folder + "/config.yaml"))
    run = wandb.init(
        dir=folder, mode="offline", id=config["run"]["wandb_id"], project="ranking", group=config["run"]["group"],
        config={**config, "label": config["method"]["name"]}, settings=wandb.Settings(console="off"),
    )
    run.log({"val/loss": 0.5, "epoch": 0})
    run.log(json.load(open(folder + "/metrics.json")))
    run.finish()
"""
PUBLISH = """
import json, logging, sys
from pathlib import Path
from emer.errors import EmerError
from emer.reports.wandb_report import publish
logging.basicConfig(stream=sys.stdout, format="%(message)s")
try:
    url = publish([Path(p) for p in sys.argv[2:]], title=sys.argv[1], markdown="| a | table |", reference="emer")
    print("URL", url)
except EmerError as error:
    print("ERROR", error)
"""


def made(root: Path, method: str = "emer", seed: int = 1, **more: Any) -> Path:
    """A run that was logged to W&B, in the sweep ``grid``."""
    id_, where = f"{method}{seed}", f"/{more.get('data')}/{method}{seed}"
    settings = {"logger.wandb.project": "ranking", "run.group": "grid", "run.wandb_id": id_, "run.dir": where}
    settings |= more.pop("settings", {})
    return made_run(root, method, seed, settings=settings, **more)


def read(*paths: Path) -> list[Run]:
    runs, problems = read_runs(paths)
    assert problems == []
    return runs


def logged(*paths: Path) -> list[LoggedRun]:
    return [one for run in read(*paths) if (one := logged_run(run)) is not None]


def offline_folder(run: Path, name: str) -> Path:
    folder = run / "wandb" / name
    folder.mkdir(parents=True)
    (folder / f"run-{name[-3:]}.wandb").touch()
    return folder


# What W&B groups by


def test_seeds_share_a_group_and_methods_do_not(tmp_path: Path) -> None:
    runs = read(made(tmp_path, "emer", 1), made(tmp_path, "emer", 2), made(tmp_path, "borda", 1))
    assert grouping_keys(runs, labelled=True) == ["label"]
    assert grouping_keys(runs, labelled=False) == ["method.name"]


def test_runs_of_one_label_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    paths = [
        made(tmp_path, "emer", 1, name=f"{rate}{width}{seed}", settings={"method.optimizer.lr": rate, "data.n": width})
        for rate, width in ((0.1, 1), (0.2, 1), (0.2, 2))
        for seed in (1, 2)
    ]
    runs = read(*paths)
    keys = grouping_keys(runs, labelled=True)
    assert keys[0] == "label"
    assert set(keys) == {"label", "method.optimizer.lr", "data.n"}
    assert set(axes(runs)) == {"method.optimizer.lr", "data.n"}


def test_a_list_is_no_axis_and_groups_only_where_nothing_else_does(tmp_path: Path) -> None:
    first = made(tmp_path, name="a", settings={"data.sizes": [1, 2], "data.z": 1})
    second = made(tmp_path, name="b", settings={"data.sizes": [1, 3], "data.z": 2})
    runs = read(first, second)
    assert grouping_keys(runs, labelled=True) == ["label", "data.z"]
    assert axes(runs) == ["data.z"]
    third = made(tmp_path, name="c", settings={"data.sizes": [1, 4], "data.z": 2})
    assert grouping_keys(read(second, third), labelled=True) == ["label", "data.sizes"]


# What is not on the server


def test_the_commands_upload_each_runs_own_folders(tmp_path: Path) -> None:
    resumed, bare = made(tmp_path / "with space", "emer"), made(tmp_path, "borda")
    folders = [offline_folder(resumed, f"offline-run-2026010{day}_000000-abc") for day in (1, 2)]
    offline_folder(bare, "run-20260101_000000-xyz")
    runs = logged(resumed, bare)
    assert [one.wandb_id for one in runs] == ["abc", "xyz"]
    lines = how_to_upload(runs, "other", None).splitlines()
    assert shlex.split(lines[1]) == ["wandb", "sync", "-p", "other", *map(str, folders)]
    assert lines[2].startswith("borda_simulated_seed1 has nothing to upload")
    assert len(lines) == 3


def test_what_was_uploaded_elsewhere_is_uploaded_again(tmp_path: Path) -> None:
    run = made(tmp_path)
    folder = offline_folder(run, "offline-run-20260101_000000-abc")
    (folder / "run-abc.wandb.synced").touch()
    command = how_to_upload(logged(run), "other", "team").splitlines()[1]
    assert shlex.split(command) == ["wandb", "sync", "--include-synced", "-e", "team", "-p", "other", str(folder)]


def test_a_run_without_wandb_folder_has_the_id_of_its_run_dir(tmp_path: Path) -> None:
    [one] = logged(made(tmp_path, settings={"run.dir": "/where/it/was/trained"}))
    assert one.wandb_id == wandb_id("/where/it/was/trained")
    assert one.offline == ()


def test_runs_that_never_logged_to_wandb_are_named(tmp_path: Path) -> None:
    plain, broken = made_run(tmp_path, "emer"), made_run(tmp_path, "borda", status="failed")
    with pytest.raises(EmerError, match="no finished run was logged to W&B") as raised:
        publish([plain, broken], title="t", markdown="", reference="emer")
    assert "borda_simulated_seed1: it broke" in str(raised.value)
    assert "emer_simulated_seed1: it was trained without W&B's logger; logger=wandb" in str(raised.value)


def test_runs_of_several_projects_need_one_named(tmp_path: Path) -> None:
    paths = made(tmp_path, "emer"), made(tmp_path, "borda", settings={"logger.wandb.project": "other"})
    with pytest.raises(EmerError, match=r"several logger\.wandb\.project \(other, ranking\); name one"):
        publish(paths, title="t", markdown="", reference="emer")


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(EmerError, match=r"pip install 'emer\[reports\]'"):
        publish([], title="t", markdown="", reference="emer")


# The report, built without the network


def built(sections: dict[str, list[LoggedRun]], **more: Any) -> Any:
    settings: dict[str, Any] = dict(title="t", markdown="", reference="emer", left_out=[], labelled=True)
    return comparison_report(sections, entity=ENTITY, project="ranking", **(settings | more))


def panels_of(report: Any) -> list[Any]:
    return [panel for block in report.blocks for panel in getattr(block, "panels", [])]


@pytest.mark.slow
def test_each_section_has_its_own_runs_in_its_panels(tmp_path: Path) -> None:
    here, there = logged(made(tmp_path, "emer")), logged(made(tmp_path, "emer", data="other", name="x"))
    report = built({"one": here, "two": there}, title="t" * 200)
    assert len(report.title) == 128
    for name, [run] in (("one", here), ("two", there)):
        sets = [s for block in report.blocks for s in getattr(block, "runsets", []) if s.name == name]
        assert sets
        assert all(run.wandb_id in s.filters for s in sets)
    assert here[0].wandb_id != there[0].wandb_id


@pytest.mark.slow
def test_a_sweep_is_filtered_by_name_where_the_filter_can_carry_it(tmp_path: Path) -> None:
    def filters(group: str | None) -> set[str]:
        report = built({"one": logged(made(tmp_path, settings={"run.group": group}))})
        return {s.filters for block in report.blocks for s in getattr(block, "runsets", [])}

    ids = filters(None)
    assert len(ids) == 1
    assert "Group" not in ids.pop()
    assert 'Metric("Group") in' in filters("2026-01-01_00-00-00").pop()
    assert "Group" not in filters("lr=0.1").pop()  # the SDK would make it lr==0.1


@pytest.mark.slow
def test_weights_have_a_panel_where_a_run_logged_them(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert not [p for p in panels_of(built({"one": logged(path)})) if getattr(p, "metric_regex", None)]
    write_rows(path / "metrics.csv", [{"epoch": 0, "weight/pctr": 0.5}])
    [panel] = [p for p in panels_of(built({"one": logged(path)})) if getattr(p, "metric_regex", None)]
    assert panel.metric_regex == "weight/.*_epoch"


# With a server


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Any]:
    """Runs Python with an environment of its own, in which nobody has an account."""

    def run(
        *arguments: str, environment: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        folders = dict.fromkeys(("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "HOME"), str(tmp_path))
        path = os.pathsep.join(filter(None, sys.path))
        everything = {**clean, **folders, "WANDB_SILENT": "true", "PYTHONPATH": path, **(environment or {})}
        more = {"capture_output": True} | more
        return subprocess.run([sys.executable, *arguments], env=everything, text=True, timeout=120, **more)

    return run


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "said"), [(None, "set WANDB_API_KEY to its key"), ("short", "API key must have 40+ characters")]
)
def test_without_an_account_nothing_is_asked_or_sent(
    tmp_path: Path, child: Callable[..., Any], server: StandIn, key: str | None, said: str
) -> None:
    run = made(tmp_path)
    folder = offline_folder(run, "offline-run-20260101_000000-abc")
    environment = {"WANDB_BASE_URL": server.url, **({"WANDB_API_KEY": key} if key else {})}
    ours, theirs = pty.openpty()  # a terminal, where W&B would ask for a key
    try:
        child("-c", PUBLISH, "t", str(run), environment=environment, capture_output=False,
              stdin=theirs, stdout=theirs, stderr=theirs)  # fmt: skip
        printed = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert printed.startswith("ERROR publish=wandb")
    assert said in printed
    assert key is not None or f"wandb sync {folder}" in printed.replace("\r\n", "\n")
    assert server.asked == []


@pytest.mark.slow
def test_offline_runs_are_uploaded_as_told_and_then_published(
    tmp_path: Path, child: Callable[..., Any], server: StandIn
) -> None:
    emer = [made(tmp_path, "emer", seed) for seed in (1, 2)]
    borda, later, failed = made(tmp_path, "borda"), made(tmp_path, "umre"), made(tmp_path, "urem", status="failed")
    environment = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
    assert child("-c", LOG_OFFLINE, *map(str, [*emer, borda, later])).returncode == 0
    everything = [*map(str, [*emer, borda, later, failed])]

    refused = child("-c", PUBLISH, "t", *everything, environment=environment).stdout
    assert f"ERROR publish=wandb: none of the runs is in the W&B project {ENTITY}/ranking yet." in refused
    assert server.reports == []
    commands = [line for line in refused.splitlines() if line.startswith("  wandb sync")]
    assert len(commands) == 4
    folders = [word for line in commands if "umre" not in line for word in shlex.split(line)[2:]]
    done = child("-m", "wandb", "sync", *folders, environment=environment)
    assert done.returncode == 0, done.stderr
    assert set(server.runs) == {"emer1", "emer2", "borda1"}
    assert [row["val/loss"] for row in server.history["emer1"] if "val/loss" in row] == [0.5]

    printed = child("-c", PUBLISH, "50 % of it?", *everything, environment=environment).stdout
    assert f"URL {server.url}/{ENTITY}/ranking/reports/50-of-it---Vmlldzo1==" in printed
    assert [line for line in printed.splitlines() if line.startswith("  wandb sync")] == [
        line for line in commands if "umre" in line
    ]
    [report] = server.reports
    assert (report["displayName"], report["entityName"], report["projectName"]) == ("50 % of it?", ENTITY, "ranking")
    check_spec(report["spec"])


def check_spec(spec: dict[str, Any]) -> None:
    """What W&B was sent for emer with two seeds and borda with one, while umre was not uploaded and urem failed."""
    blocks = spec["blocks"]
    assert [b["content"] for b in blocks if b["type"] == "markdown-block"] == ["| a | table |"]
    [lines] = [json.dumps(block) for block in blocks if block["type"] == "list"]
    assert "urem_simulated_seed1: it broke" in lines
    assert f"umre_simulated_seed1: it is not in the W&B project {ENTITY}/ranking" in lines
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    for grid in grids:
        [runs] = grid["runSets"]
        assert [(f["key"]["name"], f["op"], f["value"]) for f in runs["filters"]["filters"]] == [
            ("group", "IN", ["grid"]),
            ("name", "IN", ["borda1", "emer1", "emer2"]),
        ]
        assert runs["grouping"] == [{"section": "config", "name": "label.value"}]
    panels = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    lines_of = [p["config"] for p in panels if p["viewType"] == "Run History Line Plot"]
    assert [c["metrics"] for c in lines_of] == [["val/label_gauc/mean"], ["val/pxtr_gauc/mean"], ["val/loss"]]
    assert all((c["groupAgg"], c["groupArea"], c["xAxis"]) == ("mean", "minmax", "epoch") for c in lines_of)
    bars = [p["config"]["metrics"] for p in panels if p["viewType"] == "Bar Chart"]
    single = [[f"test/{family}/{m}"] for family in ("label_gauc", "pxtr_gauc", "iput_gauc") for m in ("a", "b")]
    means = ["test/label_gauc/mean", "test/label_auc/sum", "test/pxtr_gauc/mean", "test/iput_gauc/mean"]
    assert bars == [*([name] for name in means), *single]
    first = next(p["config"] for p in panels if p["viewType"] == "Scatter Plot")
    assert (first["xAxis"], first["yAxis"]) == ("run:duration", "summary:test/label_gauc/mean")
    [parallel] = [p["config"]["columns"] for p in panels if p["viewType"] == "Parallel Coordinates Plot"]
    named = [column["accessor"] for column in parallel]
    assert named == [
        "config:label.value",
        "config:method.value.name",
        "config:seed.value",
        "summary:test/label_gauc/mean",
    ]
    assert [p["viewType"] for p in panels][-1] == "Run Comparer"
