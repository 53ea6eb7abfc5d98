"""Users needed: against tea-tasting, against samples, and against each other."""

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting as tt

from emer.errors import EmerError
from emer.online.power import bucket_users_needed, measured_bucket_power, measured_twin_power, twin_users_needed
from emer.online.statistics import mean_difference, paired_difference

RNG = np.random.default_rng(8)
CONTROL = RNG.gamma(2, 10, 3_000)
TREATMENT = CONTROL * RNG.normal(1.03, 0.1, 3_000)
SHOWN = CONTROL * RNG.uniform(0.5, 1.5, 3_000) + 1


@pytest.mark.parametrize(("percent", "power", "level"), [(0.5, 0.8, 0.95), (5, 0.9, 0.99), (30, 0.8, 0.9)])
@pytest.mark.parametrize("denominator", [None, "shown"])
def test_tea_tasting_finds_the_power_with_that_many_and_not_with_one_fewer(percent, power, level, denominator):
    n = bucket_users_needed(CONTROL, denominator and SHOWN, percent=percent, power=power, level=level)
    metric = tt.RatioOfMeans("x", denominator, rel_effect_size=percent / 100, alpha=1 - level, n_obs=(2 * n - 2, 2 * n))
    fewer, enough = metric.solve_power(pa.table({"x": CONTROL, "shown": SHOWN}), "power")
    assert fewer.power < power <= enough.power


def test_twins_by_the_textbook():
    # n = (1.95996 + 0.84162)² s² / delta² for many users.
    psi = (TREATMENT - TREATMENT.mean() / CONTROL.mean() * CONTROL) / CONTROL.mean()
    wanted = 2.80159**2 * psi.var(ddof=1) / 0.005**2
    assert twin_users_needed(TREATMENT, CONTROL) == pytest.approx(wanted, abs=3)
    assert twin_users_needed(TREATMENT, CONTROL, percent=-0.5) == twin_users_needed(TREATMENT, CONTROL)
    assert twin_users_needed(TREATMENT, CONTROL) < bucket_users_needed(CONTROL) / 20


def test_that_many_twins_see_it_in_four_of_five_tests():
    n = twin_users_needed(TREATMENT, CONTROL, percent=1)
    ratio = TREATMENT.mean() / CONTROL.mean()
    better = 1.01 * CONTROL + (TREATMENT - ratio * CONTROL)
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(1_000):
        pick = rng.integers(3_000, size=n)
        seen += paired_difference(better[pick], CONTROL[pick], least=2).p < 0.05
    assert seen / 1_000 == pytest.approx(0.8, abs=0.045)  # 3.3 standard errors


def test_measured_power_of_twins_agrees():
    n = twin_users_needed(TREATMENT, CONTROL, percent=1)
    assert measured_twin_power(TREATMENT, CONTROL, n, percent=1) == pytest.approx(0.8, abs=0.03)
    assert measured_twin_power(TREATMENT, CONTROL, n // 4, percent=1) < 0.4
    n = twin_users_needed(TREATMENT, CONTROL, SHOWN, SHOWN, percent=1)
    assert measured_twin_power(TREATMENT, CONTROL, n, SHOWN, SHOWN, percent=1) == pytest.approx(0.8, abs=0.03)


def test_measured_power_of_buckets_agrees():
    n = bucket_users_needed(CONTROL, percent=20)
    got = measured_bucket_power(CONTROL, n, percent=20)
    assert got == measured_bucket_power(CONTROL, n, percent=20)
    # The treatment's totals vary 1.2 times as much, which the formula leaves out.
    assert 0.68 < got < 0.8
    n = bucket_users_needed(CONTROL, SHOWN, percent=5)
    assert measured_bucket_power(CONTROL, n, SHOWN, percent=5) == pytest.approx(0.8, abs=0.04)


def test_measured_power_of_buckets_is_that_of_the_test():
    rng = np.random.default_rng(4)
    seen = 0
    for pick in rng.integers(3_000, size=(1, 40, 60))[0]:
        seen += mean_difference(1.3 * CONTROL[pick[:30]], CONTROL[pick[30:]]).p < 0.05
    assert measured_bucket_power(CONTROL, 30, percent=30, draws=40, seed=4) == seen / 40


def test_measured_power_of_twins_is_that_of_the_interval():
    r = 100 * (TREATMENT.sum() / CONTROL.sum() - 1)
    seen = 0
    for pick in np.random.default_rng(4).integers(3_000, size=(40, 60)):
        got = paired_difference(TREATMENT[pick], CONTROL[pick], least=2)
        seen += not got.percent_low <= r - 2 <= got.percent_high
    assert measured_twin_power(TREATMENT, CONTROL, 60, percent=2, draws=40, seed=4) == seen / 40


def test_nothing_varies():
    assert twin_users_needed(1.5 * CONTROL, CONTROL) == 2
    assert bucket_users_needed(np.ones(5)) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: twin_users_needed([1, 2], [1]), "treatment 2, control 1"),
        (lambda: twin_users_needed([1, 2], [0, 0]), "control's mean is 0"),
        (lambda: twin_users_needed([1, 2], [1, 2], [1, -2], [1, 2]), r"denominators_t\[1\]"),
        (lambda: twin_users_needed([1, 2], [1, 3], percent=0), "percent=0"),
        (lambda: twin_users_needed([1, 2], [1, 3], power=80), "power=80"),
        (lambda: twin_users_needed([1], [1]), "pilot of one user"),
        (lambda: bucket_users_needed([1, 2], [1]), "control 2, denominators_c 1"),
        (lambda: bucket_users_needed([1, np.nan]), r"control\[1\] = nan"),
        (lambda: bucket_users_needed([1, 3], percent=1e-9), "no number of users"),
        (lambda: measured_twin_power([1, 2], [1, 3], 1), "samples of 1 users"),
        (lambda: measured_bucket_power([1, 2], 5, draws=0), "0 samples"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(EmerError, match=words):
        call()
