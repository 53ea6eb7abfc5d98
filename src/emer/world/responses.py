"""What a user would do with a video: watch time first, everything else follows from it.

Interactions happen while watching and saturate: P(y | W) = 1 - exp(-rate * min(W, T)). Watch time therefore
confounds interactions, which is what IPUT targets are meant to remove.

Shapes: B rows (one user each), n videos per row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit, ndtr

from emer.world.hashing import Floats, Ints, Stream, fold, hash_keys, normals, uniform
from emer.world.population import World

OBJECTIVES = ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pwtr", "pcmtr", "pftr")
FEEDBACK = ("click", "long_view", "complete", "like", "follow", "comment", "forward")
INTERACTIONS = FEEDBACK[3:]

VALID_PLAY = 7.0
"""Seconds: a click (effective view) is more than this, or a complete play of a shorter video (KuaiRand)."""
LONG_VIEW = 18.0
"""Seconds: a long view is at least this, or a complete play of a shorter video (KuaiRand)."""

_LIKE = FEEDBACK.index("like")
_CHANCES = tuple(OBJECTIVES.index(name) for name in ("pctr", "plvtr", "pcpr"))


def affinity(world: World, users: Ints, videos: Ints, fatigue: Floats) -> Floats:
    """True affinity z = p_u . q_v + quality_v - fatigue.

    Args:
        users: (B,).
        videos: (B, n).
        fatigue: (B, categories) decayed count of recent exposures per category.

    Returns:
        (B, n), standard deviation about 0.7.
    """
    z = world.quality[videos] - world.parameters.fatigue * np.take_along_axis(fatigue, world.category[videos], axis=1)
    # A matrix product may round differently for another number of rows; this sum does not.
    for user_axis, video_axis in zip(world.user_vector, world.video_vector, strict=True):
        z += user_axis[users, None] * video_axis[videos]
    return z


def affinity_in_list(world: World, videos: Ints, z: Floats) -> Floats:
    """Affinity as it is felt in a list that is watched from its first video to its last:

        z'_s = z_s - list_fatigue |{r < s: category_r = category_s}| + list_contrast (z_s - mean_{r < s} z_r),

    without the last term for s = 0. What a video is worth then depends on the others of its list.

    Args:
        world: the users and videos.
        videos: (B, E) in order of display.
        z: (B, E) their affinity.
    """
    p = world.parameters
    if p.list_fatigue == 0 == p.list_contrast:
        return z
    category, slot = world.category[videos], np.arange(1, z.shape[1])
    alike = np.tril(category[:, :, None] == category[:, None, :], -1).sum(axis=2)[:, 1:]
    before = np.add.accumulate(z, axis=1)[:, :-1] / slot
    felt = z.copy()
    felt[:, 1:] += p.list_contrast * (z[:, 1:] - before) - p.list_fatigue * alike
    return felt


def longest_watch(duration: Floats) -> Floats:
    """Seconds: replays stop at duration * (1 + 1.5 exp(-duration / 15))."""
    return duration * (1 + 1.5 * np.exp(-duration / 15))


def watch_log_mean(world: World, users: Ints, videos: Ints, z: Floats) -> Floats:
    """(B, n) mean of log watch seconds of an engaged user."""
    p = world.parameters
    return (
        p.watch_intercept
        + p.watch_slope * z
        + p.watch_duration_slope * world.log_duration[videos]
        + world.patience[users, None]
    )


def interaction_log_rate(world: World, users: Ints, videos: Ints, z: Floats) -> Floats:
    """(B, n, 4) log interaction rate per second watched."""
    p = world.parameters
    rate = world.video_rate[videos] + world.user_rate[users, None, :]
    return rate + np.array(p.interaction_intercept) + np.array(p.interaction_slope) * z[..., None]


def interaction_probability(world: World, log_rate: Floats, watch_time: Floats) -> Floats:
    """P(interaction | watch time), (B, n, 4), from (B, n, 4) log rates and (B, n) seconds."""
    seconds = np.minimum(watch_time[..., None], np.array(world.parameters.interaction_saturation))
    return -np.expm1(-np.exp(log_rate) * seconds)


def expected_rates(world: World, users: Ints, videos: Ints, z: Floats) -> Floats:
    """True value of every objective before watching, (B, n, 8) in the order of :data:`OBJECTIVES`.

    Probabilities and, for pvtr, expected seconds, in closed form: watch time is a capped lognormal for an
    engaged user and another for one who skips. Interactions use E[min(W, T)] inside the exponential, which
    overstates P by at most a few per cent where the rate is high.
    """
    p = world.parameters
    durations, level = world.duration_levels
    threshold, level = watch_thresholds(world, durations), level[videos]
    engaged = expit(p.engaged_intercept + p.engaged_slope * z)[..., None]
    watching = watch_moments(watch_log_mean(world, users, videos, z), p.watch_log_sd, threshold, level)
    skipping = watch_moments(np.full_like(durations, p.skip_log_mean), p.skip_log_sd, threshold)[level]
    rates = engaged * watching + (1 - engaged) * skipping
    rates[..., 4:] = -np.expm1(-np.exp(interaction_log_rate(world, users, videos, z)) * rates[..., 4:])
    return rates


def watch_moments(mean: Floats, sd: float, threshold: Floats, level: Ints | slice = slice(None)) -> Floats:
    """(..., 8) of W = min(lognormal, cap): P(click), E[W], P(long view), P(complete), E[min(W, T_k)].

    Args:
        mean: (...) of log W before the cap.
        sd: of log W.
        threshold: (8, L) from :func:`watch_thresholds`.
        level: (...) indices into L; by default ``mean`` is (L,).
    """
    out = np.empty((*mean.shape, len(threshold)))
    cap, whole = np.exp(threshold), np.exp(mean + sd * sd / 2)
    for column, log_seconds in enumerate(threshold):
        if column in _CHANCES:
            out[..., column] = ndtr((mean - log_seconds[level]) / sd)
        else:  # E[min(X, c)] of a lognormal X
            place = (log_seconds[level] - mean) / sd
            out[..., column] = whole * ndtr(place - sd) + cap[column][level] * ndtr(-place)
    return out


def watch_thresholds(world: World, duration: Floats) -> Floats:
    """(8, L) log seconds of L durations: what :func:`watch_moments` asks whether W exceeds, or caps it at."""
    log_duration, cap = np.log(duration), np.log(longest_watch(duration))
    return np.stack(
        [
            np.minimum(log_duration, np.log(VALID_PLAY)),
            cap,
            np.minimum(log_duration, np.log(LONG_VIEW)),
            log_duration,
            *(np.minimum(cap, np.log(seconds)) for seconds in world.parameters.interaction_saturation),
        ]
    )


@dataclass(frozen=True)
class Potential:
    """What B users would do with n videos each, if they met them and had the time.

    Attributes:
        duration: (B, n) seconds.
        watch_time: (B, n) seconds, whole milliseconds.
        log_rate: (B, n, 4) log interaction rate.
        luck: (B, n, 4) uniform; an interaction happens where it is below P(y | W).
        dislike: (B, n) bool.
    """

    duration: Floats
    watch_time: Floats
    log_rate: Floats
    luck: Floats
    dislike: np.ndarray

    def take(self, at: tuple[Ints, Ints]) -> Potential:
        """The responses at these rows and places, (m,) of them."""
        return Potential(**{f.name: getattr(self, f.name)[at] for f in fields(self)})


def potential_responses(world: World, users: Ints, videos: Ints, z: Floats, day: int | Ints) -> Potential:
    """Responses keyed by user, video and day (one, or (B,)): any policy that shows the video meets the same luck."""
    p = world.parameters
    state = hash_keys(world.seed, Stream.FEEDBACK, np.asarray(day).reshape(-1, 1), users[:, None], videos)
    deviation = normals(state, 2)
    duration = world.duration[videos]
    engaged = uniform(fold(state, 1)) < expit(p.engaged_intercept + p.engaged_slope * z)
    log_watch = np.where(
        engaged,
        watch_log_mean(world, users, videos, z) + p.watch_log_sd * deviation[0],
        p.skip_log_mean + p.skip_log_sd * deviation[1],
    )
    return Potential(
        duration=duration,
        watch_time=np.round(np.minimum(np.exp(log_watch), longest_watch(duration)), 3),
        log_rate=interaction_log_rate(world, users, videos, z),
        luck=uniform(fold(state[..., None], 2, np.arange(4))),
        dislike=uniform(fold(state, 3)) < expit(p.dislike_intercept + p.dislike_slope * z),
    )


def feedback(world: World, potential: Potential, watch_time: Floats) -> np.ndarray:
    """Labels (B, n, 7) bool in the order of :data:`FEEDBACK`, after watching for ``watch_time`` seconds.

    The three watch flags are functions of watch time and duration, by KuaiRand's definitions.
    """
    duration = potential.duration
    complete = watch_time >= duration
    label = np.empty((*watch_time.shape, len(FEEDBACK)), dtype=bool)
    label[..., 0] = (watch_time > VALID_PLAY) | ((duration <= VALID_PLAY) & complete)
    label[..., 1] = (watch_time >= LONG_VIEW) | ((duration <= LONG_VIEW) & complete)
    label[..., 2] = complete
    label[..., _LIKE:] = potential.luck < interaction_probability(world, potential.log_rate, watch_time)
    return label
