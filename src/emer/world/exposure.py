"""From scores to what was seen: the serving fusion formula, the slate, and the session's time budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emer.world.hashing import Floats, Hash, Ints, Stream, hash_keys, integers, uniform
from emer.world.population import World
from emer.world.responses import INTERACTIONS, Potential, feedback

_SKIP_SECONDS = 3.0


def fusion_score(pxtr: np.ndarray) -> np.ndarray:
    """Log of the product of all pxtrs, the equal-exponent fusion formula: (..., K) -> (...) float32."""
    logs = np.log(np.maximum(pxtr, 1e-12), dtype=np.float64)
    score = logs[..., 0].copy()
    for task in range(1, pxtr.shape[-1]):
        score += logs[..., task]
    return score.astype(np.float32)


def choose_slate(score: np.ndarray, size: int, explore: float, request: Hash) -> Ints:
    """Positions (B, size) of the shown candidates, in order of display.

    The best ``size`` scores; each slot instead shows, with probability ``explore``, a candidate drawn
    uniformly from those that no earlier slot has.

    Args:
        score: (B, C); larger is better, ties go to the earlier candidate.
        size: E <= C.
        explore: probability per slot.
        request: (B,) hash that identifies the request.
    """
    slot = np.arange(size)
    shown = _best(score, size)
    explored = explored_slots(size, explore, request)
    at = np.flatnonzero(explored.any(axis=1))
    if not at.size:
        return shown
    # Only a row that explores needs to know the order behind its slate.
    order = np.argsort(-score[at], axis=1, kind="stable")
    luck = hash_keys(0, Stream.EXPLORE, request[at, None], 1, slot)
    drawn = slot + integers(luck, score.shape[1] - slot)
    for s in np.flatnonzero(explored.any(axis=0)):
        row = np.flatnonzero(explored[at, s])
        other = drawn[row, s]
        order[row, s], order[row, other] = order[row, other], order[row, s]
    shown[at] = order[:, :size]
    return shown


def _best(score: np.ndarray, size: int) -> Ints:
    """The first ``size`` columns of a stable argsort of ``-score``, without sorting the others."""
    below = np.float32(0) - score
    if below.dtype != np.float32 or np.isnan(below).any():
        return np.argsort(-score, axis=1, kind="stable")[:, :size]
    # A float32 as an integer of the same order, above the position that it carries along; 0 is subtracted from, and
    # not negated, so that both zeros have the same bits.
    bits = below.view(np.int32).astype(np.int64)
    key = (np.where(bits < 0, -(1 << 31) - bits, bits) << 32) | np.arange(score.shape[1])
    best = np.sort(np.partition(key, size - 1, axis=1)[:, :size], axis=1)
    return best & 0xFFFFFFFF


def explored_slots(size: int, explore: float, request: Hash) -> np.ndarray:
    """(B, size) bool: the slots that show a uniformly drawn candidate, whatever the scores."""
    return uniform(hash_keys(0, Stream.EXPLORE, request[:, None], 0, np.arange(size))) < explore


@dataclass(frozen=True)
class Seen:
    """What happened to the E slots of B slates.

    Attributes:
        exposed: (B, E) bool; a prefix of the slate, at least its first slot.
        watch_time: (B, E) seconds, whole milliseconds.
        label: (B, E, 7) bool.
        dislike: (B, E) bool.
        satisfaction: (B, E) S as the budget counted it, before the last video was cut. All of these are 0 where not
            exposed.
        seconds: (B,) time spent on the request, overheads included.
        budget: (B,) what is left of the session's budget; 0 when the user has left.
    """

    exposed: np.ndarray
    watch_time: Floats
    label: np.ndarray
    dislike: np.ndarray
    satisfaction: Floats
    seconds: Floats
    budget: Floats


def watch_slate(world: World, users: Ints, potential: Potential, budget: Floats) -> Seen:
    """Walk down the slates until the budget of the session is spent.

    An impression costs eta * (W + overhead) + (1 - eta) * impression_seconds and gives back
    gamma * (S - reference), with the satisfaction S = a_u click + 1.5 b_u interactions - 0.6 [W < 3 s]
    - 2 dislike. The user leaves as soon as nothing is left; with ``truncate_last`` in the middle of the
    video, where the budget runs out.

    Args:
        world: the users and videos.
        users: (B,).
        potential: responses to the slates, n = E.
        budget: (B,) seconds, > 0.
    """
    p = world.parameters
    watch_time = potential.watch_time.copy()
    label = feedback(world, potential, watch_time)
    satisfaction = (
        world.watch_weight[users, None] * label[..., 0]
        + 1.5 * world.interaction_weight[users, None] * label[..., -len(INTERACTIONS) :].sum(axis=-1)
        - 0.6 * (watch_time < _SKIP_SECONDS)
        - 2.0 * potential.dislike
    )
    returned = p.gamma * (satisfaction - p.satisfaction_reference)
    flat_cost = (1 - p.eta) * p.impression_seconds
    spent = watch_time + p.overhead

    # A running sum adds one term after the other: the budget after each slot, as if nobody had left before.
    flow = np.empty((watch_time.shape[0], 3, watch_time.shape[1]))
    flow[:, 0], flow[:, 1], flow[:, 2] = -p.eta * spent, -flat_cost, returned
    steps = np.concatenate([budget[:, None], flow.transpose(0, 2, 1).reshape(budget.size, -1)], axis=1)
    left = np.add.accumulate(steps, axis=1)[:, ::3]
    exposed = np.logical_and.accumulate(left[:, :-1] > 0, axis=1)
    row = np.arange(budget.size)
    last = np.maximum(exposed.sum(axis=1) - 1, 0)
    after = left[row, last + 1]
    if p.truncate_last and p.eta > 0:
        allowed = np.maximum(left[row, last] - flat_cost, 0.0) / p.eta
        cut = np.flatnonzero((after <= 0) & (spent[row, last] > allowed))
        at = cut, last[cut]
        spent[at] = allowed[cut]
        watch_time[at] = np.floor(1e3 * np.maximum(allowed[cut] - p.overhead, 0.0)) / 1e3
        label[at] = feedback(world, potential.take(at), watch_time[at])

    watch_time[~exposed] = 0.0
    label &= exposed[..., None]
    seconds = np.where(exposed, spent, 0.0)
    return Seen(
        exposed=exposed,
        watch_time=watch_time,
        label=label,
        dislike=potential.dislike & exposed,
        satisfaction=np.where(exposed, satisfaction, 0.0),
        seconds=np.add.accumulate(seconds, axis=1)[:, -1],
        budget=np.maximum(after, 0.0),
    )
