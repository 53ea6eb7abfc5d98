"""Days and sessions: block invariance, time order, and the mechanism of the budget."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from emer.world.exposure import fusion_score
from emer.world.parameters import WorldParameters
from emer.world.population import build_world
from emer.world.pxtr import PxtrStage
from emer.world.visit import Served
from emer.world.walk import DAY_MS, walk_days


def walk(days=2, score=fusion_score, users=150, block=256, candidates=32, slate=8, **changes):
    world = build_world(0, users, 2000, replace(WorldParameters(), **changes))
    stage = PxtrStage.calibrated(world, candidates, slate)
    parts = islice(walk_days(world, stage, score, candidates=candidates, slate=slate, block=block), days)
    return world, Served.in_time_order([part for day in parts for part in day])


@pytest.fixture(scope="module")
def walked():
    return walk(days=4)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@pytest.mark.parametrize("block", [1, 7, 64, 999])
@pytest.mark.slow
def test_blocks_do_not_matter(block):
    assert same(walk(days=2, users=40, block=block)[1], walk(days=2, users=40)[1])


def test_time_runs_forward(walked):
    world, served = walked
    assert (np.diff(served.time_ms) >= 0).all()
    spent = 1e3 * (served.watch_time.sum(axis=1, dtype=float) + world.parameters.overhead * served.exposed.sum(axis=1))
    for user in range(world.users):
        mine = np.flatnonzero(served.user == user)
        # A request follows when the one before has been watched; a cut video may spare part of its overhead.
        assert (np.diff(served.time_ms[mine]) >= spent[mine[:-1]] - 1200).all()


def test_sessions_begin_at_zero_and_count_up(walked):
    _, served = walked
    for user in np.unique(served.user):
        place = served.place[served.user == user]
        assert place[0] == 0
        assert np.isin(np.diff(place), [1]).sum() + (place[1:] == 0).sum() == place.size - 1


def test_active_users_come_more_often(walked):
    world, served = walked
    days_seen = np.zeros(world.users)
    for day in range(4):
        days_seen[np.unique(served.user[served.time_ms // DAY_MS == day])] += 1
    assert days_seen[world.activity == 4].mean() > days_seen[world.activity <= 1].mean() + 1


def test_traffic_peaks_in_the_evening(walked):
    _, served = walked
    hour = served.time_ms % DAY_MS // 3_600_000
    assert ((hour >= 19) & (hour < 23)).sum() > 3 * ((hour >= 2) & (hour < 6)).sum()


def test_slots_stay_unexposed_when_the_session_ends(walked):
    _, served = walked
    seen = served.exposed.sum(axis=1)
    assert seen.min() >= 1 and seen.max() == 8
    assert 0.8 < seen.mean() / 8 < 0.97
    # Only the last request of a session is cut short.
    for user in np.unique(served.user):
        mine = np.flatnonzero(served.user == user)
        assert (seen[mine[:-1]][served.place[mine[1:]] > 0] == 8).all()


def test_exposed_are_the_best_scores():
    served = walk(days=1, explore=0.0)[1]
    rank = np.argsort(np.argsort(-served.score, axis=1, kind="stable"), axis=1)
    assert (served.exposed == (rank < served.exposed.sum(axis=1, keepdims=True))).all()


def test_impressions_do_not_depend_on_the_ranker_when_they_are_the_currency():
    counts = [walk(score=s, eta=0.0, gamma=0.0)[1].exposed.sum() for s in (fusion_score, lambda p: -fusion_score(p))]
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_worse_ranking_shows_more_videos_when_time_is_the_currency():
    counts = [walk(score=s, gamma=0.0)[1].exposed.sum() for s in (fusion_score, lambda p: -fusion_score(p))]
    assert counts[1] > 1.2 * counts[0]


def test_fatigue_makes_users_turn_away():
    fresh, tired = (walk(days=3, fatigue=f)[1] for f in (0.0, 0.3))
    assert tired.label[tired.exposed][:, 0].mean() < fresh.label[fresh.exposed][:, 0].mean() - 0.02


def test_session_limit_holds():
    _, served = walk(days=1, session_requests=3)
    assert served.place.max() == 2


def test_a_night_takes_fatigue_away():
    expected_clicks = []
    for overnight in (0.0, 0.3, 1.0):
        _, served = walk(days=3, fatigue=0.3, fatigue_overnight=overnight)
        early = (served.time_ms > DAY_MS) & (served.place == 0)
        expected_clicks.append(served.pxtr[early, :, 0].mean())
    assert expected_clicks[0] > expected_clicks[1] > expected_clicks[2]


@pytest.fixture(scope="module")
def counted():
    """Budgets in impressions of 4 s, so that a session's impressions show its budget."""
    return walk(
        days=2,
        users=800,
        candidates=8,
        eta=0.0,
        gamma=0.0,
        impression_seconds=4.0,
        activity_share=(0.5, 0.0, 0.0, 0.0, 0.5),
        return_logit=(9.0, 9.0, 9.0, 9.0, 9.0),
    )


@pytest.mark.parametrize(("level", "shift", "mean"), [(0, -0.7, 0.6), (4, 0.3, 2.2)])
def test_sessions_have_their_number_and_budgets(counted, level, shift, mean):
    world, served = counted
    order = np.lexsort((served.time_ms, served.user))
    first = served.place[order] == 0
    impressions = np.add.reduceat(served.exposed.sum(axis=1)[order], np.flatnonzero(first))
    users = served.user[order][first]
    mine = world.activity[users] == level
    # E[max(1, floor(X))] <= 6 of an exponential X: 1 + the chances of at least 2, 3, ... 6.
    expected = 1 + np.exp(-np.arange(2, 7) / mean).sum()
    user_days = 2 * (world.activity == level).sum()
    assert mine.sum() / user_days == pytest.approx(expected, rel=0.1)

    median = 270 * np.exp(shift) / 4 + 0.5  # impressions are rounded up
    again = np.r_[False, users[1:] == users[:-1]]
    for group in (mine & ~again, mine & again):
        logs = np.log(impressions[group])
        assert np.median(logs) == pytest.approx(np.log(median), abs=4 * 1.25 * 0.8 / np.sqrt(group.sum()))
        assert np.subtract(*np.percentile(logs, [75, 25])) == pytest.approx(2 * 0.6745 * 0.8, rel=0.2)
