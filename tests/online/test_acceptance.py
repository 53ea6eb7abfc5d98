"""What the simulated platform must do before its A/B tests are believed: minutes of simulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from emer.config_files import config_dir
from emer.instantiation import instantiate
from emer.online.arms import NamedArm
from emer.online.calibration import measure
from emer.online.experiment import METRICS
from emer.online.false_positives import false_positives
from emer.online.power import measured_twin_power, twin_users_needed
from emer.online.setting import Setting
from emer.online.statistics import paired_difference
from emer.online.totals import Totals, walk_totals
from emer.world.responses import INTERACTIONS, OBJECTIVES
from emer.world.stage import MultiTaskStage
from emer.world.visit import Asked
from emer.world.walk import Walk

pytestmark = pytest.mark.slow


@cache
def preset(name: str, **parameters: float) -> Setting:
    """As ``conf/world`` has it, with a few other constants."""
    changes = [f"+world.parameters.{key}={value}" for key, value in parameters.items()]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return instantiate(compose("calibrate", [f"world={name}", *changes]).world)


def small() -> Setting:
    return preset("small")


EVERYBODY = np.arange(3000)


@cache
def served_by_the_formula() -> Totals:
    return walk_totals(small().walk(EVERYBODY), NamedArm("fusion_formula").score(small().world), 1)


@dataclass(frozen=True)
class Oracle:
    """A multi-task stage between its predictions (mix 0) and the truth (mix 1), on the log scale."""

    stage: MultiTaskStage
    mix: float

    def predict(self, users, videos, truth, request):
        predicted = self.stage.predict(users, videos, truth, request).astype(np.float64)
        return np.exp((1 - self.mix) * np.log(predicted) + self.mix * np.log(truth)).astype(np.float32)


def product(asked: Asked) -> np.ndarray:
    """The fusion formula with exponent .7 for watch time."""
    exponent = np.where(np.array(OBJECTIVES) == "pvtr", 0.7, 1.0)
    return (np.log(np.maximum(asked.pxtr, 1e-12, dtype=np.float64)) * exponent).sum(axis=-1).astype(np.float32)


def test_a_test_of_nothing_rejects_in_one_of_twenty() -> None:
    """Of 12,000 users: of 3,000, a single one can have 4 % of all likes, and the test is then too careful (3.5 %)."""
    totals = walk_totals(small().walk(np.arange(12_000)), NamedArm("fusion_formula").score(small().world), 1)
    metrics = {name: totals.per_user(column) for name, (column, _) in METRICS.items()}
    metrics |= {f"{name}, expected": totals.per_user(e) for name, (_, e) in METRICS.items() if e is not None}
    metrics["active"] = totals.per_user("active")
    metrics["Like per VideoView"] = (totals.per_user("like"), totals.per_user("video_views"))  # type: ignore[assignment]
    for name, found in false_positives(totals.users, metrics, seed=20261126, splits=5000).items():
        assert found.low <= found.rate <= found.high, (name, found)


def test_the_more_the_pxtrs_know_the_better_it_is_for_everyone() -> None:
    place, sums = small(), []
    for mix in (0.0, 0.5, 1.0):
        walk = Walk(place.world, Oracle(place.multi_task, mix), candidates=64, slate=8, users=np.arange(1500), block=64)
        sums.append(walk_totals(walk, product, 1))
    for name in ("stay_time", *(f"expected_{i}" for i in INTERACTIONS)):
        for before, after in pairwise(sums):
            gain = after.per_user(name) - before.per_user(name)
            assert gain.mean() > -2 * gain.std() / gain.size**0.5, name
        assert sums[-1].values[name].sum() > sums[0].values[name].sum(), name


def test_new_users_follow_twice_as_often() -> None:
    totals, level = served_by_the_formula(), small().world.activity[EVERYBODY]
    rate = {
        who: totals.per_user("expected_follow")[level == who].sum() / totals.per_user("video_views")[level == who].sum()
        for who in (0, 4)
    }
    assert 1.8 <= rate[0] / rate[4] <= 3.0


def test_half_a_per_cent_of_stay_time_is_seen_with_three_thousand_twins() -> None:
    """Between near-identical rankers: the formula, and the same with a tenth more of pltr."""
    place = small()

    def nearly(asked: Asked) -> np.ndarray:
        logs = np.log(np.maximum(asked.pxtr, 1e-12, dtype=np.float64))
        return (logs.sum(axis=-1) + 0.1 * logs[..., OBJECTIVES.index("pltr")]).astype(np.float32)

    base = served_by_the_formula().per_user("stay_time")
    changed = walk_totals(place.walk(EVERYBODY), nearly, 1).per_user("stay_time")
    assert twin_users_needed(changed, base, percent=0.5, power=0.8) <= 3000
    assert measured_twin_power(changed, base, 2999, percent=0.5, draws=500) >= 0.8


def test_explored_first_slots_are_a_sample_of_all_candidates() -> None:
    place = preset("tiny", explore=0.05)
    slots = explored = 0
    sampled, everyone = [], []
    for visit in place.walk().through_day(0, NamedArm("fusion_formula").score(place.world)):
        log = visit.log()
        first = visit.seen.exposed[:, 0]
        slots += int(visit.seen.exposed.sum())
        explored += int(log.explored.sum())
        in_first = np.take_along_axis(log.explored, visit.shown, axis=1)[:, 0] & first
        sampled.append(np.take_along_axis(log.pxtr[..., 0], visit.shown, axis=1)[in_first, 0])
        everyone.append(log.pxtr[..., 0].mean(axis=1))
    error = (0.05 * 0.95 / slots) ** 0.5
    assert abs(explored / slots - 0.05) < 4 * error
    values = np.concatenate(sampled)
    assert abs(values.mean() - np.concatenate(everyone).mean()) < 4 * values.std() / values.size**0.5


def test_explored_slots_tell_what_a_random_order_would_do() -> None:
    """The first place has the same chance to show any candidate, so that its plain mean is the random policy's."""
    place = preset("tiny", explore=0.2)
    clicks = {}
    for arm in ("fusion_formula", "random"):
        found = []
        for visit in place.walk().through_day(0, NamedArm(arm).score(place.world)):
            chosen = visit.seen.exposed[:, 0]
            if arm == "fusion_formula":
                chosen = chosen & np.take_along_axis(visit.log().explored, visit.shown, axis=1)[:, 0]
            found.append(visit.seen.label[chosen, 0, 0])
        clicks[arm] = np.concatenate(found)
    error = sum(c.std() ** 2 / c.size for c in clicks.values()) ** 0.5
    assert clicks["fusion_formula"].size > 500
    assert abs(clicks["fusion_formula"].mean() - clicks["random"].mean()) < 3 * error


