"""Intervals over seeds and users: hand arithmetic, coverage of known truths, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emer.errors import EmerError
from emer.metrics.intervals import metric_difference, metric_interval
from emer.metrics.seed_intervals import interval_over_seeds, seed_difference, seed_interval

NAME = "label_gauc/click"


def run(values: list[float] | np.ndarray, users: list[int] | None = None) -> dict[str, np.ndarray]:
    n = len(values)
    return {
        NAME: np.asarray(values, dtype=float),
        "n_exposed": np.ones(n),
        "n_candidates": np.ones(n),
        "request_id": np.arange(n),
        "user_id": np.arange(n) if users is None else np.asarray(users),
    }


def test_one_seed_is_the_interval_over_users() -> None:
    values = run([0.1, 0.5, 0.4, 0.9, np.nan], users=[0, 0, 1, 2, 3])
    mine, plain = seed_interval([values], NAME), metric_interval(values, NAME)
    assert (mine.estimate, mine.low, mine.high) == pytest.approx((plain.estimate, plain.low, plain.high))
    assert mine.seeds == 1
    other = run([0.3, 0.2, 0.4, 0.5, np.nan], users=[0, 0, 1, 2, 3])
    mine, plain = seed_difference([values], [other], NAME), metric_difference(values, other, NAME)
    assert (mine.estimate, mine.low, mine.high) == pytest.approx((plain.estimate, plain.low, plain.high))


def test_two_seeds_by_hand() -> None:
    """Requests of three users; seeds' means 0.5 and 0.6."""
    runs = [run([0.4, 0.5, 0.6]), run([0.5, 0.5, 0.8])]
    found = seed_interval(runs, NAME)
    # Influences (x - m) / 3, averaged over the seeds: (-.1 -.1)/6, (0 -.1)/6, (.1 +.2)/6.
    of_users = 3 / 2 * ((0.2 / 6) ** 2 + (0.1 / 6) ** 2 + (0.3 / 6) ** 2)
    of_seeds = (0.05**2 + 0.05**2) / 1 / 2
    total = of_users + of_seeds
    freedom = total**2 / (of_users**2 / 2 + of_seeds**2 / 1)
    half = stats.t.ppf(0.975, freedom) * total**0.5
    assert found.estimate == pytest.approx(0.55)
    assert (found.low, found.high) == pytest.approx((0.55 - half, 0.55 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(0.55 / total**0.5, freedom))


def test_equal_runs_differ_by_nothing() -> None:
    runs = [run([0.4, 0.5, 0.6]), run([0.5, 0.5, 0.8])]
    found = seed_difference(runs, runs, NAME)
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)


@pytest.mark.parametrize("of_seeds", [0.0, 0.02])
def test_the_interval_covers_the_truth(of_seeds: float) -> None:
    """At least 93 % of 95 % intervals hold the true mean, with and without noise from the seed."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        per_user = rng.normal(0.5, 0.1, 40)
        runs = [run(per_user + rng.normal(0, of_seeds) + rng.normal(0, 0.05, 40)) for _ in range(3)]
        found = seed_interval(runs, NAME)
        held += found.low <= 0.5 <= found.high
    assert 930 <= held <= 995


def test_paired_seeds_remove_what_both_methods_share() -> None:
    rng = np.random.default_rng(1)
    shared = [rng.normal(0.5, 0.1, 200) for _ in range(3)]
    a, b = ([run(x + gain + rng.normal(0, 0.01, 200)) for x in shared] for gain in (0.01, 0.0))
    difference = seed_difference(a, b, NAME)
    assert difference.low < 0.01 < difference.high
    assert difference.low > 0
    assert difference.p < 0.01
    alone = seed_interval(a, NAME)
    assert difference.high - difference.low < (alone.high - alone.low) / 3


def test_numbers_of_seeds_alone() -> None:
    found = interval_over_seeds([1.0, 2.0, 3.0])
    expected = stats.t.interval(0.95, 2, loc=2.0, scale=1 / 3**0.5)
    assert (found.low, found.high) == pytest.approx(expected)
    assert np.isnan(interval_over_seeds([1.0]).low)
    assert interval_over_seeds([1.0]).estimate == 1.0


def test_seeds_that_change_nothing_give_no_interval() -> None:
    found = interval_over_seeds([0.7, 0.7, 0.7])
    assert found.estimate == pytest.approx(0.7)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.seeds == 3


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = run([0.1, 0.2]), run([0.1, 0.2])
    other["request_id"] = np.array([5, 6])
    with pytest.raises(EmerError, match="different requests"):
        seed_interval([one, other], NAME)
    with pytest.raises(EmerError, match="2 runs of one method, 1 of the other"):
        seed_difference([one, one], [one], NAME)
    with pytest.raises(EmerError, match="no run"):
        seed_interval([], NAME)
