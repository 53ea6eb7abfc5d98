"""Which arm a user is in."""

import numpy as np
import pytest

from emer.errors import EmerError
from emer.online.bucketing import bucket
from emer.online.sample_ratio import sample_ratio_of_counts

IDS = np.arange(100_000)
SHARES = [0.5, 0.3, 0.2]


def test_shares_are_met():
    counts = np.bincount(bucket(IDS, "shares", SHARES), minlength=3)
    got = sample_ratio_of_counts(dict(zip("abc", counts.tolist(), strict=True)), dict(zip("abc", SHARES, strict=True)))
    assert not got.alarm


def test_depends_on_the_user_and_the_name_alone():
    arms = bucket(IDS, "one", SHARES)
    order = np.random.default_rng(0).permutation(IDS.size)
    assert np.array_equal(bucket(IDS[order], "one", SHARES), arms[order])
    assert np.array_equal(bucket(IDS[:7].astype(np.uint8), "one", SHARES), arms[:7])


def test_known_answer():
    """Assignments stay what they are: a change would reshuffle the users of running experiments."""
    assert bucket(np.arange(12), "emer", [0.5, 0.5]).tolist() == [0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0]


def test_experiments_are_independent():
    one, two = bucket(IDS, "one", [0.5, 0.5]), bucket(IDS, "two", [0.5, 0.5])
    cells = np.bincount(2 * one + two, minlength=4)
    assert not sample_ratio_of_counts({str(i): int(n) for i, n in enumerate(cells)}).alarm


def test_a_growing_share_moves_users_one_way():
    small, large = bucket(IDS, "ramp", [0.1, 0.9]), bucket(IDS, "ramp", [0.2, 0.8])
    assert (large[small == 0] == 0).all()


@pytest.mark.parametrize(
    ("ids", "shares", "words"),
    [
        ([0.5], [0.5, 0.5], "float64"),
        ([[1]], [0.5, 0.5], r"\(1, 1\)"),
        ([1], [0.5, 0.6], "sum of 1"),
        ([1], [1.5, -0.5], "positive"),
        ([1], [], "sum of 1"),
        ([1], [np.nan, 1], "sum of 1"),
    ],
)
def test_bad_input_is_named(ids, shares, words):
    with pytest.raises(EmerError, match=words):
        bucket(ids, "bad", shares)
