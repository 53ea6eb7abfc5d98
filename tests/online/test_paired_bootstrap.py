"""Bootstrap of twins: agrees with the delta method where that is good, and is exact where nothing varies."""

import numpy as np
import pytest
from scipy import stats

from emer.errors import EmerError
from emer.online.paired_bootstrap import paired_bootstrap
from emer.online.statistics import paired_difference, paired_ratio_difference


def twins(count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    shown = rng.gamma(4, 5, (2, count)) + 1
    return np.stack([shown[0] * 0.12, shown[0], shown[1] * 0.1, shown[1]]) + rng.gamma(1, 0.5, (4, count))


def test_is_the_delta_method_with_many_light_tailed_users():
    n_t, d_t, n_c, d_c = twins(800)
    for got, wanted in [
        (paired_bootstrap(n_t, n_c), paired_difference(n_t, n_c)),
        (paired_bootstrap(n_t, n_c, d_t, d_c), paired_ratio_difference(n_t, d_t, n_c, d_c)),
    ]:
        assert (got.percent, got.absolute, got.few_users) == (wanted.percent, wanted.absolute, False)
        width = wanted.percent_high - wanted.percent_low
        assert got.percent_low == pytest.approx(wanted.percent_low, abs=0.08 * width)
        assert got.percent_high == pytest.approx(wanted.percent_high, abs=0.08 * width)
        width = wanted.absolute_high - wanted.absolute_low
        assert got.absolute_low == pytest.approx(wanted.absolute_low, abs=0.08 * width)


def test_serves_few_users_and_is_a_function_of_its_seed():
    n_t, _, n_c, _ = twins(50)
    got = paired_bootstrap(n_t, n_c, seed=3)
    assert got == paired_bootstrap(n_t, n_c, seed=3) != paired_bootstrap(n_t, n_c, seed=4)
    assert got.percent_low < got.percent < got.percent_high
    assert not got.few_users
    assert 0 < got.p <= 1


def test_all_users_gain_alike():
    got = paired_bootstrap(np.arange(1, 31) * 1.5, np.arange(1, 31), samples=200)
    assert (got.percent, got.percent_low, got.percent_high) == pytest.approx((50, 50, 50))
    assert got.p < 0.05


def test_the_same_twins_do_not_differ():
    got = paired_bootstrap(np.arange(1, 31), np.arange(1, 31), samples=200)
    assert (got.percent_low, got.percent_high, got.p) == (0, 0, 1)


def test_event_so_rare_that_samples_miss_it():
    rare = np.zeros(20)
    rare[0] = 1
    same = paired_bootstrap(rare * 2, rare, samples=500)
    assert (same.percent, same.percent_low, same.percent_high) == (100, 100, 100)
    other = paired_bootstrap(np.roll(rare, 1), rare, samples=500)
    assert (other.percent_low, other.percent_high) == (-np.inf, np.inf)


def test_is_the_slow_loop():
    n_t, d_t, n_c, d_c = twins(30)
    got = paired_bootstrap(n_t, n_c, d_t, d_c, samples=100, seed=2, level=0.9)
    whole = paired_ratio_difference(n_t, d_t, n_c, d_c, least=2)
    t = stats.t.ppf(0.975, 29)
    quotients = []
    for pick in np.random.default_rng(2).integers(30, size=(100, 30)):
        one = paired_ratio_difference(n_t[pick], d_t[pick], n_c[pick], d_c[pick], least=2)
        quotients.append(abs(one.percent - whole.percent) / ((one.percent_high - one.percent) / t))
    error = (whole.percent_high - whole.percent) / t
    assert got.percent_high - got.percent == pytest.approx(sorted(quotients)[89] * error)
    assert got.percent - got.percent_low == pytest.approx(got.percent_high - got.percent)


def test_covers_where_the_delta_method_does_not():
    """Lognormal totals of 60 users: A/A worlds in which the interval misses 0 (binomial: 400 at 7 %, 99.9 %)."""
    missed = {"bootstrap": 0, "delta": 0}
    for world in range(400):
        rng = np.random.default_rng(world)
        mean = 20 * rng.lognormal(0, 1.5, 60)
        a, b = rng.poisson(mean * rng.lognormal(0, 0.3, (2, 60)))
        for name, got in [
            ("bootstrap", paired_bootstrap(a, b, samples=200, seed=world)),
            ("delta", paired_difference(a, b, least=2)),
        ]:
            missed[name] += not got.percent_low <= 0 <= got.percent_high
    assert missed["bootstrap"] <= stats.binom.ppf(0.9995, 400, 0.07) < missed["delta"]


def test_one_user_has_no_interval():
    assert np.isnan(paired_bootstrap([2.0], [1.0]).percent_low)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired_bootstrap([1, 2], [1, 2], [1, 2]), "one arm only"),
        (lambda: paired_bootstrap([1, 2], [1, 2], samples=5), "5 bootstrap samples"),
        (lambda: paired_bootstrap([1, 2], [1]), "treatment 2, control 1"),
        (lambda: paired_bootstrap([1, 2], [1, 2], [1, 2], [1, -2]), r"denominators_c\[1\]"),
        (lambda: paired_bootstrap([1, 2], [0, 0]), "control's mean is 0"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(EmerError, match=words):
        call()
