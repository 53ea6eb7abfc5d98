"""Serving formula, slate and session budget, by hand arithmetic and conservation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from emer.world.exposure import choose_slate, fusion_score, watch_slate
from emer.world.hashing import Stream, hash_keys
from emer.world.parameters import WorldParameters
from emer.world.population import build_world
from emer.world.responses import Potential


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
