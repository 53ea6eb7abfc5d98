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
    for text in ("AppStayTime", "Like, expected", "Twins: the same users", "Buckets", "(CUPED)", "activity *full*"):
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
        (["segments=[age]"], "segments has age; there is activity"),
        (["world.slate=40"], "world.candidates is 32; it must be at least 40"),
    ],
)
def test_a_wrong_ab_test_is_refused(arguments, message, run) -> None:
    done = run("ab-test", "world=tiny", *arguments)
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
