"""The multi-task stage: imperfect predictions of the true rates, usable as probabilities.

On the log (seconds) or logit (probability) scale a prediction is slope * truth + an error of the video + an
error of the user-video pair + an offset of the request. Part of the error is common to all tasks; it is
larger for less active users and for new videos; predicted watch time leans towards long videos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import expit, logit

from emer.world.candidates import draw_candidates
from emer.world.exposure import choose_slate, fusion_score
from emer.world.hashing import Floats, Hash, Ints, Stream, hash_keys, normals, uniform
from emer.world.population import World
from emer.world.responses import OBJECTIVES, affinity, expected_rates

_WATCH = OBJECTIVES.index("pvtr")
_CALIBRATION_REQUESTS = 4_000


@dataclass(frozen=True)
class PxtrStage:
    """Predicts every objective for a user's candidates.

    Attributes:
        world: the users and videos.
        video_error: (V, 8) persistent error, before the factors of activity, age and noise.
        scale: (8,) factor per task that makes predictions unbiased on exposed videos.
    """

    world: World
    video_error: Floats
    scale: Floats

    @classmethod
    def calibrated(cls, world: World, candidates: int, slate: int) -> Self:
        """A stage calibrated on what the equal-exponent fusion formula exposes.

        Selected videos are over-predicted (the winner's curse); production models, trained on exposed
        traffic, do not show this on average. One factor per task changes no rank. Users who are not yet
        tired stand for all, so predictions stay about a tenth above the rates that a log shows.

        Args:
            world: the users and videos.
            candidates: per request.
            slate: exposed videos per request.
        """
        p = world.parameters
        error = _errors(hash_keys(world.seed, Stream.PXTR_VIDEO, np.arange(world.videos)), p.pxtr_shared)
        stage = cls(world, error * np.array(p.pxtr_video_sd), np.ones(len(OBJECTIVES)))

        request = hash_keys(world.seed, Stream.CALIBRATION, np.arange(_CALIBRATION_REQUESTS))
        users = _traffic(world, uniform(request))
        videos = draw_candidates(world, users, candidates, request)
        z = affinity(world, users, videos, np.zeros((users.size, p.categories)))
        truth = expected_rates(world, users, videos, z)
        pxtr = stage.predict(users, videos, truth, request)
        shown = choose_slate(fusion_score(pxtr), slate, 0.0, request)[..., None]
        true_mean = np.take_along_axis(truth, shown, axis=1).mean(axis=(0, 1))
        predicted_mean = np.take_along_axis(pxtr, shown, axis=1).mean(axis=(0, 1), dtype=np.float64)
        return replace(stage, scale=true_mean / predicted_mean)

    def predict(self, users: Ints, videos: Ints, truth: Floats, request: Hash) -> np.ndarray:
        """Predictions (B, n, 8) float32 in the order of OBJECTIVES: probabilities, and pvtr > 0 in seconds.

        Args:
            users: (B,).
            videos: (B, n).
            truth: (B, n, 8) from :func:`emer.world.responses.expected_rates`.
            request: (B,) hash that identifies the request.
        """
        world, p = self.world, self.world.parameters
        size = p.pxtr_noise * np.array(p.pxtr_activity)[world.activity[users], None]
        size = size * np.where(world.cold[videos], p.pxtr_cold, 1.0)
        pair = _errors(hash_keys(world.seed, Stream.PXTR_PAIR, users[:, None], videos), p.pxtr_shared)
        offset = p.request_shift * normals(hash_keys(world.seed, Stream.PXTR_REQUEST, request), len(OBJECTIVES))

        out = np.empty(truth.shape, dtype=np.float32)
        for task, pair_sd in enumerate(p.pxtr_pair_sd):
            error = size * (self.video_error[videos, task] + pair_sd * pair[..., task]) + offset[task][:, None]
            if task == _WATCH:
                bias = p.pxtr_duration_bias * world.log_duration[videos]
                out[..., task] = self.scale[task] * np.exp(p.pxtr_slope * np.log(truth[..., task]) + bias + error)
            else:
                value = self.scale[task] * expit(p.pxtr_slope * logit(truth[..., task]) + error)
                out[..., task] = np.minimum(value, 1.0)
        return out


@dataclass(frozen=True)
class ParametricStage:
    """Makes a :class:`PxtrStage`, calibrated on what the equal-exponent fusion formula exposes."""

    def __call__(self, world: World, candidates: int, slate: int) -> PxtrStage:
        return PxtrStage.calibrated(world, candidates, slate)


def _traffic(world: World, share: Floats) -> Ints:
    """The users at these shares (in (0, 1)) of all traffic: active users weigh more."""
    p = world.parameters
    by_level = expit(p.return_logit) * np.maximum(1.0, p.sessions_mean) * np.exp(p.budget_shift)
    total = np.cumsum(by_level[world.activity])
    return np.searchsorted(total, share * total[-1])


def _errors(state: Hash, shared: float) -> Floats:
    """(..., 8) standard normals with pairwise correlation ``shared``."""
    draw = normals(state, len(OBJECTIVES) + 1)
    return np.moveaxis(np.sqrt(shared) * draw[0] + np.sqrt(1 - shared) * draw[1:], 0, -1)
