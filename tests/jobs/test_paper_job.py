"""emer paper: bad input, missing runs, and A/B tests that lie there already."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from tests.reports.hand_made import made_run

from emer.errors import EmerError
from emer.files import write_json, write_text
from emer.jobs.paper import ABOUT, paper, render, write_ledger
from emer.jobs.paper_worlds import claim, complete_worlds
from emer.reports.papers.definitions import experiment
from emer.reports.papers.numbers import Number, as_csv

TABLE_1 = experiment("emer_table_1")


def job(**settings: object) -> None:
    empty = dict.fromkeys(("table", "runs", "tests", "folder", "ledger"))
    paper(OmegaConf.create({**empty, **settings}))


def in_world(root: Path, label: str, world: int) -> Path:
    settings = {"data.source.setting": {"seed": world, "users": 9}, "tags": ["kind"]}
    path = made_run(root, label, 1, settings=settings, name=f"{label}_{world}")
    write_json(path / "status.json", {"status": "finished", "identity": f"{label} {world}"})
    return path


@pytest.mark.slow
def test_an_offline_table_takes_several_sweeps_and_patterns(tmp_path: Path) -> None:
    for seed in (1, 2):
        settings = {"method.objective_name": None}
        made_run(tmp_path / f"sweep_{seed}", "emer", seed, members=("pctr", "pltr"), settings=settings)
    target = tmp_path / "made"
    job(table="emer_table_2", runs=[str(tmp_path / "sweep_1"), str(tmp_path / "sweep_2")], folder=str(target))
    text = (target / "README.md").read_text(encoding="utf-8")
    assert "2 runs, seeds 1, 2" in text
    assert "- UREM (missing): no finished run of it (urem), so that it has no numbers; simulated log" in text
    (target / "README.md").unlink()
    job(table="emer_table_2", runs=str(tmp_path / "sweep_*" / "emer*"), folder=str(target))
    assert (target / "README.md").read_text(encoding="utf-8") == text


def test_nothing_and_damaged_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(EmerError, match="name a table or figure"):
        job()
    write_text(tmp_path / "results.csv", "")
    with pytest.raises(EmerError, match=r"results.csv holds no numbers; make it anew"):
        render(TABLE_1, tmp_path)
    write_text(tmp_path / "results.csv", as_csv([Number("kind", "emer", "fusion_formula", "Like", 1, 1.0)]))
    write_text(tmp_path / "results.json", '{"runs":')
    with pytest.raises(EmerError, match=r"results.json is damaged .*make it anew"):
        render(TABLE_1, tmp_path)
    write_json(tmp_path / "results.json", dict.fromkeys(ABOUT[1:], 0))
    with pytest.raises(EmerError, match=r"results.json does not tell commands"):
        render(TABLE_1, tmp_path)


def test_the_ledger_names_a_folder_that_is_no_experiment(tmp_path: Path) -> None:
    for name in ("results.csv", "results.json"):
        write_text(tmp_path / "mine" / name, "{}")
    with pytest.raises(EmerError, match=r"holds results in mine, which is no experiment's name"):
        write_ledger(tmp_path)


def test_a_world_that_lacks_an_arm_is_left_out_and_named(tmp_path: Path) -> None:
    runs = [in_world(tmp_path, label, world) for label in ("emer", "urem") for world in (1, 2, 3)]
    whole, problems = complete_worlds([run for run in runs if run.name != "urem_2"], "kind")
    assert sorted(run.name for run in whole) == ["emer_1", "emer_3", "urem_1", "urem_3"]
    [problem] = problems
    assert (problem.run, problem.kind) == ("world 2 of kind", "missing")
    assert problem.why.startswith("no finished run of urem,")
    assert complete_worlds(runs, "kind") == (runs[::3] + runs[1::3] + runs[2::3], [])
    with pytest.raises(EmerError, match="no world of kind has a finished run of each of emer, urem"):
        complete_worlds([runs[0], runs[4]], "kind")


def made_test(folder: Path, arm: str, users: int, days: int) -> None:
    effect = {"design": "twin", "segment": "all", "arm": arm, "difference": {}, "control_users": users}
    write_json(folder / "effects.json", [effect])
    pq.write_table(pa.table({"day": [days - 1]}), folder / "user_days.parquet")


def test_tests_of_other_runs_are_not_taken_for_these(tmp_path: Path) -> None:
    run = in_world(tmp_path, "emer", 1)
    folder = tmp_path / "ab_tests"
    claim(folder, TABLE_1, {1: {"emer": run}})
    made_test(folder / "world_1", "emer", TABLE_1.users, TABLE_1.days)
    claim(folder, TABLE_1, {1: {"emer": run}})  # the same again
    write_json(run / "status.json", {"status": "finished", "identity": "trained anew"})
    with pytest.raises(EmerError, match=r"world_1 is a test of other runs, users or days"):
        claim(folder, TABLE_1, {1: {"emer": run}})


@pytest.mark.parametrize(("arm", "users", "days"), [("urem", 1000, 7), ("emer", 999, 7), ("emer", 1000, 2)])
def test_without_a_record_the_test_itself_must_fit(tmp_path: Path, arm: str, users: int, days: int) -> None:
    run = in_world(tmp_path, "emer", 1)
    made_test(tmp_path / "world_1", arm, users, days)
    with pytest.raises(EmerError, match=r"world_1 is a test of other runs, users or days"):
        claim(tmp_path, TABLE_1, {1: {"emer": run}})
