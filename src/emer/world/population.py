"""The static part of the world: users, videos, topics, and what the users truly like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaincinv

from emer.world.hashing import Floats, Ints, Stream, hash_keys, integers, normals, uniform
from emer.world.parameters import WorldParameters

ACTIVITY_LEVELS = ("new", "low", "middle", "high", "full")

_SPARSITY = 0.35  # gamma shape of a user's topic weights: a few topics carry most of the taste
_USER_NOISE = 0.2  # share of a user's taste outside the topics
_CENTROID_SHARE = 0.6  # share of a video's vector variance that its topic explains
_SCALE_PAIRS = 50_000


@dataclass(frozen=True, kw_only=True)
class World:
    """U users and V videos. Nothing here but ids, activity, category, duration and age may reach a ranker.

    Attributes:
        seed: root of every draw.
        parameters: the constants.
        user_vector: (d, U); ``user_vector[:, u] @ video_vector[:, v]`` is the taste part of the affinity.
        video_vector: (d, V).
        activity: (U,) 0 .. 4, an index into :data:`ACTIVITY_LEVELS`.
        patience: (U,) log seconds.
        user_rate: (U, 4) log interaction rate.
        watch_weight, interaction_weight: (U,) weights in session satisfaction.
        topic_quota: (U, topics) cumulative share of topic candidates.
        quality: (V,) affinity that everybody shares.
        topic, category: (V,) from 0.
        duration: (V,) seconds, whole milliseconds.
        video_rate: (V, 4) log interaction rate.
        cold: (V,) bool, new videos.
        popular: (P,) video ids.
        topic_videos: (V,) video ids grouped by topic, in random order inside a topic.
        topic_start: (topics + 1,) where each group begins.
    """

    seed: int
    parameters: WorldParameters
    user_vector: Floats
    video_vector: Floats
    activity: Ints
    patience: Floats
    user_rate: Floats
    watch_weight: Floats
    interaction_weight: Floats
    topic_quota: Floats
    quality: Floats
    topic: Ints
    category: Ints
    duration: Floats
    video_rate: Floats
    cold: np.ndarray
    popular: Ints
    topic_videos: Ints
    topic_start: Ints

    @property
    def users(self) -> int:
        return self.activity.size

    @property
    def videos(self) -> int:
        return self.topic.size

    @cached_property
    def log_duration(self) -> Floats:
        """(V,) log(duration / median duration)."""
        return np.log(self.duration / self.parameters.duration_median)

    @cached_property
    def favourite_category(self) -> Ints:
        """(U,) the category that most of a user's topic candidates are of."""
        share = np.diff(self.topic_quota, axis=1, prepend=0.0)
        of_category = np.arange(share.shape[1]) % self.parameters.categories
        by_category = [share[:, of_category == c].sum(axis=1) for c in range(self.parameters.categories)]
        return np.stack(by_category).argmax(axis=0)

    @cached_property
    def duration_levels(self) -> tuple[Floats, Ints]:
        """(L,) seconds, ascending, and (V,) each video's index: what depends on duration alone is computed once."""
        durations, level = np.unique(self.duration, return_inverse=True)
        return durations, level


def build_world(seed: int, users: int, videos: int, parameters: WorldParameters) -> World:
    """Draw a world. Every user and video is a function of the seed and its own id alone, but for one scale
    factor that brings the affinity of random pairs to its standard deviation."""
    p = parameters
    centroid = normals(hash_keys(seed, Stream.TOPIC, np.arange(p.topics)), p.dimensions)
    video_vector, video = _videos(seed, videos, centroid, p)
    user_vector, user = _users(seed, users, centroid, p)

    pair = np.arange(_SCALE_PAIRS)
    some_users = integers(hash_keys(seed, Stream.SCALE, 0, pair), users)
    some_videos = integers(hash_keys(seed, Stream.SCALE, 1, pair), videos)
    taste = (user_vector[:, some_users] * video_vector[:, some_videos]).sum(axis=0)
    user_vector = user_vector * (p.affinity_sd / taste.std())

    pull = p.topic_sharpness * (user_vector.T @ centroid)
    share = np.exp(pull - pull.max(axis=1, keepdims=True))
    topic_quota = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    return World(
        seed=seed,
        parameters=p,
        user_vector=user_vector,
        video_vector=video_vector,
        topic_quota=topic_quota,
        **user,
        **video,
    )