def test_twins_with_different_luck_reject_in_one_of_twenty() -> None:
    """The same users under the same ranker with another seed for all that happens. Either day could be called the
    treatment, so every re-split draws that anew for each user."""
    place, users = small(), np.arange(8000)
    totals = []
    for seed in (11, 12):
        walk = place.walk(users)
        walk.world = replace(place.world, seed=seed)
        totals.append(walk_totals(walk, NamedArm("fusion_formula").score(place.world), 1))
    sides = np.random.default_rng(20261126).integers(0, 2, (5000, users.size), dtype=np.uint8) == 1
    low, high = 0.0402, 0.0604
    for columns in METRICS.values():
        for column in filter(None, columns):
            first, second = (t.per_user(column) for t in totals)
            assert (first != second).any()
            rejected = [
                paired_difference(np.where(s, first, second), np.where(s, second, first)).p < 0.05 for s in sides
            ]
            assert low <= np.mean(rejected) <= high, (column, np.mean(rejected))


def test_noise_in_the_pxtrs_costs_stay_time_and_likes() -> None:
    sums = []
    for noise in (0.0, 0.5, 1.0, 1.5, 2.0):
        place = preset("small", pxtr_noise=noise)
        sums.append(walk_totals(place.walk(np.arange(1000)), NamedArm("fusion_formula").score(place.world), 1))
    for name in ("stay_time", "expected_like"):
        for less, more in pairwise(sums):
            loss = less.per_user(name) - more.per_user(name)
            assert loss.mean() > -2 * loss.std() / loss.size**0.5, name
        assert sums[0].values[name].sum() > sums[-1].values[name].sum()


def test_the_default_world_has_the_published_rates() -> None:
    """Of users that took no part in the fit."""
    found = measure(preset("default"), np.arange(4000, 6000)).misfit()["standard"]
    for name, gap in found.items():
        assert abs(gap) <= (0.15 if name in ("click", "long_view", "like") else 0.30), (name, gap)
