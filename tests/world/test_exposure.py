"""Serving formula, slate and session budget, by hand arithmetic and conservation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from emer.world.exposure import choose_slate, explored_slots, fusion_score, watch_slate
from emer.world.hashing import Stream, hash_keys, integers
from emer.world.parameters import WorldParameters
from emer.world.population import build_world
from emer.world.responses import Potential, feedback


def request_hash(count):
    return hash_keys(0, Stream.CANDIDATES, np.arange(count))


def world_with(**changes):
    world = build_world(0, 10, 100, replace(WorldParameters(), **changes))
    return replace(world, watch_weight=np.full(10, 1.0), interaction_weight=np.full(10, 1.0))


def slates(watch, duration=1000.0, luck=1.0, dislike=False):
    watch = np.asarray(watch, float)
    return Potential(
        duration=np.full(watch.shape, duration),
        watch_time=watch,
        log_rate=np.full((*watch.shape, 4), np.log(0.5)),
        luck=np.broadcast_to(np.asarray(luck, float)[..., None], (*watch.shape, 4)),
        dislike=np.broadcast_to(dislike, watch.shape),
    )


def test_fusion_score_is_the_log_of_the_product():
    pxtr = np.array([[[0.5, 2.0, 0.25], [1.0, 1.0, 1.0], [0.0, 3.0, 0.5]]], np.float32)
    score = fusion_score(pxtr)
    assert score.dtype == np.float32
    assert score[0, 0] == pytest.approx(np.log(0.5 * 2 * 0.25))
    assert score[0, 1] == 0 and np.isfinite(score[0, 2]) and score[0, 2] < score[0, 0]


def test_slate_is_the_top_in_order():
    score = np.array([[0.1, 0.9, 0.9, -1.0, 0.5]])
    assert choose_slate(score, 4, 0.0, request_hash(1)).tolist() == [[1, 2, 4, 0]]
    assert choose_slate(score, 5, 0.0, request_hash(1)).tolist() == [[1, 2, 4, 0, 3]]


def test_full_exploration_is_uniform_and_distinct():
    score = np.tile(np.arange(12.0), (20_000, 1))
    slate = choose_slate(score, 4, 1.0, request_hash(20_000))
    assert (np.diff(np.sort(slate, axis=1), axis=1) > 0).all()
    for slot in range(4):
        assert chisquare(np.bincount(slate[:, slot], minlength=12)).pvalue > 1e-4


def test_exploration_has_its_share():
    score = np.tile(-np.arange(500.0), (20_000, 1))
    slate = choose_slate(score, 8, 0.03, request_hash(20_000))
    strangers = (slate >= 8).sum()  # an explored slot meets one of the best eight once in 62 times
    n = 20_000 * 8
    assert abs(strangers - 0.03 * (1 - 8 / 500) * n) < 4 * np.sqrt(0.03 * 0.97 * n)


def test_budget_ends_the_session_in_the_middle_of_a_video():
    # 10 s budget, no give-back: 3 + 1.2, 4 + 1.2, then 0.6 s are left, less than the overhead of the third.
    seen = watch_slate(world_with(gamma=0.0), np.array([0]), slates([[3.0, 4.0, 50.0, 50.0]]), np.array([10.0]))
    assert seen.exposed.tolist() == [[True, True, True, False]]
    assert seen.watch_time[0] == pytest.approx([3.0, 4.0, 0.0, 0.0])
    assert seen.seconds[0] == pytest.approx(10.0) and seen.budget[0] == 0
    # 20 s: the third is cut after 20 - 4.2 - 5.2 - 1.2 = 9.4 s, which is still a click but no long view.
    seen = watch_slate(world_with(gamma=0.0), np.array([0]), slates([[3.0, 4.0, 50.0, 50.0]]), np.array([20.0]))
    assert seen.watch_time[0] == pytest.approx([3.0, 4.0, 9.4, 0.0], abs=1e-3)
    assert seen.label[0, :, 0].tolist() == [False, False, True, False]
    assert not seen.label[0, :, 1].any()


def test_without_truncation_the_last_video_is_watched_to_its_end():
    world = world_with(gamma=0.0, truncate_last=False)
    seen = watch_slate(world, np.array([0]), slates([[3.0, 4.0, 50.0, 50.0]]), np.array([20.0]))
    assert seen.watch_time[0].tolist() == [3.0, 4.0, 50.0, 0.0]
    assert seen.seconds[0] == pytest.approx(3 + 4 + 50 + 3 * 1.2) and seen.budget[0] == 0


def test_stay_equals_budget_without_give_back():
    world, rng = world_with(gamma=0.0), np.random.default_rng(0)
    budget = rng.lognormal(4, 1, size=500)
    left, stay, users = budget.copy(), np.zeros(500), np.zeros(500, int)
    for _ in range(200):
        live = np.flatnonzero(left > 0)
        if not live.size:
            break
        seen = watch_slate(world, users[live], slates(rng.lognormal(2, 1, size=(live.size, 8))), left[live])
        stay[live] += seen.seconds
        left[live] = seen.budget
    assert not left.any()
    assert stay == pytest.approx(budget, abs=1e-6)


def test_satisfaction_gives_time_back():
    # One click: cost 10 + 1.2, back 12 * (1 - 0.15) -> 100 - 11.2 + 10.2 = 99.0
    seen = watch_slate(world_with(), np.array([0]), slates([[10.0]]), np.array([100.0]))
    assert seen.budget[0] == pytest.approx(99.0)
    # Skip of 2 s: cost 3.2, back 12 * (-0.6 - 0.15) -> 100 - 3.2 - 9 = 87.8
    seen = watch_slate(world_with(), np.array([0]), slates([[2.0]]), np.array([100.0]))
    assert seen.budget[0] == pytest.approx(87.8)
    # The same, disliked: 12 * 2 less.
    seen = watch_slate(world_with(), np.array([0]), slates([[2.0]], dislike=True), np.array([100.0]))
    assert seen.budget[0] == pytest.approx(63.8) and seen.dislike[0, 0]
    # Click and four interactions: back 12 * (1 + 1.5 * 4 - 0.15).
    seen = watch_slate(world_with(), np.array([0]), slates([[10.0]], luck=[[0.0]]), np.array([100.0]))
    assert seen.label[0, 0].tolist() == [True, False, False, True, True, True, True]
    assert seen.budget[0] == pytest.approx(100 - 11.2 + 12 * 6.85)


def test_budget_may_count_impressions_instead_of_seconds():
    world = world_with(gamma=0.0, eta=0.0)
    for watch in (1.0, 500.0):
        seen = watch_slate(world, np.array([0]), slates(np.full((1, 8), watch)), np.array([50.0]))
        assert seen.exposed.sum() == 4  # 50 / 16 = 3.1
        assert seen.watch_time[0, :4].tolist() == [watch] * 4


def test_nothing_is_recorded_for_what_was_not_seen():
    rng = np.random.default_rng(1)
    potential = slates(rng.lognormal(2, 1, (300, 8)), luck=rng.random((300, 8)), dislike=rng.random((300, 8)) < 0.5)
    seen = watch_slate(world_with(), np.zeros(300, int), potential, rng.lognormal(3, 1, 300))
    assert seen.exposed[:, 0].all() and not seen.exposed.all()
    assert (np.diff(seen.exposed.astype(int), axis=1) <= 0).all()  # a prefix of the slate
    hidden = ~seen.exposed
    assert not seen.label[hidden].any() and not seen.dislike[hidden].any() and not seen.watch_time[hidden].any()
    assert (seen.budget[~seen.exposed[:, -1]] == 0).all()


@pytest.mark.parametrize("changes", [{}, {"eta": 0.4}, {"eta": 0.0}, {"gamma": 40.0}, {"truncate_last": False}])
def test_the_running_sum_is_a_walk_from_slot_to_slot(changes):
    """Bit for bit, with the cut of the last video."""
    world, rng, n = world_with(**changes), np.random.default_rng(2), 400
    potential = slates(rng.lognormal(2, 1, (n, 8)), luck=rng.random((n, 8)), dislike=rng.random((n, 8)) < 0.2)
    budget, p = rng.lognormal(3.5, 1, n), world.parameters
    seen = watch_slate(world, np.zeros(n, int), potential, budget)
    watched = replace(potential, watch_time=np.where(seen.exposed, seen.watch_time, 0.0))
    assert np.array_equal(seen.label, feedback(world, potential, watched.watch_time) & seen.exposed[..., None])
    for row in range(n):
        left, slot = budget[row], 0
        while left > 0 and slot < 8:
            assert seen.exposed[row, slot]
            spent = potential.watch_time[row, slot] + p.overhead
            flat = (1 - p.eta) * p.impression_seconds
            returned = p.gamma * (seen.satisfaction[row, slot] - p.satisfaction_reference)
            after = left - p.eta * spent - flat + returned
            cut = after <= 0 and p.truncate_last and p.eta > 0 and spent > max(left - flat, 0.0) / p.eta
            seconds = max(left - flat, 0.0) / p.eta if cut else spent
            watch = np.floor(1e3 * max(seconds - p.overhead, 0.0)) / 1e3 if cut else spent - p.overhead
            assert seen.watch_time[row, slot] == pytest.approx(watch, abs=0 if cut else 1e-12)
            left, slot = max(after, 0.0), slot + 1
        assert seen.exposed[row].sum() == slot and seen.budget[row] == left


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slate_is_that_of_a_stable_sort(dtype):
    rng = np.random.default_rng(3)
    score = np.round(rng.normal(size=(400, 40)), 1).astype(dtype)  # with many ties
    score[rng.random(score.shape) < 0.1] = -0.0
    score[rng.random(score.shape) < 0.02] = np.inf
    score[200:, ::3] = -np.inf
    score[300:][rng.random((100, 40)) < 0.9] = np.nan
    order = np.argsort(-score, axis=1, kind="stable")
    for size in (1, 8, 40):
        assert np.array_equal(choose_slate(score, size, 0.0, request_hash(400)), order[:, :size])


def test_exploring_slots_change_places_in_the_whole_order():
    score, n, size = np.round(np.random.default_rng(4).normal(size=(300, 30)), 1).astype(np.float32), 300, 8
    request, slot = request_hash(n), np.arange(size)
    order = np.argsort(-score, axis=1, kind="stable")
    explored = explored_slots(size, 0.1, request)
    drawn = slot + integers(hash_keys(0, Stream.EXPLORE, request[:, None], 1, slot), 30 - slot)
    for row, s in zip(*np.nonzero(explored), strict=True):
        order[row, [s, drawn[row, s]]] = order[row, [drawn[row, s], s]]
    assert np.array_equal(choose_slate(score, size, 0.1, request), order[:, :size])
