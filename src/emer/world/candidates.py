"""What retrieval hands over: videos of the user's topics, popular videos, and a few at random."""

from __future__ import annotations

import numpy as np

from emer.world.hashing import Floats, Hash, Ints, fold, integers, uniform
from emer.world.parameters import WorldParameters
from emer.world.population import World


def draw_candidates(world: World, users: Ints, count: int, request: Hash) -> Ints:
    """Exactly ``count`` distinct videos per request, in ascending id (an order that says nothing).

    Topic slots follow the user's quotas and take a contiguous run of each topic's shuffled videos from a
    random place. Whatever two sources propose twice is replaced by uniform draws.

    Args:
        world: the users and videos, at least ``2 * count`` of the latter.
        users: (B,).
        count: C.
        request: (B,) hash that identifies the request.

    Returns:
        (B, C) int64.
    """
    by_topic, by_fame = source_counts(world.parameters, count)
    slots = fold(request, 2)[:, None]
    fame = integers(fold(slots, np.arange(by_fame)), world.popular.size)
    chance = integers(fold(slots, np.arange(by_fame, count - by_topic)), world.videos)
    proposed = np.concatenate(
        [_from_topics(world, world.topic_quota[users], by_topic, request), world.popular[fame], chance],
        axis=1,
    )
    return _distinct(proposed, world.videos, fold(request, 3))


def source_counts(parameters: WorldParameters, count: int) -> tuple[int, int]:
    """How many of ``count`` candidates come from the user's topics, and from the popular videos."""
    # Both may round up: the second then takes what is left.
    by_topic = min(round(parameters.topic_share * count), count)
    return by_topic, min(round(parameters.popular_share * count), count - by_topic)


def _from_topics(world: World, quota: Floats, count: int, request: Hash) -> Ints:
    """(B, count) videos: systematic sampling of topics, then a run of videos in each."""
    start = uniform(fold(request, 0))
    place = (start[:, None] + np.arange(count)) / count
    topic = (place[..., None] > quota[:, None, :-1]).sum(axis=-1)
    size = np.diff(world.topic_start)[topic]
    offset = integers(fold(fold(request, 1)[:, None], topic), np.maximum(size, 1))
    run = (offset + np.arange(count)) % np.maximum(size, 1)
    # A world with very few videos may leave a topic empty; its neighbour's videos take the place.
    return world.topic_videos[(world.topic_start[topic] + run) % world.videos]


def _distinct(videos: Ints, high: int, state: Hash) -> Ints:
    """Sort every row and replace repeats by uniform draws until none is left."""
    videos = np.sort(videos, axis=1)
    rows = np.arange(videos.shape[0])
    attempt = 0
    while rows.size:
        part = videos[rows]
        row, place = np.nonzero(part[:, 1:] == part[:, :-1])
        if not row.size:
            break
        part[row, place] = integers(fold(state[rows[row]], attempt, place), high)
        part.sort(axis=1)
        videos[rows] = part
        rows = rows[np.unique(row)]
        attempt += 1
    return videos
