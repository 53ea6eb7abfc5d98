"""The stateless random numbers: a known answer, keys, and the quality that the simulation relies on."""

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from emer.world import hashing
from emer.world.hashing import Stream, fold, hash_keys, integers, normals, uniform

N = 200_000


def test_mixer_is_splitmix64():
    # First outputs of the reference generator started at 0: mix(golden), mix(2 golden).
    states = np.array([1, 2], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert hashing._mix(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_draw_depends_on_its_keys_alone():
    users = np.arange(7)
    grid = hash_keys(5, Stream.USER, users[:, None], np.arange(4))
    assert grid.shape == (7, 4)
    for user in users:
        for key in range(4):
            assert hash_keys(5, Stream.USER, int(user), key)[0] == grid[user, key]


@pytest.mark.parametrize(
    "other",
    [
        hash_keys(1, Stream.USER, np.arange(1000)),
        hash_keys(0, Stream.VIDEO, np.arange(1000)),
        hash_keys(0, Stream.USER, 0, np.arange(1000)),
        hash_keys(-1, Stream.USER, np.arange(1000)),
    ],
)
def test_seed_stream_and_number_of_keys_matter(other):
    assert not np.isin(other, hash_keys(0, Stream.USER, np.arange(1000))).any()


def test_order_of_keys_matters():
    assert hash_keys(0, Stream.USER, 3, 8) != hash_keys(0, Stream.USER, 8, 3)


def test_no_collisions():
    grid = hash_keys(0, Stream.FEEDBACK, np.arange(500)[:, None], np.arange(500))
    assert np.unique(grid).size == grid.size


def test_uniform_is_uniform_along_each_key():
    for state in (
        hash_keys(0, Stream.USER, np.arange(N)),
        hash_keys(0, Stream.USER, 1, np.arange(N) * 4096),
        hash_keys(np.iinfo(np.int64).max, Stream.USER, np.arange(N), 9),
    ):
        u = uniform(state)
        assert u.min() > 0 and u.max() < 1
        assert kstest(u, "uniform").pvalue > 1e-4


def test_neighbouring_keys_and_streams_are_uncorrelated():
    u = uniform(hash_keys(0, Stream.USER, np.arange(N)))
    for v in (
        uniform(hash_keys(1, Stream.USER, np.arange(N))),
        uniform(hash_keys(0, Stream.VIDEO, np.arange(N))),
        uniform(fold(hash_keys(0, Stream.USER, np.arange(N)), 0)),
        np.roll(u, 1),
    ):
        assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(N)
        joint = np.histogram2d(u, v, bins=8, range=[[0, 1], [0, 1]])[0]
        assert chisquare(joint.ravel()).pvalue > 1e-4


def test_normals_are_standard_and_mutually_independent():
    draw = normals(hash_keys(0, Stream.USER, np.arange(N)), 6)
    assert draw.shape == (6, N)
    for row in draw:
        assert kstest(row, "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(draw) - np.eye(6)).max() < 4 / np.sqrt(N)


def test_first_normals_do_not_depend_on_how_many_are_drawn():
    state = hash_keys(0, Stream.USER, np.arange(10))
    assert np.array_equal(normals(state, 3), normals(state, 9)[:3])


def test_integers_cover_their_range_evenly():
    state = hash_keys(0, Stream.USER, np.arange(N))
    draw = integers(state, 37)
    assert draw.min() == 0 and draw.max() == 36
    assert chisquare(np.bincount(draw)).pvalue > 1e-4
    assert not integers(state, 1).any()


def test_integers_take_a_bound_per_element():
    high = np.array([1, 2, 1000])
    draw = integers(hash_keys(0, Stream.USER, np.arange(5000)[:, None], np.arange(3)), high)
    assert (draw < high).all() and draw.max(axis=0).tolist() == [0, 1, 999]
