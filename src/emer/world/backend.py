"""Who computes the candidate stage of a request, from a user to its candidates' pxtrs: NumPy or a compiled kernel.

Both give the same ids and affinities, and pxtrs that differ by the rounding of float64 before they become float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from emer.errors import EmerError
from emer.world.candidates import draw_candidates, source_counts
from emer.world.hashing import Floats, Hash, Ints, Stream, hash_keys, normal_quantiles
from emer.world.population import World
from emer.world.pxtr import PxtrStage
from emer.world.responses import OBJECTIVES, affinity, expected_rates, watch_moments, watch_thresholds
from emer.world.stage import MultiTaskStage

Backend = Literal["numpy", "numba"]
BACKENDS: tuple[str, ...] = get_args(Backend)


class CandidateStage(Protocol):
    """Candidates, their affinity and their pxtrs."""

    def __call__(self, users: Ints, fatigue: Floats, request: Hash) -> tuple[Ints, Floats, np.ndarray]:
        """(ids (B, C), affinity (B, C), pxtrs (B, C, 8) float32) of B requests.

        Args:
            users: (B,).
            fatigue: (B, categories) decayed count of recent exposures per category.
            request: (B,) hash that identifies the request.
        """


def candidate_stage(world: World, stage: MultiTaskStage, candidates: int, backend: str) -> CandidateStage:
    """The stage with C ``candidates`` per request.

    Args:
        world: the users and videos.
        stage: predicts the pxtrs. The kernel knows :class:`PxtrStage`; of another class it calls ``predict``.
        candidates: C.
        backend: one of :data:`BACKENDS`.

    Raises:
        EmerError: there is no such backend.
    """
    check_backend(backend)
    if backend == "numpy":
        return NumpyCandidates(world, stage, candidates)
    return CompiledCandidates(stage, candidates, Platform.of(world, stage, candidates), world.parameters.categories)


def check_backend(backend: str) -> None:
    """Raises:
    EmerError: there is no such backend.
    """
    if backend not in BACKENDS:
        raise EmerError(f"world.backend is {backend!r}; it must be one of {', '.join(BACKENDS)}")


@dataclass(frozen=True)
class NumpyCandidates:
    """The reference."""

    world: World
    stage: MultiTaskStage
    candidates: int

    def __call__(self, users: Ints, fatigue: Floats, request: Hash) -> tuple[Ints, Floats, np.ndarray]:
        videos = draw_candidates(self.world, users, self.candidates, request)
        z = affinity(self.world, users, videos, fatigue)
        pxtr = self.stage.predict(users, videos, expected_rates(self.world, users, videos, z), request)
        return videos, z, pxtr


@dataclass(frozen=True)
class CompiledCandidates:
    """One loop over the requests, on one thread; :mod:`emer.kernels.candidates`."""

    stage: MultiTaskStage
    candidates: int
    platform: Platform
    categories: int

    def __call__(self, users: Ints, fatigue: Floats, request: Hash) -> tuple[Ints, Floats, np.ndarray]:
        from emer.kernels.candidates import propose_rows, pxtr_rows, rate_rows

        U, categories = self.platform.user_number.shape[0], self.categories
        if users.size and not 0 <= users.min() <= users.max() < U:
            raise ValueError(f"users are {users.min()} to {users.max()}; the world has 0 to {U - 1}")
        if fatigue.shape != (users.size, categories) or request.shape != users.shape:
            raise ValueError(
                f"fatigue is {fatigue.shape}, request {request.shape}; {users.size} users have "
                f"({users.size}, {categories}) and ({users.size},)"
            )
        shape = users.size, self.candidates
        videos, z = np.empty(shape, dtype=np.int64), np.empty(shape)
        propose_rows(self.platform, users, request, fatigue, videos, z)
        if type(self.stage) is PxtrStage:
            pxtr = np.empty((*shape, len(OBJECTIVES)), dtype=np.float32)
            pxtr_rows(self.platform, users, request, videos, z, pxtr)
        else:
            rates = np.empty((*shape, len(OBJECTIVES)))
            rate_rows(self.platform, users, videos, z, rates)
            pxtr = self.stage.predict(users, videos, rates, request)
        return videos, z, pxtr


class Platform(NamedTuple):
    """What requests are made of: U users, V videos of d dimensions in L duration levels.

    Arrays are C-contiguous, float64 where nothing else stands.
    """

    user_vector: np.ndarray  # (U, d)
    user_number: np.ndarray  # (U, 6): patience, factor on the errors, log interaction rates
    topic_quota: np.ndarray  # (U, topics)
    video_vector: np.ndarray  # (V, d)
    video_number: np.ndarray  # (V, 14): quality, log duration, log interaction rates, errors of the tasks
    category: np.ndarray  # (V,) int64
    level: np.ndarray  # (V,) uint32
    cold: np.ndarray  # (V,) bool
    popular: np.ndarray  # (P,) int64
    topic_videos: np.ndarray  # (V,) int64
    topic_start: np.ndarray  # (topics + 1,) int64
    by_topic: int
    by_fame: int
    fatigue: float
    engaged: np.ndarray  # (2,) intercept and slope
    watch: np.ndarray  # (4,) intercept, slopes of affinity and log duration, sd
    interaction: np.ndarray  # (2, 4) intercepts and slopes
    threshold: np.ndarray  # (8, L) log seconds that a column's probability or cap is about
    cap: np.ndarray  # (8, L) seconds
    skipping: np.ndarray  # (8, L) the columns for who skips
    scale: np.ndarray  # (8,) factor per task
    pair_sd: np.ndarray  # (8,)
    pxtr: np.ndarray  # (6,): slope, duration bias, cold factor, request shift, weights of shared and own error
    pair_state: np.uint64
    request_state: np.uint64
    quantile: np.ndarray  # (65536,) of the standard normal

    @classmethod
    def of(cls, world: World, stage: MultiTaskStage, candidates: int) -> Platform:
        """What the kernel reads of a world, a video's numbers side by side."""
        p = world.parameters
        durations, level = world.duration_levels
        threshold = watch_thresholds(world, durations)
        skipping = watch_moments(np.full_like(durations, p.skip_log_mean), p.skip_log_sd, threshold)
        K = len(OBJECTIVES)
        error, scale = np.zeros((world.videos, K)), np.ones(K)
        if type(stage) is PxtrStage:
            error, scale = stage.video_error, stage.scale
        noise = p.pxtr_noise * np.array(p.pxtr_activity)[world.activity]
        by_topic, by_fame = source_counts(p, candidates)
        return cls(
            user_vector=np.ascontiguousarray(world.user_vector.T),
            user_number=np.column_stack([world.patience, noise, world.user_rate]),
            topic_quota=np.ascontiguousarray(world.topic_quota),
            video_vector=np.ascontiguousarray(world.video_vector.T),
            video_number=np.column_stack([world.quality, world.log_duration, world.video_rate, error]),
            category=world.category.astype(np.int64),
            level=level.astype(np.uint32),
            cold=world.cold,
            popular=world.popular.astype(np.int64),
            topic_videos=world.topic_videos.astype(np.int64),
            topic_start=world.topic_start.astype(np.int64),
            by_topic=by_topic,
            by_fame=by_fame,
            fatigue=float(p.fatigue),
            engaged=np.array([p.engaged_intercept, p.engaged_slope], dtype=np.float64),
            watch=np.array(
                [p.watch_intercept, p.watch_slope, p.watch_duration_slope, p.watch_log_sd], dtype=np.float64
            ),
            interaction=np.array([p.interaction_intercept, p.interaction_slope], dtype=np.float64),
            threshold=threshold,
            cap=np.exp(threshold),
            skipping=np.ascontiguousarray(skipping.T),
            scale=scale.astype(np.float64),
            pair_sd=np.array(p.pxtr_pair_sd, dtype=np.float64),
            pxtr=np.array(
                [
                    p.pxtr_slope,
                    p.pxtr_duration_bias,
                    p.pxtr_cold,
                    p.request_shift,
                    p.pxtr_shared**0.5,
                    (1 - p.pxtr_shared) ** 0.5,
                ],
                dtype=np.float64,
            ),
            pair_state=hash_keys(world.seed, Stream.PXTR_PAIR)[0],
            request_state=hash_keys(world.seed, Stream.PXTR_REQUEST)[0],
            quantile=normal_quantiles(),
        )
