"""The checks, the segments and the log of an A/B test."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from emer.data.parquet import read_requests
from emer.errors import EmerError
from emer.online.ab_test import Plan, health_of, segments_of
from emer.online.arms import NamedArm
from emer.online.bucketing import bucket
from emer.online.mechanism import as_markdown, mechanism
from emer.online.report import days_csv
from emer.online.request_log import WorldLog
from emer.online.setting import Setting
from emer.online.simulate import Simulated, simulate
from emer.world.responses import FEEDBACK


@pytest.fixture(scope="module")
def place() -> Setting:
    return Setting(users=500, videos=2000, candidates=16)


@pytest.fixture(scope="module")
def simulated(place) -> Simulated:
    arms = {name: NamedArm(name).score for name in ("fusion_formula", "random")}
    return simulate(place, arms, 200, 2, before=2)


def test_checks_compare_the_buckets_before_anybody_is_treated(simulated) -> None:
    health = health_of(simulated, "fusion_formula", "some_test")
    base = simulated.totals["fusion_formula"]
    place = bucket(base.users, "some_test", [0.5, 0.5])
    stay = base.per_user("stay_time")
    assert health.same_arm["random"].absolute == pytest.approx(stay[place == 1].mean() - stay[place == 0].mean())
    assert simulated.before is not None and health.balance is not None
    past = simulated.before.per_user("stay_time")
    assert health.balance["random"].absolute == pytest.approx(past[place == 1].mean() - past[place == 0].mean())
    assert health.ratio.users == {"fusion_formula": (place == 0).sum(), "random": (place == 1).sum()}
    assert health_of(replace(simulated, before=None), "fusion_formula", "some_test").balance is None


def test_segments_are_users_by_activity_and_by_what_they_like(place) -> None:
    world = place.world
    found = segments_of(world, 200, ("activity", "category"))
    assert np.array_equal(found["activity full"], world.activity[:200] == 4)
    share = np.diff(world.topic_quota, axis=1, prepend=0.0)
    by_category = np.zeros((world.users, world.parameters.categories))
    for topic in range(share.shape[1]):
        by_category[:, topic % world.parameters.categories] += share[:, topic]
    for name, rows in found.items():
        if name.startswith("category"):
            assert np.array_equal(rows, by_category[:200].argmax(axis=1) == int(name.split()[1]))
    assert sum(rows.sum() for name, rows in found.items() if name.startswith("activity")) in (199, 200)
    assert segments_of(world, 200, ()) == {}


def test_days_are_told_one_by_one_and_up_to_each(simulated) -> None:
    rows = list(csv.DictReader(io.StringIO(days_csv(simulated.totals, "fusion_formula"))))
    base, other = (simulated.totals[arm].values["watch_time"] for arm in ("fusion_formula", "random"))
    told = {(r["day"], r["span"]): float(r["percent"]) for r in rows if r["metric"] == "WatchTime"}
    assert told["1", "day"] == pytest.approx(100 * (other[:, 1].sum() / base[:, 1].sum() - 1))
    assert told["1", "up to day"] == pytest.approx(100 * (other.sum() / base.sum() - 1))
    assert set(told) == {(day, span) for day in "01" for span in ("day", "up to day")}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"days": 0}, "days is 0"), ({"threads": 0}, "num_threads is 0"), ({"segments": ("age",)}, "segments has age")],
)
def test_a_plan_out_of_range_is_refused(change, message) -> None:
    with pytest.raises(EmerError, match=message):
        Plan(**{"users": 10, "days": 1, **change})


def test_the_log_is_of_the_last_users_with_the_positives_that_were_asked_for(place, tmp_path) -> None:
    source = WorldLog(
        setting=place, users=60, train_requests=80, validation_requests=20, test_requests=40, positive=("like",)
    )
    root = source.prepare(tmp_path)
    tables = [read_requests(root / split) for split in ("train", "validation", "test")]
    assert [len(table) for table in tables] == [80, 20, 40]
    assert min(table.user_id.min() for table in tables) >= 440
    assert (np.diff(np.concatenate([table.time_ms for table in tables])) >= 0).all()
    schema = tables[0].schema
    assert [schema.feedback_names[i] for i in schema.positive_indices] == ["like"]
    assert tables[0].explored is not None and tables[0].previous_score is not None
    assert replace(source, setting=replace(place, backend="numpy")).prepare(tmp_path) == root
    assert replace(source, setting=replace(place, seed=1)).prepare(tmp_path) != root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 501}, "data.source.users is 501; world=default has 500"),
        ({"test_requests": 0}, "data.source.test_requests is 0"),
        ({"positive": ("love",)}, f"data.source.positive has love; there are {', '.join(FEEDBACK)}"),
        ({"served_by": "nobody"}, "there is no nobody"),
    ],
)
def test_a_log_that_cannot_be_is_refused(place, change, message) -> None:
    with pytest.raises(EmerError, match=message):
        WorldLog(setting=place, **change)


def test_the_mechanism_compares_every_alpha_with_none(place) -> None:
    found = mechanism(place, "pltr", [0.0, 1.0], [1.0], users=100, days=1)
    assert set(found.online) == {(0.0, 1.0), (1.0, 1.0)}
    assert found.gauc[1.0, 0.0] == 1.0 > found.gauc[1.0, 1.0]
    world = replace(place, parameters={"eta": 1.0})
    arms = {name: NamedArm(name).score for name in ("pltr", "pltr:1.0")}
    totals = simulate(world, arms, 100, 1).totals
    sums = [totals[name].values["expected_like"].sum() for name in arms]
    assert found.online[1.0, 1.0].percent == pytest.approx(100 * (sums[1] / sums[0] - 1))
    assert "| 0 | 1.000 | 0 | 0 |" in as_markdown(found)
