"""A tuner's objective, GAUC averaged over labels or pxtrs, folded into one weighted list of candidate pairs.

The AUC of a request is 1/2 + (1 / 2P) sum over its P pairs of sign(t_i - t_j) sign(s_i - s_j), so the mean
over M targets of their GAUCs is

    1/2 + 1/2 sum_{pairs} v_ij sign(s_i - s_j),   v_ij = (1/M) sum_m (w_b / W_m) sign(t_im - t_jm) / P_bm,

W_m the total weight of the requests where target m has a pair. The v are computed once; an evaluation is then
a subtraction and a sum, the same for any number of targets.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.summary import enough_requests
from emer.models.fusion import fusion_scores

TuningObjective = Literal["label_gauc", "pxtr_gauc"]

MAX_PAIRS = 1_000_000
"""Pairs that an objective may hold; beyond, it takes a random part of the requests."""

MAX_CANDIDATES = {"label_gauc": 400, "pxtr_gauc": 64}
"""Candidates of a request that enter; of more, a random part. Many requests say more than long ones."""


class PairObjective:
    """Mean GAUC of a fusion formula on a request table.

    ``label_gauc`` is the mean over the feedback labels on exposed candidates, weighted by their number;
    ``pxtr_gauc`` the mean over the raw pxtrs on all candidates. Labels with both classes in too few requests
    are left out, as in :func:`emer.metrics.summary.summarise`, whose ``<objective>/mean`` it equals where
    nothing is sampled away.

    Args:
        table: the tuning requests.
        objective: ``label_gauc`` or ``pxtr_gauc``.
        seed: of the sample, where the table is too large.

    Raises:
        EmerError: the objective is unknown, or no request has a pair to order.
    """

    def __init__(self, table: RequestTable, objective: TuningObjective, *, seed: int = 0) -> None:
        if objective not in get_args(TuningObjective):
            raise EmerError(
                f"the fusion formula cannot be tuned for {objective!r}; choose {' or '.join(get_args(TuningObjective))}"
            )
        rng = np.random.default_rng([seed, 0])
        of_labels = objective == "label_gauc"
        targets = table.label if of_labels else table.rank_gap
        use = table.exposed if of_labels else np.ones(table.item_id.size, dtype=bool)
        request = np.repeat(np.arange(len(table)), table.lengths)
        weight = np.bincount(request[use], minlength=len(table)).astype(np.float64)

        candidate = _sampled(np.flatnonzero(use), request, MAX_CANDIDATES[objective], rng)
        first, second = _pairs(candidate, request, rng)
        value = _pair_values(targets, first, second, request, weight)
        if value is None:
            reason = (
                "no training request shows candidates with and without the same feedback; tune for pxtr_gauc"
                if of_labels
                else "in every training request each pxtr is the same for all candidates"
            )
            raise EmerError(f"the fusion formula cannot be tuned for {objective}: {reason}")
        keep = value != 0
        read = np.unique(np.concatenate([first[keep], second[keep]]))
        self.pxtr = torch.from_numpy(table.pxtr[read]).double()
        self.first, self.second = np.searchsorted(read, first[keep]), np.searchsorted(read, second[keep])
        self.value = value[keep]

    def __call__(self, log_ratio: Tensor, exponent: Tensor) -> float:
        """The mean GAUC of the formula with parameters (K,), (K,)."""
        score = fusion_scores(self.pxtr, log_ratio, exponent).numpy()
        order = np.sign(score[self.first] - score[self.second])
        # Not a dot product: BLAS would sum in an order that depends on the number of threads.
        return float(0.5 + 0.5 * np.sum(self.value * order))


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
) -> np.ndarray | None:
    """v of the module's equation, or None if no target has a pair."""
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
    for m in used:
        all_weight = weight[pairs[m] > 0].sum()
        total += signs[m] * (weight / all_weight / np.maximum(pairs[m], 1))[group]
    return total / len(used)
