"""Intervals: classical formulas where they exist, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from emer.errors import EmerError
from emer.metrics.intervals import mean_interval, metric_difference, metric_interval, paired_interval

NAN = float("nan")


def test_equal_weights_give_the_t_interval():
    x = np.random.default_rng(0).normal(size=30)
    found = mean_interval(x)
    low, high = stats.t.interval(0.95, 29, x.mean(), stats.sem(x))
    assert (found.estimate, found.low, found.high) == pytest.approx((x.mean(), low, high))
    assert found.users == 30


def test_paired_interval_is_the_paired_t_test():
    rng = np.random.default_rng(1)
    a = rng.normal(size=40)
    b = a + 0.1 + 0.05 * rng.normal(size=40)
    found = paired_interval(a, b, level=0.9)
    expected = stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.high < 0


def test_repeating_a_users_requests_does_not_narrow_the_interval():
    x = np.random.default_rng(2).normal(size=20)
    users = np.arange(20)
    once = mean_interval(x, users=users)
    thrice = mean_interval(np.tile(x, 3), users=np.tile(users, 3))
    assert (thrice.low, thrice.high, thrice.users) == pytest.approx((once.low, once.high, 20))
    assert mean_interval(np.tile(x, 3)).low > once.low


def test_weights_and_missing_values():
    x, w = np.array([0.2, NAN, 0.8, 0.5]), np.array([1.0, 5.0, 3.0, 0.0])
    found = mean_interval(x, w, np.array([1, 2, 3, 4]))
    assert found.estimate == pytest.approx((0.2 + 3 * 0.8) / 4)
    assert found.users == 2
    psi = np.array([1 * (0.2 - found.estimate), 3 * (0.8 - found.estimate)]) / 4
    error = np.sqrt(2 / 1 * (psi**2).sum()) * stats.t.ppf(0.975, 1)
    assert found.high - found.low == pytest.approx(2 * error)


def test_too_few_users_have_no_interval():
    one = mean_interval(np.array([0.3, 0.4]), users=np.array([7, 7]))
    assert one.estimate == pytest.approx(0.35) and np.isnan(one.low) and one.users == 1
    none = mean_interval(np.array([NAN, NAN]))
    assert np.isnan([none.estimate, none.low, none.high]).all() and none.users == 0


def test_coverage_for_clustered_and_weighted_requests():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        users = np.repeat(np.arange(60), 4)
        weight = rng.integers(1, 20, users.size)
        x = 0.6 + np.repeat(rng.normal(0, 0.1, 60), 4) + rng.normal(0, 0.2, users.size)
        found = mean_interval(x, weight, users)
        hits += found.low <= 0.6 <= found.high
    assert 0.92 < hits / 400 < 0.98


def log(seed, shift=0.0):
    rng = np.random.default_rng(9)
    base = rng.random((2, 50)) * 0.5
    noise = np.random.default_rng(seed).normal(0, 0.01, (2, 50))
    return {
        "request_id": np.arange(50),
        "user_id": np.arange(50) // 2,
        "n_candidates": rng.integers(2, 9, 50),
        "n_exposed": rng.integers(1, 4, 50),
        "label_gauc/click": np.where(np.arange(50) % 7 == 0, NAN, base[0] + noise[0] + shift),
        "label_gauc/like": base[1] + noise[1] + shift,
        "dcg_at_10/pctr": base[0],
        "random/dcg_at_10/pctr": base[0],
    }


def test_interval_of_a_metric_uses_its_weights_and_users():
    table = log(0)
    found = metric_interval(table, "label_gauc/click")
    expected = mean_interval(table["label_gauc/click"], table["n_exposed"], table["user_id"])
    assert found == expected and found.users == 25
    assert metric_interval(table, "dcg_at_10/pctr") == mean_interval(table["dcg_at_10/pctr"], users=table["user_id"])


def test_interval_of_a_mean_over_labels_agrees_with_resampling_users():
    table = log(0)
    found = metric_interval(table, "label_gauc/mean")
    rng = np.random.default_rng(4)
    means = []
    for _ in range(2000):
        rows = np.concatenate([[2 * u, 2 * u + 1] for u in rng.integers(0, 25, 25)])
        parts = []
        for name in ("label_gauc/click", "label_gauc/like"):
            x, w = table[name][rows], table["n_exposed"][rows]
            parts.append(x[~np.isnan(x)] @ w[~np.isnan(x)] / w[~np.isnan(x)].sum())
        means.append(np.mean(parts))
    half = (found.high - found.low) / 2
    assert half == pytest.approx(1.96 * np.std(means), rel=0.15)


def test_difference_of_two_runs_is_sharper_than_either():
    first, second = log(1, shift=0.02), log(2)
    difference = metric_difference(first, second, "label_gauc/mean")
    alone = metric_interval(first, "label_gauc/mean")
    assert difference.estimate == pytest.approx(0.02, abs=0.004)
    assert 0 < difference.low < difference.high < 0.03
    assert difference.high - difference.low < (alone.high - alone.low) / 5
    assert metric_difference(first, first, "label_gauc/click").high == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(EmerError, match=r"no per-request values of label_auc/click.*label_gauc/click"):
        metric_interval(log(0), "label_auc/click")
    other = log(1) | {"request_id": np.arange(50) + 1}
    with pytest.raises(EmerError, match="different requests"):
        metric_difference(log(0), other, "label_gauc/like")
