"""A tuner's objective, GAUC averaged over labels or pxtrs, folded into one weighted list of candidate pairs.

The AUC of a request is 1/2 + (1 / 2P) sum over its P pairs of sign(t_i - t_j) sign(s_i - s_j), so the mean
over M targets of their GAUCs is

    1/2 + 1/2 sum_{pairs} v_ij sign(s_i - s_j),   v_ij = sum_m share_bm sign(t_im - t_jm) / P_bm,

share_bm = w_b / (M W_m), W_m the total weight of the requests where target m has a pair. The v are computed once; an
evaluation is then a subtraction and a sum, the same for any number of targets.
"""

from __future__ import annotations

import copy
from typing import Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.kernels.pair_signs import pair_sign_sums
from emer.metrics.summary import enough_requests
from emer.models.formula_space import FormulaSpace
from emer.training.pairwise_gradient import PairwiseGradient

TuningObjective = Literal["label_gauc", "pxtr_gauc"]

MAX_PAIRS = 1_000_000
"""Pairs that an objective may hold; beyond, it takes a random part of the requests."""

MAX_CANDIDATES = {"label_gauc": 400, "pxtr_gauc": 64}
"""Candidates of a request that enter; of more, a random part. Many requests say more than long ones."""

_SCORES_AT_ONCE = 1 << 22
"""Scores in memory at a time, 32 MB; a larger population is evaluated in parts."""

_CACHED_SCORES = 1 << 16
"""Scores that are computed together, so that the terms of their sum stay in the cache."""