def _videos(seed: int, count: int, centroid: Floats, p: WorldParameters) -> tuple[Floats, dict]:
    state = hash_keys(seed, Stream.VIDEO, 0, np.arange(count))
    draw = normals(state, p.dimensions + 7)
    noise, (quality, length, fame), rate = draw[: p.dimensions], draw[-7:-4], draw[-4:]
    topic = integers(hash_keys(seed, Stream.VIDEO, 1, np.arange(count)), p.topics)
    category = topic % p.categories
    vector = np.sqrt(_CENTROID_SHARE) * centroid[:, topic] + np.sqrt(1 - _CENTROID_SHARE) * noise

    category_state = hash_keys(seed, Stream.CATEGORY, np.arange(p.categories))
    shift = np.empty(p.categories)
    shift[np.argsort(category_state)] = np.linspace(-0.9, 1.1, p.categories)
    appeal = p.appeal_category_sd * normals(category_state, 4)
    quality = p.quality_sd * quality
    popularity = quality + p.quality_sd * fame
    pool = max(1, round(p.popular_pool * count))
    shuffled = np.argsort(hash_keys(seed, Stream.VIDEO, 2, np.arange(count)), kind="stable")
    topic_videos = shuffled[np.argsort(topic[shuffled], kind="stable")]
    return vector, {
        "quality": quality,
        "topic": topic,
        "category": category,
        "duration": _durations(shift[category] + p.duration_sd * length, p),
        "video_rate": (appeal[:, category] + np.array(p.appeal_video_sd)[:, None] * rate).T.copy(),
        "cold": uniform(hash_keys(seed, Stream.VIDEO, 3, np.arange(count))) < p.cold_share,
        "popular": np.sort(np.argsort(-popularity, kind="stable")[:pool]),
        "topic_videos": topic_videos,
        "topic_start": np.searchsorted(topic[topic_videos], np.arange(p.topics + 1)),
    }


def _durations(log_ratio: Floats, p: WorldParameters) -> Floats:
    """Seconds: exp(log_ratio) times the median, on the nearest of the logarithmically spaced levels."""
    low, high = np.log(p.duration_range)
    step = (high - low) / (p.duration_levels - 1)
    level = np.clip(np.round((np.log(p.duration_median) + log_ratio - low) / step), 0, p.duration_levels - 1)
    return np.round(np.exp(low + step * level), 3)


def _users(seed: int, count: int, centroid: Floats, p: WorldParameters) -> tuple[Floats, dict]:
    ids = np.arange(count)
    draw = normals(hash_keys(seed, Stream.USER, 0, ids), p.dimensions + 7)
    noise, (patience, watch, interact), rate = draw[: p.dimensions], draw[-7:-4], draw[-4:]
    luck = uniform(hash_keys(seed, Stream.USER, 1, ids[:, None], np.arange(p.topics)))
    weight = gammaincinv(_SPARSITY, luck)
    weight /= weight.sum(axis=1, keepdims=True)
    taste = centroid @ weight.T
    vector = (1 - _USER_NOISE) * taste + _USER_NOISE * noise

    edges = np.cumsum(p.activity_share)[:-1]
    activity = np.searchsorted(edges, uniform(hash_keys(seed, Stream.USER, 2, ids)), side="right")
    user_rate = np.array(p.interaction_user_sd)[:, None] * rate
    user_rate[1] += np.array(p.follow_bonus)[activity]
    return vector, {
        "activity": activity.astype(np.int64),
        "patience": p.patience_sd * patience,
        "user_rate": user_rate.T.copy(),
        "watch_weight": np.exp(p.style_sd * watch),
        "interaction_weight": np.exp(p.style_sd * interact),
    }
