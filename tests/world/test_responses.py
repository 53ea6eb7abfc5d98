"""True responses: KuaiRand's watch flags, saturation, and closed forms against Monte Carlo."""

from dataclasses import replace

import numpy as np
import pytest

from emer.world.parameters import WorldParameters
from emer.world.population import build_world
from emer.world.responses import (
    FEEDBACK,
    INTERACTIONS,
    OBJECTIVES,
    Potential,
    affinity,
    affinity_in_list,
    expected_rates,
    feedback,
    interaction_log_rate,
    interaction_probability,
    longest_watch,
    potential_responses,
)


@pytest.fixture(scope="module")
def world():
    return build_world(1, 200, 2000, WorldParameters())


@pytest.fixture(scope="module")
def pairs(world):
    rng = np.random.default_rng(0)
    users = np.arange(60)
    videos = rng.integers(world.videos, size=(60, 40))
    z = affinity(world, users, videos, np.zeros((60, 12)))
    return users, videos, z


@pytest.fixture(scope="module")
def many_days(world, pairs):
    return [potential_responses(world, *pairs, day) for day in range(300)]


@pytest.mark.parametrize(
    ("duration", "watch_time", "flags"),  # click, long view, complete
    [
        (60.0, 7.0, (0, 0, 0)),  # exactly 7 s of a longer video is not yet a click
        (60.0, 7.001, (1, 0, 0)),
        (60.0, 17.999, (1, 0, 0)),
        (60.0, 18.0, (1, 1, 0)),
        (60.0, 60.0, (1, 1, 1)),
        (12.0, 11.999, (1, 0, 0)),
        (12.0, 12.0, (1, 1, 1)),  # complete play of a video under 18 s is a long view
        (5.0, 4.999, (0, 0, 0)),
        (5.0, 5.0, (1, 1, 1)),  # complete play of a video under 7 s is a click
        (7.0, 7.0, (1, 1, 1)),
        (18.0, 18.0, (1, 1, 1)),
        (60.0, 0.0, (0, 0, 0)),
    ],
)
def test_watch_flags_follow_kuairand(world, duration, watch_time, flags):
    potential = Potential(
        duration=np.array([[duration]]),
        watch_time=np.array([[watch_time]]),
        log_rate=np.full((1, 1, 4), -5.0),
        luck=np.full((1, 1, 4), 0.9999),
        dislike=np.zeros((1, 1), bool),
    )
    assert tuple(feedback(world, potential, potential.watch_time)[0, 0, :3].astype(int)) == flags


def test_interaction_probability_by_hand(world):
    log_rate = np.full((1, 3, 4), np.log(0.01))
    p = interaction_probability(world, log_rate, np.array([[0.0, 5.0, 1000.0]]))
    assert p[0, 0] == pytest.approx([0, 0, 0, 0])
    assert p[0, 1] == pytest.approx([1 - np.exp(-0.01 * 5)] * 4)
    assert p[0, 2] == pytest.approx(1 - np.exp(-0.01 * np.array([8, 20, 30, 12])))  # saturated


def test_interaction_needs_luck_below_its_probability(world):
    p = 1 - np.exp(-0.01 * 5)
    potential = Potential(
        duration=np.array([[60.0, 60.0]]),
        watch_time=np.array([[5.0, 5.0]]),
        log_rate=np.full((1, 2, 4), np.log(0.01)),
        luck=np.array([[[p - 1e-9] * 4, [p + 1e-9] * 4]]),
        dislike=np.zeros((1, 2), bool),
    )
    label = feedback(world, potential, potential.watch_time)[..., 3:]
    assert label[0, 0].all() and not label[0, 1].any()


def test_affinity_by_hand(world):
    fatigue = np.zeros((1, 12))
    fatigue[0, world.category[7]] = 2.5
    z = affinity(world, np.array([4]), np.array([[7, 8]]), fatigue)
    expected = world.user_vector[:, 4] @ world.video_vector[:, 7] + world.quality[7] - 0.12 * 2.5
    assert z[0, 0] == pytest.approx(expected)
    tired_of_8 = 0.12 * 2.5 if world.category[8] == world.category[7] else 0.0
    expected = world.user_vector[:, 4] @ world.video_vector[:, 8] + world.quality[8] - tired_of_8
    assert z[0, 1] == pytest.approx(expected)


def test_replays_are_capped(many_days):
    for potential in many_days[:20]:
        assert (potential.watch_time <= longest_watch(potential.duration) + 5e-4).all()
        assert (potential.watch_time >= 0).all()
    assert longest_watch(np.array([15.0]))[0] == pytest.approx(15 * (1 + 1.5 / np.e))


def test_watch_time_matches_its_closed_form(world, pairs, many_days):
    watch = np.mean([p.watch_time.mean() for p in many_days])
    assert expected_rates(world, *pairs)[..., 1].mean() == pytest.approx(watch, rel=0.01)


