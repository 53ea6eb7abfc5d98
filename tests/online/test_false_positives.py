"""A/A splits: sound tests reject 5 %, unsound ones are found out."""

import numpy as np
import pytest
from scipy import stats

from emer.errors import EmerError
from emer.online.bucketing import user_hash
from emer.online.false_positives import _columns, _p_values, false_positives, halves
from emer.online.statistics import mean_difference, ratio_difference


def heavy_tailed(count: int = 2_000, seed: int = 0) -> dict[str, np.ndarray]:
    """Totals of users whose activity and like rate are lognormal."""
    rng = np.random.default_rng(seed)
    shown = 1 + rng.poisson(20 * rng.lognormal(0, 1, count))
    return dict(shown=shown, likes=rng.binomial(shown, np.minimum(0.05 * rng.lognormal(0, 1, count), 1)))


USERS = np.arange(2_000) * 7 + 3


def test_user_level_tests_are_sound():
    x = heavy_tailed()
    metrics = {"shown": x["shown"], "likes": x["likes"], "like rate": (x["likes"], x["shown"])}
    got = false_positives(USERS, metrics, seed=1)
    assert list(got) == list(metrics)
    for name, result in got.items():
        assert result.sound, (name, result)
        assert result.low <= result.rate <= result.high
    assert false_positives(USERS, metrics, seed=1) == got
    assert false_positives(USERS, metrics, seed=2) != got


def test_limits_are_binomial():
    got = false_positives(USERS, {"shown": heavy_tailed()["shown"]}, seed=1)["shown"]
    assert got.splits == 5_000
    normal = 3.2905 * np.sqrt(0.05 * 0.95 / 5_000)
    assert (got.low, got.high) == pytest.approx((0.05 - normal, 0.05 + normal), abs=5e-4)


def test_a_test_that_counts_impressions_is_found_out():
    """Likes of one user resemble each other; rows of impressions claim independence that is not there."""
    x = {name: total[:200] for name, total in heavy_tailed().items()}
    rows = np.repeat(USERS[:200], x["shown"])
    likes = np.concatenate([np.arange(n) < k for n, k in zip(x["shown"], x["likes"], strict=True)])
    got = false_positives(rows, {"like rate": likes}, seed=1)["like rate"]
    assert not got.sound
    assert got.rate > 0.15


def test_a_test_that_counts_every_user_twice_is_found_out():
    x = np.tile(heavy_tailed()["shown"], 2)
    got = false_positives(np.tile(USERS, 2), {"shown": x}, seed=1)["shown"]
    assert got.rate == pytest.approx(2 * stats.norm.sf(1.96 / np.sqrt(2)), abs=0.02)  # 16.6 %
    assert not got.sound


def test_p_values_are_those_of_the_test_itself():
    x = heavy_tailed(300)
    state = user_hash(np.arange(300), "A/A 5")
    half = halves(state, 64, 84)
    for metric, test in [
        (x["likes"], lambda t: mean_difference(x["likes"][t], x["likes"][~t])),
        (
            (x["likes"], x["shown"]),
            lambda t: ratio_difference(x["likes"][t], x["shown"][t], x["likes"][~t], x["shown"][~t]),
        ),
    ]:
        columns = _columns("likes", metric, state)
        got = _p_values(half @ columns, columns.sum(axis=0), half.sum(axis=1), "likes")
        assert got == pytest.approx([test(side == 1).p for side in half], rel=1e-9)


def test_splits_are_fair_coins_that_know_only_the_user():
    state = user_hash(USERS, "A/A 0")
    half = halves(state, 0, 640)
    assert half.shape == (640, 2_000)
    assert half.mean() == pytest.approx(0.5, abs=0.002)
    assert np.abs(np.corrcoef(half[:100]) - np.eye(100)).max() < 0.12
    assert np.array_equal(halves(state, 128, 300), half[128:300])
    assert np.array_equal(halves(state[::-1], 0, 64), half[:64, ::-1])


def test_a_metric_that_never_varies_never_rejects():
    assert false_positives(np.arange(100), {"x": np.ones(100)}, seed=0)["x"].rate == 0


@pytest.mark.parametrize(
    ("users", "metrics", "splits", "words"),
    [
        ([1, 2, 3, 4], {"x": [1, 2, 3, 4]}, 100, "splits=100"),
        ([1, 2, 3, 3], {"x": [1, 2, 3, 4]}, 5_000, "A/A tests of 3 users"),
        ([1, 2, 3, 4], {"x": [1, 2, 3]}, 5_000, "user_ids 4, x 3"),
        ([1, 2, 3, 4], {"x": ([1, 2, 3, 4], [1, 1, -1, 1])}, 5_000, r"x\[1\]\[2\] = -1.0"),
        (np.arange(30), {"x": (np.ones(30), np.arange(30) == 0)}, 5_000, "x: a split has a half without"),
        ([1.0, 2, 3, 4], {"x": [1, 2, 3, 4]}, 5_000, "user_ids are float64"),
    ],
)
def test_bad_input_is_named(users, metrics, splits, words):
    with pytest.raises(EmerError, match=words):
        false_positives(users, metrics, seed=0, splits=splits)
