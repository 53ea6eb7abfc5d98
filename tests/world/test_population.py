"""The static world has the spread and the shares that its parameters state."""

import numpy as np
import pytest

from emer.world.parameters import WorldParameters
from emer.world.population import build_world

P = WorldParameters()


@pytest.fixture(scope="module")
def world():
    return build_world(3, 3000, 6000, P)


def test_affinity_of_random_pairs_has_its_standard_deviation(world):
    rng = np.random.default_rng(0)
    u, v = rng.integers(world.users, size=200_000), rng.integers(world.videos, size=200_000)
    taste = (world.user_vector[:, u] * world.video_vector[:, v]).sum(axis=0)
    assert taste.std() == pytest.approx(P.affinity_sd, rel=0.02)
    assert world.quality.std() == pytest.approx(P.quality_sd, rel=0.05)


def test_activity_levels_have_their_shares(world):
    share = np.bincount(world.activity, minlength=5) / world.users
    assert share == pytest.approx(P.activity_share, abs=4 * 0.5 / np.sqrt(world.users))


def test_new_users_follow_more(world):
    follow = world.user_rate[:, 1]
    bonus = follow[world.activity == 0].mean() - follow[world.activity == 4].mean()
    assert bonus == pytest.approx(0.857, abs=0.3)
    assert world.user_rate[:, 0].std() == pytest.approx(1.0, rel=0.05)


def test_durations_lie_on_the_stated_levels(world):
    levels = np.unique(world.duration)
    assert levels[0] >= 4.0 and levels[-1] <= 600.0 and levels.size <= P.duration_levels
    step = np.log(600 / 4) / (P.duration_levels - 1)
    place = np.log(levels / 4) / step
    assert place == pytest.approx(np.round(place), abs=0.01)
    assert np.median(world.duration) == pytest.approx(28, rel=0.35)


def test_topics_are_grouped_once(world):
    assert np.array_equal(np.sort(world.topic_videos), np.arange(world.videos))
    for topic in range(P.topics):
        group = world.topic_videos[world.topic_start[topic] : world.topic_start[topic + 1]]
        assert (world.topic[group] == topic).all()
    assert np.array_equal(world.category, world.topic % P.categories)


def test_popular_videos_are_better_than_average(world):
    assert world.popular.size == round(P.popular_pool * world.videos)
    assert world.quality[world.popular].mean() > world.quality.mean() + P.quality_sd


def test_share_of_new_videos(world):
    assert world.cold.mean() == pytest.approx(P.cold_share, abs=0.02)


def test_topic_quotas_are_cumulative_and_favour_liked_topics(world):
    assert (np.diff(world.topic_quota, axis=1) >= 0).all()
    assert world.topic_quota[:, -1] == pytest.approx(1.0)
    share = np.diff(world.topic_quota, axis=1, prepend=0.0)
    assert share.max(axis=1).mean() > 3 / P.topics


def test_people_do_not_change_with_the_size_of_the_world(world):
    small = build_world(3, 100, 600, P)
    assert np.array_equal(small.activity, world.activity[:100])
    assert np.array_equal(small.user_rate, world.user_rate[:100])
    assert np.array_equal(small.duration, world.duration[:600])


def test_other_seed_is_another_world(world):
    other = build_world(4, 100, 600, P)
    assert (other.activity != world.activity[:100]).any()
    assert (other.duration != world.duration[:600]).mean() > 0.8