class PairObjective:
    """Mean GAUC of the formulas of a family on a request table, and the gradient of its logistic surrogate.

    ``label_gauc`` is the mean over the feedback labels on exposed candidates, weighted by their number;
    ``pxtr_gauc`` the mean over the raw pxtrs on all candidates. Labels with both classes in too few requests
    are left out, as in :func:`emer.metrics.summary.summarise`, whose ``<objective>/mean`` it equals where
    nothing is sampled away.

    Args:
        table: the tuning requests.
        objective: ``label_gauc`` or ``pxtr_gauc``.
        space: the family.
        seed: of the sample, where the table is too large.

    Raises:
        EmerError: the objective is unknown, or no request has a pair to order.
    """

    def __init__(self, table: RequestTable, objective: TuningObjective, space: FormulaSpace, *, seed: int = 0) -> None:
        if objective not in get_args(TuningObjective):
            raise EmerError(
                f"the fusion formula cannot be tuned for {objective!r}; choose {' or '.join(get_args(TuningObjective))}"
            )
        self.table, self.space = table, space
        rng = np.random.default_rng([seed, 0])
        of_labels = objective == "label_gauc"
        targets = table.label if of_labels else table.rank_gap
        use = table.exposed if of_labels else np.ones(table.item_id.size, dtype=bool)
        request = np.repeat(np.arange(len(table)), table.lengths)
        weight = np.bincount(request[use], minlength=len(table)).astype(np.float64)

        candidate = _sampled(np.flatnonzero(use), request, MAX_CANDIDATES[objective], rng)
        first, second = _pairs(candidate, request, rng)
        found = _pair_values(targets, first, second, request, weight)
        if found is None:
            reason = (
                "no training request shows candidates with and without the same feedback; tune for pxtr_gauc"
                if of_labels
                else "in every training request each pxtr is the same for all candidates"
            )
            raise EmerError(f"the fusion formula cannot be tuned for {objective}: {reason}")
        value, self.share = found
        keep = value != 0
        read = np.unique(np.concatenate([first[keep], second[keep]]))
        self.request, self.target = request[read], targets[read]
        if space.reads_ranks:
            n = table.lengths[self.request, None]
            self.values = torch.from_numpy((n + 1 - table.rank_gap[read].astype(np.float64)) / 2)
        else:
            self.values = torch.from_numpy(table.pxtr[read]).double()
        self._index(np.searchsorted(read, first[keep]), np.searchsorted(read, second[keep]), value[keep])

    def _index(self, first: np.ndarray, second: np.ndarray, value: np.ndarray) -> None:
        self.first, self.second, self.value = first.astype(np.int32), second.astype(np.int32), value
        self._surrogate: PairwiseGradient | None = None

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(P,) mean GAUCs of the formulas at ``points`` (P, D); each has the same bits in any population."""
        at_once = max(1, _SCORES_AT_ONCE // max(1, len(self.values)))
        parts = [points[start : start + at_once] for start in range(0, len(points), at_once)]
        return np.concatenate([self._evaluate(torch.from_numpy(np.ascontiguousarray(part))) for part in parts])

    def _evaluate(self, points: Tensor) -> np.ndarray:
        scores = np.empty((len(self.values), len(points)))
        block = max(1, _CACHED_SCORES // len(points))
        for start in range(0, len(scores), block):
            some = self.space.scores(self.values[start : start + block], points)
            scores[start : start + block] = some.numpy().T
        return 0.5 + 0.5 * pair_sign_sums(scores, self.first, self.second, self.value)

    def gradient(self, point: np.ndarray) -> np.ndarray:
        """(D,) gradient at ``point`` (D,) of minus the pairwise logistic loss
        (:class:`emer.training.pairwise_gradient.PairwiseGradient`), which stands in for the GAUC and is larger where
        that is better.
        """
        if self._surrogate is None:
            self._surrogate = PairwiseGradient(self.space, self.values, self.request, self.target, self.share)
        return self._surrogate(point)

    def restricted(self, requests: np.ndarray) -> Self:
        """The part of the sum over the requests in ``requests`` (R,) bool.

        Over a partition of the requests, (value - 1/2) sums to that of the whole.
        """
        part = copy.copy(self)
        keep = requests[self.request[self.first]]
        first, second = self.first[keep], self.second[keep]
        read = np.unique(np.concatenate([first, second]))
        part.request, part.target = self.request[read], self.target[read]
        part.values = self.values[torch.from_numpy(read.astype(np.int64))]
        part._index(np.searchsorted(read, first), np.searchsorted(read, second), self.value[keep])
        return part


def _sampled(candidate: np.ndarray, request: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """``candidate`` (c,) in order, with at most ``most`` of each request, chosen at random."""
    count = np.bincount(request[candidate])
    if count.size == 0 or count.max() <= most:
        return candidate
    shuffled = candidate[np.lexsort((rng.random(candidate.size), request[candidate]))]
    return np.sort(shuffled[_place(request[shuffled]) < most])


def _pairs(candidate: np.ndarray, request: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (first, second) of ``candidate`` within a request, sorted; of a random part of the requests
    if they are more than :data:`MAX_PAIRS`."""
    count = np.bincount(request[candidate])
    pairs = count * (count - 1) // 2
    if pairs.sum() > MAX_PAIRS:
        order = rng.permutation(pairs.size)
        chosen = np.zeros(pairs.size, dtype=bool)
        chosen[order[np.cumsum(pairs[order]) <= MAX_PAIRS]] = True
        candidate = candidate[chosen[request[candidate]]]
        count = np.where(chosen, count, 0)
    group = request[candidate]
    later = count[group] - 1 - _place(group)
    first = np.repeat(np.arange(candidate.size), later)
    step = np.arange(first.size) - np.repeat(np.cumsum(later) - later, later) + 1
    return candidate[first], candidate[first + step]


def _place(group: np.ndarray) -> np.ndarray:
    """Position of each element within its run in the sorted ``group``."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(group.size) - np.repeat(starts, np.diff(np.append(starts, group.size)))


def _pair_values(
    targets: np.ndarray, first: np.ndarray, second: np.ndarray, request: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """v (pairs,) and share (R, M) of the module's equation, or None if no target has a pair."""
    group = request[first]
    signs, pairs = [], []
    for column in targets.T:
        a, b = column[first], column[second]
        signs.append((a > b).astype(np.int8) - (a < b).astype(np.int8))
        pairs.append(np.bincount(group, weights=signs[-1] != 0, minlength=weight.size))
    valid = [int(np.count_nonzero(p)) for p in pairs]
    used = [m for m, count in enumerate(valid) if count >= enough_requests(valid)]
    if not used:
        return None
    total = np.zeros(first.size)
    share = np.zeros((weight.size, len(pairs)))
    for m in used:
        all_weight = weight[pairs[m] > 0].sum()
        share[:, m] = np.where(pairs[m] > 0, weight / all_weight / len(used), 0.0)
        total += signs[m] * (share[:, m] / np.maximum(pairs[m], 1))[group]
    return total, share
