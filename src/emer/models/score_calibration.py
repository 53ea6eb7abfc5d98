"""Bringing a new ranker's scores to the distribution of the old one's, before the two serve side by side."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from emer.errors import EmerError
from emer.ranking import valid_or_all


class AffineMap(NamedTuple):
    """x -> scale x + shift."""

    scale: float
    shift: float

    def __call__(self, scores: Tensor) -> Tensor:
        """Of ``scores`` of any shape, padding included."""
        return scores * self.scale + self.shift


def mean_var_map(scores: Tensor, reference: Tensor, *, where: Tensor | None = None) -> AffineMap:
    """The increasing affine map after which ``scores`` have the mean and variance of ``reference`` (docs/rivals.md).

    Where scores are mixed with other content, the mean decides how much is shown and the variance where. The order
    stays. Fit it on a sample of requests, then apply it to the requests to come.

    Args:
        scores, reference: (B, N), of the new and of the old ranker.
        where: (B, N) bool, the valid candidates; all if None.

    Raises:
        EmerError: there are no valid candidates, a valid score is not finite, or the scores are all equal while the
            reference's are not.
        ValueError: the shapes differ, or ``where`` is not bool.
    """
    if scores.shape != reference.shape:
        raise ValueError(f"scores have shape {tuple(scores.shape)}, the reference has {tuple(reference.shape)}")
    valid = valid_or_all(scores, where)
    new, old = scores[valid].double(), reference[valid].double()
    if not len(new):
        raise EmerError("mean and variance cannot be matched: there are no valid candidates")
    if not bool(torch.isfinite(new).all() and torch.isfinite(old).all()):
        raise EmerError("mean and variance cannot be matched: some scores are not finite")
    spread, wanted = (float(x.std(correction=0)) for x in (new, old))
    if spread == 0 and wanted > 0:
        raise EmerError(
            "the scores to calibrate are all equal, so that no affine map gives them the reference's variance"
        )
    scale = wanted / spread if wanted > 0 else 1.0
    if not math.isfinite(scale):
        raise EmerError("the scores to calibrate are almost equal: their variance cannot be scaled to the reference's")
    return AffineMap(scale, float(old.mean()) - scale * float(new.mean()))


def calibrate_mean_var(scores: Tensor, reference: Tensor, *, where: Tensor | None = None) -> Tensor:
    """``scores`` (B, N) with the mean and variance of ``reference``; 0 on padding. See :func:`mean_var_map`."""
    mapped = mean_var_map(scores, reference, where=where)(scores)
    return mapped.masked_fill(~valid_or_all(scores, where), 0.0)
