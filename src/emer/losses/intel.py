"""IntEL's rank losses on graded lists (Li et al. 2023); the ambiguity terms are in :mod:`emer.losses.intel_ambiguity`.

Grades order the candidates of a request (3 bought, 2 favoured, 1 clicked, 0 seen). A candidate takes part in the BPR
and list losses as *positive* if its grade is above 0 and some valid candidate has a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    reduce_objectives,
)
from emer.losses.weighted_pairs import weighted_pair_sum
from emer.ranking import valid_or_all


def intel_mse_loss(
    scores: Tensor,
    grades: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean_n (S_n - pi_n)^2 (IntEL-MSE). O(N M).

    Args:
        scores: (..., N), in units of the grades.
        grades: (..., N, M) finite; IntEL has M = 1.
        weights: broadcastable to (..., M), the factor of each list's loss; 1 if None.
        where: (..., N) bool, the valid candidates; all if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`.

    Returns:
        The reduced loss; a request without candidates contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(grades, scores, "grades")
    valid = valid_or_all(scores, where).unsqueeze(-1)
    with torch.autocast(scores.device.type, enabled=False):
        s = at_least_float32(scores).unsqueeze(-1)
        error = torch.where(valid, s, 0) - grades.to(s.dtype).masked_fill(~valid, 0)
        loss = error.square().sum(dim=-2) / valid.sum(dim=-2).clamp(min=1)
        return reduce_objectives(loss, weights, reduction)


def intel_bpr_loss(
    scores: Tensor,
    grades: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    opponents: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean over positives n of softplus(-(S_n - S_m)), m of the nearest lower grade (IntEL-BPR).

    Args:
        opponents: (..., N, M) int64 places of the m drawn for each n, from :func:`draw_opponents`: O(N M). If None, the
            expectation over all m of the nearest lower grade: O(N^2 M) time, O(N M) memory, differentiable once.
        scores, grades, weights, where, reduction: as in :func:`intel_mse_loss`.

    Returns:
        The reduced loss; a list without a positive contributes 0.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(grades, scores, "grades")
    valid = merge_leading(valid_or_all(scores, where), 1)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(valid, merge_leading(at_least_float32(scores), 1), 0)
        lists = graded_lists(merge_leading(grades, 2), valid)
        if opponents is None:
            loss = weighted_pair_sum(s, lambda *tile: lists.nearest_lower_share(*tile).to(s.dtype), grades.shape[-1])
        else:
            check_columns(opponents, scores, "opponents")
            chosen = merge_leading(opponents, 2).transpose(1, 2)
            other = s.unsqueeze(1).expand_as(chosen).gather(2, chosen)
            loss = lists.mean_over_positives(F.softplus(other - s.unsqueeze(1), threshold=40))
        return reduce_objectives(loss.reshape(*scores.shape[:-1], grades.shape[-1]), weights, reduction)


def intel_pl_loss(
    scores: Tensor,
    grades: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean over positives n of log(1 + sum_{m: pi_m < pi_n} e^-(S_n - S_m)) (IntEL-PL).

    The inner sum is a running one in the order of the grades: O(N log N) per list, in float64.

    Args and the rest: as in :func:`intel_mse_loss`; a list without a positive contributes 0.
    """
    check_reduction(reduction)
    check_columns(grades, scores, "grades")
    valid = merge_leading(valid_or_all(scores, where), 1)
    with torch.autocast(scores.device.type, enabled=False):
        s = torch.where(valid, merge_leading(scores, 1), 0).double().unsqueeze(1)
        lists = graded_lists(merge_leading(grades, 2), valid)
        running = s.expand(lists.order.shape).gather(2, lists.order).logcumsumexp(dim=2)
        lower = running.gather(2, (lists.lower - 1).clamp(min=0))
        loss = lists.mean_over_positives(F.softplus(lower - s, threshold=40))
        loss = loss.to(at_least_float32(scores).dtype).reshape(*scores.shape[:-1], grades.shape[-1])
        return reduce_objectives(loss, weights, reduction)


def draw_opponents(grades: Tensor, where: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random candidate of the nearest lower grade for every positive: (..., N, M) int64 places.

    Candidates that are no positives get their own place.

    Args:
        grades: (..., N, M) finite.
        where: (..., N) bool, the valid candidates.
        generator: where the draws come from; torch's default if None.
    """
    lists = graded_lists(merge_leading(grades, 2), merge_leading(where, 1))
    u = torch.rand(lists.order.shape, generator=generator, device=grades.device, dtype=torch.float64)
    drawn = lists.lower - 1 - (u * lists.nearest_size).long().minimum((lists.nearest_size - 1).clamp(min=0))
    place = torch.arange(grades.shape[-2], device=grades.device)
    chosen = lists.order.gather(2, drawn.clamp(min=0))
    return torch.where(lists.positive, chosen, place).transpose(1, 2).reshape(grades.shape)


@dataclass(frozen=True)
class GradedLists:
    """Who stands below whom in lists (R, M, N)."""

    grade: Tensor
    """(R, M, N), inf on masked places."""
    order: Tensor
    """(R, M, N) int64 places, lowest grade first, masked ones last."""
    positive: Tensor
    """(R, M, N) bool."""
    lower: Tensor
    """(R, M, N) int64 number of candidates with a lower grade: they come first in ``order``."""
    nearest: Tensor
    """(R, M, N) the nearest lower grade; meaningless where there is none."""
    nearest_size: Tensor
    """(R, M, N) int64 number of candidates with that grade, the last of the lower ones."""

    def mean_over_positives(self, values: Tensor) -> Tensor:
        """(R, M) mean of (R, M, N); 0 without a positive."""
        return (values * self.positive).sum(dim=2) / self.positive.sum(dim=2).clamp(min=1)

    def nearest_lower_share(self, rows: slice, firsts: slice, column: int) -> Tensor:
        """(r, f, N) float64 weights of the pairs (n, m) in the mean over positives n of the mean over nearest m."""
        n = (rows, column, firsts)
        positives = self.positive[rows, column].sum(dim=1).clamp(min=1).view(-1, 1, 1)
        share = self.positive[n].double().unsqueeze(2) / (self.nearest_size[n].clamp(min=1).unsqueeze(2) * positives)
        return share * (self.grade[rows, column].unsqueeze(1) == self.nearest[n].unsqueeze(2))


def graded_lists(grades: Tensor, where: Tensor) -> GradedLists:
    """Sort grades (R, N, M), finite where ``where`` (R, N) bool is True."""
    grade = grades.double().masked_fill(~where.unsqueeze(-1), torch.inf).transpose(1, 2).contiguous()
    ordered, order = grade.sort(dim=2, stable=True)
    lower = torch.searchsorted(ordered, grade)
    nearest = ordered.gather(2, (lower - 1).clamp(min=0))
    return GradedLists(
        grade=grade,
        order=order,
        positive=(grade > 0) & (lower > 0) & where.unsqueeze(1),
        lower=lower,
        nearest=nearest,
        nearest_size=(lower - torch.searchsorted(ordered, nearest)).clamp(min=0),
    )
