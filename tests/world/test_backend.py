"""The compiled candidate stage is NumPy's: ids and affinities exactly, pxtrs to the rounding of float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import ndtr

from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.setting import Setting
from emer.online.totals import TOTALS, walk_totals
from emer.world.backend import CandidateStage, candidate_stage
from emer.world.hashing import Stream, hash_keys
from emer.world.parameters import WorldParameters
from emer.world.population import World, build_world
from emer.world.pxtr import PxtrStage
from emer.world.responses import expected_rates

USERS = 30
SIZES = {
    "usual": (5000, 64),
    "half of all": (300, 150),
    "empty topics": (60, 30),
    "two videos": (2, 1),
    "odd": (777, 101),
    "both halves round up": (777, 23),
}
CHANGES = {
    "usual": {},
    "no noise": {"pxtr_noise": 0.0, "request_shift": 0.0},
    "topics alone": {"topic_share": 1.0, "popular_share": 0.0, "topic_sharpness": 40.0},
    "halves": {"topic_share": 0.5, "popular_share": 0.5},
    "no topics": {"topic_share": 0.0, "popular_share": 0.9, "popular_pool": 0.001},
    "errors in common": {"pxtr_shared": 1.0, "pxtr_noise": 3.0},
    "errors apart": {"pxtr_shared": 0.0, "pxtr_slope": 1.7, "pxtr_duration_bias": -2.0},
    "eager": {"interaction_intercept": (2.0, -1.0, 0.5, -30.0), "engaged_intercept": 8.0},
    "many durations": {"duration_levels": 997, "duration_range": (1.0, 9000.0), "duration_sd": 2.5},
    "narrow": {"watch_log_sd": 0.05, "skip_log_sd": 0.3, "affinity_sd": 2.0, "dimensions": 3, "topics": 5},
}


def of_both(world: World, candidates: int, stage: PxtrStage | None = None) -> tuple[CandidateStage, CandidateStage]:
    stage = stage or PxtrStage.calibrated(world, candidates, min(8, candidates))
    numpy, numba = (candidate_stage(world, stage, candidates, backend) for backend in ("numpy", "numba"))
    return numpy, numba


def requests(world: World, count: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users = np.arange(count) % world.users
    fatigue = 5 * np.random.default_rng(0).random((count, world.parameters.categories)) ** 3
    return users, fatigue, hash_keys(world.seed, Stream.CANDIDATES, users, 0, 0, np.arange(count))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_the_kernel_is_numpys(size: str, change: str) -> None:
    videos, candidates = SIZES[size]
    world = build_world(-3, USERS, videos, replace(WorldParameters(), **CHANGES[change]))
    numpy, numba = of_both(world, candidates)
    expected, found = numpy(*requests(world)), numba(*requests(world))
    assert found[0].shape == (90, candidates)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
    assert found[2].dtype == expected[2].dtype == np.float32
    # float64 differs in its last places, which now and then rounds to the neighbouring float32, 1.2e-7 away.
    with np.errstate(divide="ignore"):
        logs = [np.maximum(np.log(pxtr, dtype=np.float64), -100.0) for pxtr in (expected[2], found[2])]
    assert np.abs(logs[0] - logs[1]).max() < 2e-7
    assert (found[2] != expected[2]).sum() <= 3


def test_a_request_is_the_same_alone() -> None:
    world = build_world(0, USERS, 3000, WorldParameters())
    numba = of_both(world, 48)[1]
    users, fatigue, request = requests(world)
    whole = numba(users, fatigue, request)
    for row in range(0, users.size, 7):
        one = slice(row, row + 1)
        for part, full in zip(numba(users[one], fatigue[one], request[one]), whole, strict=True):
            assert np.array_equal(part[0], full[row])


def test_no_requests() -> None:
    world = build_world(0, USERS, 3000, WorldParameters())
    ids, z, pxtr = of_both(world, 48)[1](*requests(world, 0))
    assert ids.shape == z.shape == (0, 48) and pxtr.shape == (0, 48, 8)


@dataclass(frozen=True)
class Telling(PxtrStage):
    """Another stage: it predicts the truth."""

    def predict(self, users, videos, truth, request):
        assert users.shape == request.shape and videos.shape == truth.shape[:2]
        return np.asarray(truth)


def test_another_stage_gets_the_true_rates() -> None:
    world = build_world(0, USERS, 3000, WorldParameters())
    plain = PxtrStage.calibrated(world, 48, 8)
    numpy, numba = of_both(world, 48, Telling(world, plain.video_error, plain.scale))
    users, fatigue, request = requests(world)
    ids, z, rates = numba(users, fatigue, request)
    assert np.array_equal(ids, numpy(users, fatigue, request)[0])
    np.testing.assert_allclose(rates, expected_rates(world, users, ids, z), rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["fusion_formula", "pltr:0.5"])
@pytest.mark.parametrize("change", ["usual", "no noise", "eager"])
def test_a_simulation_has_the_same_totals(arm: str, change: str) -> None:
    """Exactly. A pxtr that rounds otherwise, about one in 1e8, changes a total only if it meets a near tie at the edge
    of a slate; here it never does."""
    settings = [
        Setting(
            users=300, videos=2000, candidates=32, backend=backend, parameters=CHANGES[change] | {"list_contrast": 0.2}
        )
        for backend in ("numpy", "numba")
    ]
    blocks = {"numpy": 64, "numba": 7}
    totals = [
        walk_totals(s.walk(np.arange(40), block=blocks[s.backend]), NamedArm(arm).score(s.world), 2) for s in settings
    ]
    for name in TOTALS:
        assert np.array_equal(totals[0].values[name], totals[1].values[name]), name


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(EmerError, match=r"world\.backend is 'torch'; it must be one of numpy, numba"):
        Setting(backend="torch")


def test_the_kernels_functions_are_libraries() -> None:
    from emer.kernels import candidates as kernel

    x = np.concatenate([np.linspace(-30, 30, 801), np.linspace(-1e-3, 1e-3, 41), [0.0, 600.0, -600.0]])

    def every(function, at):
        return np.array([function(v) for v in at])

    np.testing.assert_allclose(every(kernel._exp, x), np.exp(x), rtol=4e-16)
    np.testing.assert_allclose(every(kernel._expm1, np.abs(x)), np.expm1(np.abs(x)), rtol=5e-16)
    np.testing.assert_allclose(every(kernel._log, np.exp(x)), np.log(np.exp(x)), rtol=5e-16, atol=1e-18)
    # x^2 / 2 rounds before it is the exponent.
    np.testing.assert_allclose(every(kernel._ndtr, x[:-3]), ndtr(x[:-3]), rtol=1e-13)
    near = x[np.abs(x) < 4]
    np.testing.assert_allclose(every(kernel._ndtr, near), ndtr(near), rtol=3e-15)
    assert kernel._exp(-1e9) < 1e-300 and kernel._log(0.0) < -700
