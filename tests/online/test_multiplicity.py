"""Adjusted p-values."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from emer.errors import EmerError
from emer.online.multiplicity import benjamini_hochberg, holm


def test_holm_by_hand():
    # In order .01 x 4, .02 x 3, .03 x 2, .5 x 1, never falling.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.7, 0.9]) == pytest.approx([1, 1])


def test_benjamini_hochberg_by_hand():
    # .01 x 4 / 1, .02 x 4 / 2, .03 x 4 / 3, .5 x 4 / 4.
    assert benjamini_hochberg([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.04, 0.04, 0.5, 0.04])


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_bonferroni_closed_over_all_subsets(seed):
    p = np.round(np.random.default_rng(seed).random(6) ** 3, 2)
    subsets = [s for size in range(1, 7) for s in combinations(range(6), size)]
    closed = [max(min(1, len(s) * min(p[list(s)])) for s in subsets if i in s) for i in range(6)]
    assert holm(p) == pytest.approx(closed)


@pytest.mark.parametrize("seed", range(5))
def test_benjamini_hochberg_is_scipys(seed):
    p = np.round(np.random.default_rng(seed).random(40) ** 2, 2)
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p), rel=1e-12)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_nan_is_no_hypothesis(adjust):
    p = np.array([np.nan, 0.03, 0.01, np.nan, 0.02])
    given = p.copy()
    got = adjust(p)
    assert np.isnan(got[[0, 3]]).all()
    assert got[[1, 2, 4]] == pytest.approx(adjust([0.03, 0.01, 0.02]))
    assert np.array_equal(p, given, equal_nan=True)
    assert adjust([]).size == 0
    assert np.isnan(adjust([np.nan])).all()


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize(("p", "words"), [([0.1, 1.2], r"p\[1\] = 1.2"), ([-0.1], r"p\[0\]"), ([[0.1]], r"\(1, 1\)")])
def test_bad_input_is_named(adjust, p, words):
    with pytest.raises(EmerError, match=words):
        adjust(p)
