"""The multi-task stage: imperfect, calibrated on what is exposed, never ordering by chance alone."""

from dataclasses import replace

import numpy as np
import pytest

from emer.world.candidates import draw_candidates
from emer.world.exposure import choose_slate, fusion_score
from emer.world.hashing import Stream, hash_keys
from emer.world.parameters import WorldParameters
from emer.world.population import build_world
from emer.world.pxtr import PxtrStage
from emer.world.responses import OBJECTIVES, affinity, expected_rates

PVTR = OBJECTIVES.index("pvtr")
REQUESTS = 1500


def stage_with(**changes):
    world = build_world(2, 300, 4000, replace(WorldParameters(), **changes))
    return PxtrStage.calibrated(world, 64, 8)


def requests(world, count=REQUESTS):
    request = hash_keys(9, Stream.CANDIDATES, np.arange(count))
    users = np.arange(count) % world.users
    videos = draw_candidates(world, users, 64, request)
    z = affinity(world, users, videos, np.zeros((count, 12)))
    return users, videos, expected_rates(world, users, videos, z), request


@pytest.fixture(scope="module")
def stage():
    return stage_with()


@pytest.fixture(scope="module")
def served(stage):
    return requests(stage.world)


def test_predictions_obey_the_contract(stage, served):
    pxtr = stage.predict(*served)
    assert pxtr.dtype == np.float32 and pxtr.shape == (REQUESTS, 64, 8)
    probability = np.delete(pxtr, PVTR, axis=-1)
    assert (probability > 0).all() and (probability <= 1).all()
    assert (pxtr[..., PVTR] > 0).all() and np.isfinite(pxtr).all()


def test_predictions_hardly_ever_tie(stage, served):
    pxtr = np.sort(stage.predict(*served), axis=1)
    assert (np.diff(pxtr, axis=1) == 0).mean() < 1e-4


def test_mean_on_exposed_is_the_true_mean():
    stage = stage_with(activity_share=(0.0, 0.0, 0.0, 1.0, 0.0))  # all users have the same traffic
    served = requests(stage.world)
    truth, pxtr = served[2], stage.predict(*served)
    slate = choose_slate(fusion_score(pxtr), 8, 0.0, served[3])[..., None]
    ratio = np.take_along_axis(pxtr, slate, 1).mean((0, 1)) / np.take_along_axis(truth, slate, 1).mean((0, 1))
    assert ratio == pytest.approx(np.ones(8), rel=0.15)


def test_calibration_changes_no_rank(stage, served):
    raw = replace(stage, scale=np.ones(8))
    a, b = raw.predict(*served), stage.predict(*served)
    i, j = a[:, :32], a[:, 32:]
    k, m = b[:, :32], b[:, 32:]
    turned = ((i > j) & (k < m)) | ((i < j) & (k > m))
    assert not turned.any()


def test_prediction_depends_on_request_user_and_video_alone(stage, served):
    users, videos, truth, request = served
    whole = stage.predict(*served)
    rows = np.array([77, 5])
    part = stage.predict(users[rows], videos[rows][:, 10:13], truth[rows][:, 10:13], request[rows])
    assert np.array_equal(part, whole[rows][:, 10:13])


def test_calibration_weighs_users_by_their_traffic():
    """Without the weights the noisy predictions of new users, who hardly come, would dominate."""
    shares = ((0.5, 0.0, 0.0, 0.0, 0.5), (0.05, 0.0, 0.0, 0.0, 0.95), (0.95, 0.0, 0.0, 0.0, 0.05))
    comment = [stage_with(activity_share=s).scale[OBJECTIVES.index("pcmtr")] for s in shares]
    half, full, new = comment
    assert new < half < full
    assert np.log(full / half) < 0.5 * np.log(half / new)


def log_error(stage, served):
    truth, pxtr = served[2], stage.predict(*served)
    return np.log(pxtr[..., 4:]) - np.log(truth[..., 4:])  # interactions: far from saturation


def test_errors_have_their_size(served, stage):
    quiet = replace(stage.world, parameters=replace(stage.world.parameters, request_shift=0.0, pxtr_slope=1.0))
    error = log_error(replace(stage, world=quiet), served)
    users, videos = served[:2]
    plain = (quiet.activity[users] == 3)[:, None] & ~quiet.cold[videos]
    expected = np.hypot((0.3, 0.45, 0.45, 0.45), (0.4, 0.6, 0.6, 0.6))
    assert error[plain].std(axis=0) == pytest.approx(expected, rel=0.06)
    new_video = (quiet.activity[users] == 3)[:, None] & quiet.cold[videos]
    assert error[new_video].std(axis=0) == pytest.approx(2.0 * expected, rel=0.06)
    full = (quiet.activity[users] == 4)[:, None] & ~quiet.cold[videos]
    assert error[full].std(axis=0) == pytest.approx(0.85 * expected, rel=0.06)


def test_tasks_share_a_quarter_of_the_error(served, stage):
    quiet = replace(stage.world, parameters=replace(stage.world.parameters, request_shift=0.0, pxtr_slope=1.0))
    users, videos = served[:2]
    plain = (quiet.activity[users] == 3)[:, None] & ~quiet.cold[videos]
    correlation = np.corrcoef(log_error(replace(stage, world=quiet), served)[plain].T)
    assert correlation[np.triu_indices(4, 1)] == pytest.approx(np.full(6, 0.25), abs=0.06)


def test_request_shift_is_common_to_the_candidates(stage, served):
    still = replace(stage, world=replace(stage.world, parameters=replace(stage.world.parameters, request_shift=0)))
    shift = np.log(stage.predict(*served)) - np.log(still.predict(*served))
    assert np.ptp(shift[..., PVTR], axis=1).max() < 1e-5
    assert shift[:, 0, PVTR].std() == pytest.approx(0.3, rel=0.08)
    between_tasks = np.corrcoef(shift[:, 0].T)[np.triu_indices(8, 1)]
    assert np.abs(between_tasks).max() < 4 / np.sqrt(REQUESTS)


def test_noise_hides_the_truth():
    correlation = []
    for noise in (0.0, 0.5, 1.0, 2.0):
        stage = stage_with(pxtr_noise=noise, request_shift=0.0)
        served = requests(stage.world, 300)
        pxtr, truth = stage.predict(*served), served[2]
        correlation.append(
            [np.corrcoef(np.log(pxtr[..., k]).ravel(), np.log(truth[..., k]).ravel())[0, 1] for k in range(8)]
        )
    correlation = np.array(correlation)
    assert (np.diff(correlation, axis=0) < 0).all()
    assert (np.delete(correlation[0], PVTR) > 0.995).all()  # watch time keeps its duration bias
