"""Twins in the simulated world: nothing but the ranker may matter, and what it changes is what the mechanism says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.experiment import effects, lifetime
from emer.online.setting import Setting
from emer.online.simulate import Simulated, simulate
from emer.online.totals import TOTALS, Totals, walk_totals
from emer.world.exposure import fusion_score
from emer.world.parameters import WorldParameters
from emer.world.walk import DAY_MS


def setting(**changes) -> Setting:
    parameters = {"list_fatigue": 0.12, "list_contrast": 0.15, "return_sensitivity": 0.5} | changes.pop(
        "parameters", {}
    )
    return Setting(**{"users": 600, "videos": 3000, "candidates": 24, "parameters": parameters, **changes})


def run(*arms: str, users: int = 60, days: int = 1, of: Setting | None = None, **options) -> Simulated:
    return simulate(of or setting(), {arm: NamedArm(arm).score for arm in arms}, users, days, **options)


def same(first: Totals, second: Totals) -> bool:
    return np.array_equal(first.users, second.users) and all(
        np.array_equal(first.values[name], second.values[name]) for name in TOTALS
    )


@cache
def many(eta: float = 1.0) -> dict[str, Totals]:
    world = setting(users=2000, parameters={"eta": eta})
    return run("fusion_formula", "random", "pltr", "pltr:1.0", users=1200, of=world).totals


def per_cent(totals: dict[str, Totals], name: str, arm: str, base: str) -> tuple[float, float]:
    """The difference and its standard error."""
    a, b = totals[arm].per_user(name), totals[base].per_user(name)
    return 100 * (a.sum() / b.sum() - 1), 100 * (a - b * a.sum() / b.sum()).std() * a.size**0.5 / b.sum()


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.slow
def test_blocks_and_shards_change_nothing(block) -> None:
    place = setting()
    whole = walk_totals(place.walk(np.arange(60)), NamedArm("pltr:0.5").score(place.world), 2)
    parts = [
        walk_totals(place.walk(users, block=block), NamedArm("pltr:0.5").score(place.world), 2)
        for users in (np.arange(20, 60), np.arange(20))
    ]
    assert same(Totals.concat(parts), whole)


def test_a_day_at_a_time_or_an_hour_is_the_same() -> None:
    place, found = setting(), []
    for steps in (range(DAY_MS, 3 * DAY_MS + 1, DAY_MS), range(DAY_MS // 24, 3 * DAY_MS + 1, DAY_MS // 24)):
        walk, served = place.walk(np.arange(40)), []
        for moment in steps:
            served += [v.log() for v in walk.until(moment, lambda asked: fusion_score(asked.pxtr))]
        order = np.concatenate([s.time_ms for s in served])
        assert (order < 3 * DAY_MS).all()
        ids = np.concatenate([s.video.sum(axis=1) for s in served])
        found.append(ids[np.lexsort((np.concatenate([s.user for s in served]), order))])
    assert np.array_equal(*found)


def test_time_runs_through_the_users_when_they_walk_by_the_clock() -> None:
    walk, last = setting().walk(np.arange(40)), 0
    for moment in range(DAY_MS // 24, DAY_MS + 1, DAY_MS // 24):
        for visit in walk.until(moment, lambda asked: fusion_score(asked.pxtr)):
            assert visit.asked.time_ms.min() >= last and visit.asked.time_ms.max() < moment
        last = moment - DAY_MS // 24


def test_a_walk_goes_on_from_its_state() -> None:
    place = setting()
    walk, again = place.walk(np.arange(40)), place.walk(np.arange(40))
    score = NamedArm("random").score(place.world)
    walk_totals(walk, score, 1)
    state = walk.state()
    expected = walk_totals(walk, score, 2)
    again.restore(state)
    assert same(walk_totals(again, score, 2), expected)
    again.restore(state)
    assert same(walk_totals(again, score, 2), expected), "a state is not used up"


@pytest.mark.slow
def test_two_processes_give_what_one_gives() -> None:
    one, two = (run("fusion_formula", "pltr", users=300, before=1, processes=processes) for processes in (1, 2))
    assert one.before is not None and two.before is not None
    assert same(one.before, two.before)
    assert all(same(one.totals[arm], two.totals[arm]) for arm in one.totals)


def test_twins_of_one_arm_are_equal() -> None:
    totals = run("fusion_formula", users=120, days=2).totals["fusion_formula"]
    again = run("fusion_formula", users=120, days=2).totals["fusion_formula"]
    assert same(totals, again)
    for effect in effects({"a": totals, "b": again}, "a"):
        if effect.design == "twin":
            assert effect.difference.absolute == 0


def test_a_handful_of_changed_users_gives_no_interval() -> None:
    totals = run("fusion_formula", users=120).totals["fusion_formula"]
    values = {name: value.copy() for name, value in totals.values.items()}
    values["follow"][0] += 3
    values["like"][:30] += 1
    found = effects({"a": totals, "b": Totals(totals.users, values)}, "a")
    twins = {e.metric: e.difference for e in found if e.design == "twin" and e.kind == "observed"}
    assert np.isnan(twins["Follow"].percent_low) if "Follow" in twins else totals.per_user("follow").sum() == 0
    assert twins["Like"].percent_low > 0


@pytest.mark.slow
def test_a_random_order_is_worst() -> None:
    for name in ("stay_time", "expected_like"):
        difference, error = per_cent(many(), name, "random", "fusion_formula")
        assert difference + 3 * error < 0


@pytest.mark.slow
def test_dividing_by_watch_time_pays_where_time_is_the_currency() -> None:
    """The mechanism of the paradox: eta = 1 spends the session in seconds, eta = 0 in impressions."""
    difference, error = per_cent(many(1.0), "expected_like", "pltr:1.0", "pltr")
    assert difference > 3 * error
    difference, error = per_cent(many(0.0), "expected_like", "pltr:1.0", "pltr")
    assert difference < -3 * error


def test_expected_interactions_are_the_observed_ones_without_luck() -> None:
    totals = many()["fusion_formula"]
    for name in ("like", "comment"):
        observed, expected = totals.per_user(name), totals.per_user(f"expected_{name}")
        # Given what was watched, the variance of a count is at most its expectation.
        assert abs(observed.sum() - expected.sum()) < 4 * expected.sum() ** 0.5


def test_lifetime_is_between_one_and_seven_days() -> None:
    totals = run("fusion_formula", "random", users=300, days=7, of=setting(candidates=12)).totals
    came = totals["fusion_formula"].values["active"][:, 0] > 0
    assert np.array_equal(came, totals["random"].values["active"][:, 0] > 0)
    for arm in totals.values():
        for column in ("active", "return_chance"):
            days = lifetime(arm, column)
            assert (days[~came] == 0).all()
            assert days[came].min() >= 1 and days[came].max() <= 7
    assert lifetime(totals["random"], "return_chance").sum() < lifetime(totals["fusion_formula"], "return_chance").sum()


@pytest.mark.slow
def test_lifetime_grows_with_the_wish_to_return() -> None:
    days = []
    for more in (0.0, 0.5):
        logit = tuple(x + more for x in WorldParameters().return_logit)
        of = setting(parameters={"return_logit": logit})
        told = run("fusion_formula", users=200, days=7, of=of).totals["fusion_formula"]
        came = told.values["active"][:, 0] > 0
        days.append(lifetime(told, "return_chance")[came].mean())
    assert days[1] > days[0]


def test_less_noise_in_the_pxtrs_is_worth_more() -> None:
    stay = [
        run("fusion_formula", users=600, of=setting(parameters={"pxtr_noise": noise})).totals["fusion_formula"]
        for noise in (0.0, 1.0, 2.0)
    ]
    for name in ("stay_time", "expected_like"):
        sums = [totals.values[name].sum() for totals in stay]
        assert sums[0] > sums[1] > sums[2], name


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(EmerError, match=r"arms: there is no nonsense; it is neither a run folder"):
        NamedArm("nonsense")
    with pytest.raises(EmerError, match=r"there is no pltr:x"):
        NamedArm("pltr:x")
    with pytest.raises(EmerError, match=r"days is 0; it must be at least 1"):
        run("pltr", days=0)
    totals = run("pltr", users=8).totals["pltr"]
    with pytest.raises(EmerError, match="needs a and at least one more"):
        effects({"a": totals}, "a")
    with pytest.raises(EmerError, match="other users or days than a"):
        effects({"a": totals, "b": totals.select(np.arange(4))}, "a")
    with pytest.raises(EmerError, match="a user is in two parts"):
        Totals.concat([totals, totals])
    with pytest.raises(EmerError, match=r"world\.parameters has no tiredness; there are activity_share"):
        setting(parameters={"tiredness": 1.0})
    with pytest.raises(EmerError, match=r"world\.videos is 30; it must be at least 48"):
        setting(videos=30)