def test_watch_flags_match_their_closed_forms(world, pairs, many_days):
    rates = expected_rates(world, *pairs)
    seen = np.mean([feedback(world, p, p.watch_time)[..., :3].mean(axis=(0, 1)) for p in many_days], axis=0)
    assert rates[..., [0, 2, 3]].mean(axis=(0, 1)) == pytest.approx(seen, abs=0.003)


def test_closed_forms_hold_per_video_too(world, pairs, many_days):
    """Every row of (60 users, 300 days x 40 videos) within 4.5 standard errors, not only the grand mean."""
    click = np.stack([feedback(world, p, p.watch_time)[..., 0] for p in many_days]).sum(axis=(0, 2))
    p = expected_rates(world, *pairs)[..., 0]
    z = (click - 300 * p.sum(axis=1)) / np.sqrt(300 * (p * (1 - p)).sum(axis=1))
    assert np.abs(z).max() < 4.5


def test_interactions_match_p_given_watch_time(world, many_days):
    happened, expected, variance = 0.0, 0.0, 0.0
    for potential in many_days:
        p = interaction_probability(world, potential.log_rate, potential.watch_time)
        happened = happened + feedback(world, potential, potential.watch_time)[..., 3:].sum(axis=(0, 1))
        expected = expected + p.sum(axis=(0, 1))
        variance = variance + (p * (1 - p)).sum(axis=(0, 1))
    assert (np.abs(happened - expected) < 4 * np.sqrt(variance)).all()


def test_true_interaction_rates_are_close_to_their_monte_carlo(world, pairs, many_days):
    """The stated approximation: the closed form overstates, and by under 10 % of the mean."""
    p = np.mean(
        [interaction_probability(world, q.log_rate, q.watch_time).mean(axis=(0, 1)) for q in many_days[:100]],
        axis=0,
    )
    ratio = expected_rates(world, *pairs)[..., 4:].mean(axis=(0, 1)) / p
    assert (ratio > 0.98).all() and (ratio < 1.10).all()


def test_interactions_grow_with_watch_time(world, many_days):
    watch = np.concatenate([p.watch_time.ravel() for p in many_days])
    like = np.concatenate([feedback(world, p, p.watch_time)[..., 3].ravel() for p in many_days])
    rate = [like[(watch >= a) & (watch < b)].mean() for a, b in ((0, 2), (2, 5), (5, 1e9))]
    assert rate[0] < rate[1] < rate[2]


def test_rates_rise_with_affinity(world, pairs):
    users, videos, z = pairs
    higher = expected_rates(world, users, videos, z + 0.5)
    assert (higher > expected_rates(world, users, videos, z)).all()


def test_luck_belongs_to_user_video_and_day(world, pairs):
    users, videos, z = pairs
    whole = potential_responses(world, users, videos, z, 2)
    rows, columns = np.array([5, 1]), np.array([[3, 30, 7], [9, 0, 2]])
    part = potential_responses(world, users[rows], videos[rows[:, None], columns], z[rows[:, None], columns], 2)
    for name in ("watch_time", "log_rate", "luck", "dislike"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[rows[:, None], columns])
    tomorrow = potential_responses(world, users, videos, z, 3)
    assert (tomorrow.watch_time != whole.watch_time).mean() > 0.99


def test_dislike_has_its_rate(pairs):
    world = build_world(1, 200, 2000, replace(WorldParameters(), dislike_intercept=-2.0))
    users, videos, z = pairs
    p = 1 / (1 + np.exp(2.0 + 0.55 * z))
    happened = sum(potential_responses(world, users, videos, z, day).dislike.sum() for day in range(50))
    assert abs(happened - 50 * p.sum()) < 4 * np.sqrt(50 * (p * (1 - p)).sum())


def test_interaction_rate_by_hand(world):
    rate = interaction_log_rate(world, np.array([2]), np.array([[9]]), np.array([[0.5]]))
    p = world.parameters
    expected = (
        np.array(p.interaction_intercept)
        + 0.5 * np.array(p.interaction_slope)
        + world.user_rate[2]
        + world.video_rate[9]
    )
    assert rate[0, 0] == pytest.approx(expected)


def test_names_agree():
    assert len(OBJECTIVES) == 8 and FEEDBACK[3:] == INTERACTIONS == ("like", "follow", "comment", "forward")


def test_a_list_tires_and_contrasts():
    """z' by hand, slot by slot."""
    world = build_world(1, 20, 500, replace(WorldParameters(), list_fatigue=0.3, list_contrast=0.2))
    rng = np.random.default_rng(5)
    videos, z = rng.integers(500, size=(50, 8)), rng.normal(size=(50, 8))
    felt = affinity_in_list(world, videos, z)
    for row in range(50):
        category = world.category[videos[row]]
        assert felt[row, 0] == z[row, 0]
        for slot in range(1, 8):
            alike = (category[:slot] == category[slot]).sum()
            contrast = z[row, slot] - sum(z[row, :slot]) / slot
            assert felt[row, slot] == z[row, slot] + (0.2 * contrast - 0.3 * alike)
    assert affinity_in_list(build_world(1, 20, 500, WorldParameters()), videos, z) is z
