"""Retrieval: exactly C different videos, mostly from the user's topics, the same whatever the block."""

from dataclasses import replace

import numpy as np
import pytest

from emer.world.candidates import draw_candidates
from emer.world.hashing import Stream, hash_keys
from emer.world.parameters import WorldParameters
from emer.world.population import build_world


def request_hash(count):
    return hash_keys(0, Stream.CANDIDATES, np.arange(count))


@pytest.mark.parametrize(("videos", "count"), [(40_000, 64), (128, 64), (60, 30), (2, 1), (5000, 500)])
def test_exactly_c_distinct_candidates(videos, count):
    world = build_world(0, 50, videos, WorldParameters())
    drawn = draw_candidates(world, np.arange(300) % 50, count, request_hash(300))
    assert drawn.shape == (300, count) and drawn.dtype == np.int64
    assert drawn.min() >= 0 and drawn.max() < videos
    assert (np.diff(drawn, axis=1) > 0).all()


@pytest.fixture(scope="module")
def world():
    return build_world(0, 50, 20_000, WorldParameters())


def test_request_does_not_depend_on_its_neighbours(world):
    users, request = np.arange(300) % 50, request_hash(300)
    whole = draw_candidates(world, users, 64, request)
    rows = np.array([250, 3, 17])
    assert np.array_equal(draw_candidates(world, users[rows], 64, request[rows]), whole[rows])
    assert np.array_equal(draw_candidates(world, users[:1], 64, request[:1]), whole[:1])


def test_requests_of_one_user_are_fresh(world):
    first, second = draw_candidates(world, np.array([1, 1]), 64, request_hash(2))
    assert np.intersect1d(first, second).size < 16


def test_topics_follow_the_quota(world):
    everything_topical = replace(world, parameters=replace(world.parameters, topic_share=1.0, popular_share=0))
    drawn = draw_candidates(everything_topical, np.full(400, 7), 50, request_hash(400))
    share = np.bincount(world.topic[drawn].ravel(), minlength=32) / drawn.size
    assert share == pytest.approx(np.diff(world.topic_quota[7], prepend=0.0), abs=0.01)


def test_sources_have_their_shares(world):
    drawn = draw_candidates(world, np.arange(400) % 50, 100, request_hash(400))
    popular = np.isin(drawn, world.popular).mean()
    # 20 of 100 slots, plus the 5 % of the others that are popular by chance (topics lean neither way).
    assert popular == pytest.approx(0.2 + 0.8 * 0.05, abs=0.02)


def test_uniform_slots_are_uniform(world):
    uniform = replace(world, parameters=replace(world.parameters, topic_share=0.0, popular_share=0.0))
    drawn = draw_candidates(uniform, np.zeros(2000, int), 64, request_hash(2000))
    counts = np.bincount(drawn.ravel() // 2000, minlength=10)
    assert counts == pytest.approx(np.full(10, 12_800), rel=0.05)
