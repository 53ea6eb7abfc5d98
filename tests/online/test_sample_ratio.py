"""Sample ratio mismatch."""

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting as tt
from scipy import stats

from emer.errors import EmerError
from emer.online.sample_ratio import sample_ratio, sample_ratio_of_counts


@pytest.mark.parametrize(("treatment", "control", "ratio"), [(5_100, 4_900, 1), (640, 1_400, 0.5), (700, 700, 1)])
def test_is_tea_tastings(treatment, control, ratio):
    table = pa.table({"arm": [1] * treatment + [0] * control})
    theirs = tt.SampleRatio(ratio, method="norm", correction=False).analyze(table, 0, 1, variant="arm")
    shares = {"t": ratio / (1 + ratio), "c": 1 / (1 + ratio)}
    got = sample_ratio_of_counts({"t": treatment, "c": control}, shares)
    assert got.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_three_arms_are_scipys():
    got = sample_ratio_of_counts({"a": 480, "b": 270, "c": 250}, {"c": 0.25, "a": 0.5, "b": 0.25})
    theirs = stats.chisquare([480, 270, 250], [500, 250, 250])
    assert (got.statistic, got.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)
    assert got.statistic == pytest.approx(20**2 / 500 + 20**2 / 250)
    assert got.expected == {"a": 500, "b": 250, "c": 250}
    assert not got.alarm


def test_52_to_48_is_found_and_halves_pass():
    assert sample_ratio_of_counts({"t": 5_200, "c": 4_800}).alarm
    assert not sample_ratio_of_counts({"t": 5_050, "c": 4_950}).alarm


def test_alarm_at_one_in_a_thousand():
    # Chi-square is 4 d² / N with n = N/2 ± d; 10.828 is its 99.9 % point.
    below, above = (sample_ratio_of_counts({"t": 5_000 + d, "c": 5_000 - d}) for d in (164, 165))
    assert below.statistic < 10.828 < above.statistic
    assert (below.alarm, above.alarm) == (False, True)


def test_users_count_once():
    got = sample_ratio({"t": np.repeat(np.arange(100), 5), "c": np.arange(100, 210)})
    assert got.users == {"t": 100, "c": 110}
    assert got == sample_ratio_of_counts({"t": 100, "c": 110})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sample_ratio({"t": [1, 2, 3], "c": [3, 4]}), r"1 users are in more than one arm \(user 3 in t, c\)"),
        (lambda: sample_ratio({"t": [1.5], "c": [2]}), "ids of arm t are float64"),
        (lambda: sample_ratio({}), "needs two"),
        (lambda: sample_ratio_of_counts({"t": 1}), "needs two"),
        (lambda: sample_ratio_of_counts({"t": 0, "c": 0}), "some must be there"),
        (lambda: sample_ratio_of_counts({"t": -1, "c": 3}), "none may be negative"),
        (
            lambda: sample_ratio_of_counts({"t": 1, "c": 3}, {"t": 0.5, "x": 0.5}),
            r"shares are of the arms \['t', 'x'\]",
        ),
        (lambda: sample_ratio_of_counts({"t": 1, "c": 3}, {"t": 0.5, "c": 0.6}), "sum of 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(EmerError, match=words):
        call()
