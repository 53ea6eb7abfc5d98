from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emer.metrics.bootstrap import paired_standard_error
from emer.metrics.intervals import paired_interval


def values(R: int = 600, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    users = rng.integers(120, size=R)
    shared = rng.normal(size=(R, 2)) * 10
    liked = rng.normal(size=120)[users, None]
    x, y = shared + liked + rng.normal(size=(R, 2)) * [0.1, 1.0], shared
    x[(missing := rng.random(R) < 0.2), 1] = np.nan
    y[missing, 1] = np.nan
    return x, y, rng.integers(1, 5, size=R).astype(float), users


def test_it_agrees_with_the_delta_method() -> None:
    x, y, w, users = values()
    found = paired_standard_error(x, y, w, users, samples=3000)
    for m in range(2):
        interval = paired_interval(x[:, m], y[:, m], w, users)
        error = (interval.high - interval.estimate) / stats.t.ppf(0.975, interval.users - 1)
        assert found[m] == pytest.approx(error, rel=0.06)


def test_a_hand_made_case() -> None:
    """Two users with differences 0 and 1, drawn twice: 0, 1/2, 1/2 or 1, so the deviation is sqrt(1/8)."""
    x, y = np.array([[0.0], [1.0]]), np.zeros((2, 1))
    found = paired_standard_error(x, y, np.ones(2), np.array([7, 3]), samples=20_000)
    assert found[0] == pytest.approx((1 / 8) ** 0.5, rel=0.02)


def test_its_square_is_unbiased_for_few_samples() -> None:
    x, y = np.array([[0.0], [1.0]]), np.zeros((2, 1))
    squares = [
        paired_standard_error(x, y, np.ones(2), np.arange(2), samples=2, seed=seed)[0] ** 2 for seed in range(4000)
    ]
    assert np.mean(squares) == pytest.approx(1 / 8, rel=0.1)


def test_what_both_share_does_not_count() -> None:
    x, _, w, users = values()
    assert (paired_standard_error(x + 1, x, w, users) < 1e-12).all()


def test_too_few_users_have_no_error() -> None:
    x, y = np.random.default_rng(0).random((2, 4, 3))
    x[1:, 1] = np.nan
    x[:, 2] = np.nan
    found = paired_standard_error(x, y, np.ones(4), np.arange(4))
    assert np.isfinite(found).tolist() == [True, False, False]
    assert np.isnan(paired_standard_error(x, y, np.ones(4), np.zeros(4))).all()
    assert np.isnan(paired_standard_error(x[:0], y[:0], np.ones(0), np.zeros(0))).all()


def test_the_seed_decides() -> None:
    case = values()
    assert (paired_standard_error(*case, seed=1) == paired_standard_error(*case, seed=1)).all()
    assert (paired_standard_error(*case, seed=1) != paired_standard_error(*case, seed=2)).any()


def test_wrong_arguments_are_refused() -> None:
    x, y, w, users = values()
    with pytest.raises(ValueError, match="shapes"):
        paired_standard_error(x, y[:, :1], w, users)
    with pytest.raises(ValueError, match="samples"):
        paired_standard_error(x, y, w, users, samples=1)
