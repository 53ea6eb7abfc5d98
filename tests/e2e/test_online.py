"""``emer ab-test`` and ``emer online`` as a user calls them."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest

from .conftest import read
from .test_train import TINY

pytestmark = pytest.mark.e2e


def test_a_trained_run_meets_formulas_in_an_ab_test(run) -> None:
    trained = run("train", *TINY, "baselines.fusion_formula=false", "logger=none").folder
    settings = ["world=tiny", "users=520", "days=1", "before=1", "world.candidates=16"]
    done = run("ab-test", *settings, f"arms=[fusion_formula,{trained},pltr:0.5]")
    assert done.status == 0, done.err[-3000:]
    for text in (
        "AppStayTime",
        "Like, expected",
        "Twins: the same users",
        "Buckets",
        "(CUPED)",
        "| activity full |",
        "Sample ratio",
        "GAUC pltr IPUT",
    ):
        assert text in done.out
    folder = done.folder
    with (folder / "effects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["arm"] for row in rows} == {"emer", "pltr:0.5"}
    assert {row["design"] for row in rows} == {"twin", "bucket", "bucket, CUPED"}
    assert len(read(folder / "effects.json")) == len(rows)
    days = pq.read_table(folder / "user_days.parquet")
    assert days.num_rows == 3 * 520
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    with (folder / "consistency.csv").open(encoding="utf-8", newline="") as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"fusion_formula", "emer", "pltr:0.5"}
    with (folder / "days.csv").open(encoding="utf-8", newline="") as file:
        assert {row["span"] for row in csv.DictReader(file)} == {"day", "up to day"}
    wanted = {"arm": "emer", "metric": "VideoView", "design": "twin", "segment": "all"}
    twin = next(row for row in rows if wanted.items() <= row.items())
    views = dict.fromkeys(("fusion_formula", "emer"), 0.0)
    for arm, count in zip(days["arm"].to_pylist(), days["video_views"].to_pylist(), strict=True):
        if arm in views:
            views[arm] += count
    assert float(twin["percent"]) == pytest.approx(100 * (views["emer"] / views["fusion_formula"] - 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["arms=[fusion_formula,foo]"], "arms: there is no foo; it is neither a run folder, nor one of fusion_formula"),
        (["arms=[fusion_formula]"], "a test needs a base and at least one more arm"),
        (["arms=[random,random]"], "arms: random is given twice"),
        (["users=6000"], "users is 6000; world=tiny has 1 to 2000 (world.users)"),
        (["days=0"], "days is 0; it must be at least 1"),
        (["segments=[age]"], "segments has age; there are activity, category"),
        (["offline_requests=-1"], "offline_requests is -1; it must be at least 0"),
        (["users=1.5"], "users is 1.5; it must be a whole number"),
        (["before=null"], "before is None; it must be a whole number"),
        (["segments=activity"], "segments is 'activity'; give a list, segments=[...]"),
        (["world.candidates=16.5"], "world.candidates is 16.5; it must be a whole number"),
        (["+world.parameters.eta=2.0"], "world.parameters.eta is 2.0; it must lie in [0, 1]"),
        (["+world.parameters.topic_share=0.9"], "are together more than 1, all candidates"),
        (["+world.parameters.interaction_slope=[1.0]"], "it must have the form of (0.3, 0.35, 0.6, 0.1)"),
        (["logger=csv"], "logger has csv; an A/B test logs to wandb"),
        (["world.slate=40"], "world.candidates is 32; it must be at least 40"),
    ],
)
def test_a_wrong_ab_test_is_refused(arguments, message, run) -> None:
    done = run("ab-test", "world=tiny", "users=50", *arguments)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_closed_loop_goes_on_where_it_was_and_refuses_another(run, tmp_path) -> None:
    settings = ["world=tiny", "world.candidates=16", "loop.hours=9", "loop.users=120", "loop.warmup_hours=7"]
    settings += ["method.model.width=16", f"folder={tmp_path / 'loop'}"]
    done = run("online", *settings)
    assert done.status == 0, done.err[-3000:]
    assert "versions published in 9 hours" in done.out
    folder = tmp_path / "loop"
    before = {name: (folder / name).read_bytes() for name in ("hours.csv", "effects.csv", "state.pt")}
    assert len(before["hours.csv"].splitlines()) == 10
    assert (folder / "hours.png").read_bytes().startswith(b"\x89PNG")
    again = run("online", *settings)
    assert again.status == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    other = run("online", *settings, "loop.tolerance=0.5")
    assert other.status == 1
    assert "holds a loop with another loop" in other.err


def test_each_run_of_a_sweep_is_tested_in_its_own_world(run, tmp_path) -> None:
    small = ["world@data.source.setting=tiny", "data.source.setting.candidates=12", "data.source.users=60"]
    small += ["data.source.train_requests=128", "data.source.validation_requests=32", "data.source.test_requests=64"]
    sweep = ["-m", *TINY, "data=world", *small, "baselines.fusion_formula=false", "logger=none"]
    swept = run("train", *sweep, f"hydra.sweep.dir={tmp_path / 'sweep'}", "data.source.setting.seed=1,2")
    assert swept.status == 0, swept.err[-3000:]
    settings = [f"runs={tmp_path / 'sweep'}", "users=60", "days=1", "offline_requests=50", f"folder={tmp_path / 'out'}"]
    done = run("ab-worlds", *settings)
    assert done.status == 0, done.err[-3000:]
    assert "Mean over 2 worlds" in done.out and "| AppStayTime |" in done.out
    before = (tmp_path / "out" / "worlds.csv").read_bytes()
    (tmp_path / "out" / "world_1" / "effects.png").unlink()  # would come back if the world were simulated again
    assert run("ab-worlds", *settings).status == 0
    assert (tmp_path / "out" / "worlds.csv").read_bytes() == before
    table = run("paper", "table=emer_table_4", f"runs={tmp_path / 'sweep'}", "users=60", "days=1", "folder=table_4")
    assert table.status == 0, table.err[-3000:]
    text = (tmp_path / "table_4" / "README.md").read_text()
    assert "2 worlds, 60 users for 1 day" in text and "NoComp" in text and "| WatchTime |" in text
    assert not (tmp_path / "out" / "world_1" / "effects.png").exists()
    other = run("ab-worlds", *settings, "days=2")
    assert other.status == 1 and "holds tests with other settings" in other.err
    assert "of other runs" in other.err
    none = run("ab-worlds", f"runs={tmp_path}", "users=60")
    assert none.status == 1 and "has no run folders below it" in none.err
    everybody = run("ab-worlds", *settings, "users=1950")
    assert everybody.status == 1 and "at most 1940 can be tested" in everybody.err
    status = next((tmp_path / "sweep").glob("*/status.json"))
    status.write_text(status.read_text().replace("finished", "failed"))
    failed = run("ab-worlds", *settings)
    assert failed.status == 1 and "is failed; finish it, or move it away" in failed.err


def test_the_mechanism_is_drawn(run) -> None:
    done = run("mechanism", "world=tiny", "users=40", "etas=[0.0,1.0]", "alphas=[0.5]")
    assert done.status == 0, done.err[-3000:]
    assert "| 0.5 |" in done.out and "eta = 0 | eta = 1 |" in done.out
    assert (done.folder / "mechanism.png").read_bytes().startswith(b"\x89PNG")
    assert len((done.folder / "mechanism.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("pxtr=pctr", "pxtr is pctr; it must be one of pltr, pwtr, pcmtr, pftr"),
        ("etas=[2.0]", "etas is [2.0]; each must lie in [0, 1]"),
        ("alphas=[0.0]", "alphas is [0.0]; each must be positive"),
        ("alphas=[]", "alphas is []; give numbers, each once"),
    ],
)
def test_a_wrong_mechanism_is_refused(argument, message, run) -> None:
    done = run("mechanism", "world=tiny", "users=40", argument)
    assert done.status == 1 and message in done.err
