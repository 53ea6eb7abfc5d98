"""The gradient that fits a fusion formula like a model: of the project's pairwise logistic loss on a tuner's pairs."""

from __future__ import annotations

import numpy as np
import torch

from emer.losses import pairwise_logistic_loss
from emer.models.formula_space import FormulaSpace
from emer.ranking import rank_gap

_CELLS = 1 << 20
"""Padded candidates in memory at a time."""


class PairwiseGradient:
    """d/dz of minus sum_bm share_bm L_bm, L_bm the mean of softplus(-(s_i - s_j)) over the pairs with t_im > t_jm.

    With the shares of :mod:`emer.training.pair_objective` it is that mean GAUC with a logistic in place of a step.

    Args:
        space: the family.
        values: (c, K) what its scores read, request by request.
        request: (c,) int, in order: whose candidate each is.
        target: (c, M) what is to be ordered.
        share: (R, M) weight of each request and target.
    """

    def __init__(
        self,
        space: FormulaSpace,
        values: torch.Tensor,
        request: np.ndarray,
        target: np.ndarray,
        share: np.ndarray,
    ) -> None:
        self.space = space
        starts = np.flatnonzero(np.diff(request, prepend=-1))
        lengths = np.diff(np.append(starts, request.size))
        # Longest first, so that requests of like length are padded together.
        order = np.argsort(-lengths, kind="stable")
        used = np.flatnonzero(share.any(axis=0))
        self.parts = []
        done = 0
        while done < order.size:
            longest = int(lengths[order[done]])
            rows = order[done : done + max(1, _CELLS // longest)]
            done += rows.size
            place = np.arange(longest)
            mask = place < lengths[rows, None]
            index = torch.from_numpy(np.where(mask, starts[rows, None] + place, 0))
            where = torch.from_numpy(mask)
            ranks = rank_gap(torch.from_numpy(target[:, used].astype(np.float32))[index], where)
            weights = torch.from_numpy(share[request[starts[rows]]][:, used])
            self.parts.append((values[index], ranks, where, weights))

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """(D,) float64 at ``point`` (D,)."""
        total = np.zeros(self.space.D)
        for values, ranks, where, weights in self.parts:
            with torch.enable_grad():
                z = torch.from_numpy(point.copy()).requires_grad_()
                scores = self.space.scores(values, z)
                loss = pairwise_logistic_loss(
                    scores, None, ranks=ranks, where=where, weights=weights, reduction="none"
                ).sum()
                (slope,) = torch.autograd.grad(loss, z)
            # The loss is a mean over the targets, the shares already are.
            total -= slope.numpy() * weights.shape[1]
        return total
