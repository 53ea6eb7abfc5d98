"""The constants of the simulated world, with their units.

Marginal rates are calibrated to published KuaiRand statistics (see :mod:`emer.world`); no constant was chosen
by looking at a comparison between ranking methods.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from emer.errors import EmerError

Four = tuple[float, float, float, float]
Five = tuple[float, float, float, float, float]
Eight = tuple[float, float, float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class WorldParameters:
    """Everything about users, videos, responses, sessions and the multi-task stage.

    Groups of four follow :data:`emer.world.responses.INTERACTIONS`, groups of five the activity levels
    (new, low, middle, high, full), groups of eight :data:`emer.world.responses.OBJECTIVES`.
    """

    # Tastes
    dimensions: int = 16
    topics: int = 32
    categories: int = 12
    affinity_sd: float = 0.60  # of p_u . q_v over random pairs
    quality_sd: float = 0.40
    fatigue: float = 0.12  # affinity lost per recent exposure of the same category
    fatigue_decay: float = 0.9  # per request
    fatigue_overnight: float = 0.3
    cold_share: float = 0.25  # share of videos that are new

    # Users
    activity_share: Five = (0.05, 0.12, 0.20, 0.28, 0.35)
    return_logit: Five = (-1.0, -0.6, 0.2, 1.2, 2.4)  # of being active on a day
    sessions_mean: Five = (0.6, 1.0, 1.4, 1.8, 2.2)  # per active day
    budget_shift: Five = (-0.70, -0.45, -0.20, 0.05, 0.30)  # log seconds
    follow_bonus: Five = (0.857, 0.64275, 0.4285, 0.21425, 0.0)  # log rate
    interaction_user_sd: Four = (1.0, 0.9, 1.1, 1.0)  # log rate
    patience_sd: float = 0.25  # log seconds
    style_sd: float = 0.5  # log weight of watching and of interacting in satisfaction

    # Videos
    duration_median: float = 28.0  # seconds
    duration_sd: float = 0.95  # log seconds, besides a shift of -0.9 .. 1.1 per category
    duration_range: tuple[float, float] = (4.0, 600.0)  # seconds
    duration_levels: int = 48
    appeal_category_sd: float = 0.4  # log rate
    appeal_video_sd: Four = (0.7, 0.8, 0.8, 0.8)  # log rate

    # Responses
    engaged_intercept: float = -0.68  # logit of not skipping
    engaged_slope: float = 0.9
    skip_log_mean: float = 0.47  # log seconds
    skip_log_sd: float = 0.6
    watch_intercept: float = 2.45  # log seconds at affinity 0 and median duration
    watch_slope: float = 0.25  # per unit of affinity
    watch_duration_slope: float = 0.45  # per unit of log duration
    watch_log_sd: float = 1.25
    interaction_intercept: Four = (-6.78, -10.31, -10.02, -9.97)  # log rate per second watched
    interaction_slope: Four = (0.30, 0.35, 0.60, 0.10)  # per unit of affinity
    interaction_saturation: Four = (8.0, 20.0, 30.0, 12.0)  # seconds
    dislike_intercept: float = -7.31
    dislike_slope: float = -0.55

    # Sessions
    budget_median: float = 270.0  # seconds
    budget_sd: float = 0.8  # log seconds
    overhead: float = 1.2  # seconds between two videos
    impression_seconds: float = 16.0  # cost of an impression in the part that is not paid in time
    eta: float = 1.0  # 1: the budget is spent in seconds; 0: in impressions
    gamma: float = 12.0  # seconds of budget given back per unit of satisfaction
    satisfaction_reference: float = 0.15
    truncate_last: bool = True  # cut the last video where the budget ends
    session_requests: int = 50  # upper limit

    # Comparison and return; 0 switches each off, as in the embedded request log
    list_fatigue: float = 0.0  # affinity lost per earlier video of the same category in the list
    list_contrast: float = 0.0  # affinity gained per unit by which a video is better than the list before it
    return_sensitivity: float = 0.0  # return logit per unit of mood
    mood_decay: float = 0.7  # of the mood, per active day

    # Multi-task stage
    pxtr_slope: float = 0.9  # of log or logit prediction on truth
    pxtr_video_sd: Eight = (0.2, 0.15, 0.2, 0.2, 0.3, 0.45, 0.45, 0.45)  # persistent per video
    pxtr_pair_sd: Eight = (0.4, 0.3, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6)  # per user and video
    pxtr_shared: float = 0.25  # share of the error variance that all tasks have in common
    pxtr_noise: float = 1.0  # multiplies both errors
    pxtr_activity: Five = (1.8, 1.5, 1.2, 1.0, 0.85)  # multiplies both errors by activity level
    pxtr_cold: float = 2.0  # multiplies both errors on new videos
    pxtr_duration_bias: float = 0.30  # of log watch time per unit of log duration
    request_shift: float = 0.3  # sd of an offset common to a request's candidates, per task

    # Candidates and exposure
    topic_share: float = 0.6  # of the candidates, from the user's topics
    popular_share: float = 0.2  # of the candidates, from the popular videos; the rest is uniform
    popular_pool: float = 0.05  # share of videos that count as popular
    topic_sharpness: float = 1.0  # of the softmax over topics
    explore: float = 0.0037  # chance that a slot shows a uniformly drawn candidate

    def check(self) -> None:
        """Raises:
        EmerError: a constant has another form than its default, or is outside the range in which the world is defined.
        """
        for field in fields(self):
            value, usual = getattr(self, field.name), getattr(WorldParameters, field.name)
            if np.shape(value) != np.shape(usual) or np.asarray(value).dtype.kind not in "bif":
                raise EmerError(f"world.parameters.{field.name} is {value!r}; it must have the form of {usual!r}")
            if not np.isfinite(value).all():
                raise EmerError(f"world.parameters.{field.name} is {value!r}; it must be finite")
        for name, low, high in _RANGES:
            value = np.asarray(getattr(self, name))
            if not ((low <= value) & (value <= high)).all():
                raise EmerError(f"world.parameters.{name} is {getattr(self, name)}; it must lie in [{low:g}, {high:g}]")
        if self.topic_share + self.popular_share > 1 + 1e-9:
            raise EmerError(
                f"world.parameters: topic_share {self.topic_share} and popular_share {self.popular_share} are together "
                "more than 1, all candidates"
            )


_RANGES = (
    *((name, 0.0, 1.0) for name in ("eta", "explore", "topic_share", "popular_share", "popular_pool", "cold_share")),
    *((name, 0.0, 1.0) for name in ("pxtr_shared", "fatigue_decay", "fatigue_overnight", "mood_decay")),
    *((name, 0.0, np.inf) for name in ("gamma", "pxtr_noise", "request_shift", "overhead", "impression_seconds")),
    *((name, 1e-6, 20.0) for name in ("watch_log_sd", "skip_log_sd")),
    *((name, 1e-6, np.inf) for name in ("interaction_saturation", "budget_median", "duration_median", "affinity_sd")),
    *((name, 1.0, np.inf) for name in ("dimensions", "topics", "session_requests")),
    ("categories", 1.0, 12.0),  # as many as a request log has ids for
    ("duration_levels", 2.0, np.inf),
    ("interaction_intercept", -100.0, 20.0),
)
"""Name, least and largest value of the constants that have a range."""
