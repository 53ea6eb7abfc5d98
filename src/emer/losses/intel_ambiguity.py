"""The ambiguity terms of IntEL's error-ambiguity decomposition (Li et al. 2023): how much base models disagree.

The total loss is the rank loss of :mod:`emer.losses.intel` minus alpha times its ambiguity. With S_n the ensemble's
score, s_nk that of base model k and w_nk its weight, e_nk = s_nk - S_n, so that d^k_nm - d_nm = e_nk - e_mk. All terms
are >= 0 if w is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emer.losses.arguments import (
    Reduction,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    reduce_objectives,
)
from emer.losses.intel import graded_lists
from emer.ranking import valid_or_all


def intel_mse_ambiguity(
    scores: Tensor,
    base_scores: Tensor,
    base_weights: Tensor,
    *,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean_n sum_k w_nk (s_nk - S_n)^2.

    Args:
        scores: (..., N) S, usually sum_k w_nk s_nk.
        base_scores, base_weights: (..., N, K).
        where: (..., N) bool, the valid candidates; all if None.
        reduction: see :func:`emer.losses.arguments.reduce_objectives`; ``per_objective`` gives (..., 1).

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    with torch.autocast(scores.device.type, enabled=False):
        _, e, w, valid = _deviations(scores, base_scores, base_weights, where)
        mean = (w * e.square()).sum(dim=(1, 2)) / valid.sum(dim=1).clamp(min=1)
        return reduce_objectives(mean.reshape(*scores.shape[:-1], 1), None, reduction)


def intel_bpr_ambiguity(
    scores: Tensor,
    base_scores: Tensor,
    base_weights: Tensor,
    grades: Tensor,
    *,
    where: Tensor | None = None,
    opponents: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean over positives n of sum_k w_nk sigma(d_nm) sigma(-d_nm) (d^k_nm - d_nm)^2, m of the nearest lower grade.

    Args:
        grades: (..., N, M).
        opponents: as given to :func:`emer.losses.intel.intel_bpr_loss`: O(N K M); if None, the expectation over the
            nearest lower grade: O(N^2 (K + M)) time and memory.
        scores, base_scores, base_weights, where, reduction: as in :func:`intel_mse_ambiguity`.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    check_reduction(reduction)
    check_columns(grades, scores, "grades")
    M = grades.shape[-1]
    with torch.autocast(scores.device.type, enabled=False):
        s, e, w, valid = _deviations(scores, base_scores, base_weights, where)
        lists = graded_lists(merge_leading(grades, 2), valid)
        if opponents is None:
            d = s.unsqueeze(2) - s.unsqueeze(1)
            spread = sum(
                w[..., k, None] * (e[..., k, None] - e[..., k].unsqueeze(1)).square() for k in range(e.shape[-1])
            )
            term = torch.sigmoid(d) * torch.sigmoid(-d) * spread
            every = slice(None)
            share = [lists.nearest_lower_share(every, every, m).to(s.dtype) for m in range(M)]
            mean = torch.stack([(term * x).sum(dim=(1, 2)) for x in share], dim=-1)
        else:
            check_columns(opponents, scores, "opponents")
            chosen = merge_leading(opponents, 2)
            d = s.unsqueeze(2) - s.unsqueeze(2).expand_as(chosen).gather(1, chosen)
            mean = torch.stack([_drawn_term(d[..., m], e, w, chosen[..., m]) for m in range(M)], dim=1)
            mean = lists.mean_over_positives(mean)
        return reduce_objectives(mean.reshape(*scores.shape[:-1], M), None, reduction)


def intel_pl_ambiguity(
    scores: Tensor,
    base_scores: Tensor,
    base_weights: Tensor,
    grades: Tensor,
    *,
    where: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """mean over positives n of sum_k w_nk [sum_m e^-d_nm (d^k_nm - d_nm)]^2 / (2 (1 + sum_m e^-d_nm)^2), pi_m < pi_n.

    O(N^2 (K + M)) time and O(N^2) memory.

    Args and the rest: as in :func:`intel_bpr_ambiguity`.
    """
    check_reduction(reduction)
    check_columns(grades, scores, "grades")
    M = grades.shape[-1]
    with torch.autocast(scores.device.type, enabled=False):
        s, e, w, valid = _deviations(scores, base_scores, base_weights, where)
        lists = graded_lists(merge_leading(grades, 2), valid)
        d = s.unsqueeze(1) - s.unsqueeze(2)  # -d_nm
        own = d.new_zeros(*s.shape, 1)
        columns = []
        for m in range(M):
            below = lists.grade[:, m].unsqueeze(1) < lists.grade[:, m].unsqueeze(2)
            # e^-d_nm / (1 + sum e^-d_nm): a softmax beside a logit of 0, which stands for the 1.
            share = torch.cat([d.masked_fill(~below, -torch.inf), own], dim=2).softmax(dim=2)[..., :-1]
            pull = share.sum(dim=2, keepdim=True) * e - share @ e
            columns.append((w * pull.square()).sum(dim=2) / 2)
        mean = lists.mean_over_positives(torch.stack(columns, dim=1))
        return reduce_objectives(mean.reshape(*scores.shape[:-1], M), None, reduction)


def _deviations(
    scores: Tensor, base_scores: Tensor, base_weights: Tensor, where: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S (R, N), e (R, N, K), w (R, N, K) and the mask (R, N), with 0 on masked places."""
    check_columns(base_scores, scores, "base_scores")
    if base_weights.shape != base_scores.shape:
        raise ValueError(
            f"base_weights has shape {tuple(base_weights.shape)}, base_scores has {tuple(base_scores.shape)}"
        )
    valid = merge_leading(valid_or_all(scores, where), 1)
    s = torch.where(valid, merge_leading(at_least_float32(scores), 1), 0)
    inside = valid.unsqueeze(-1)
    base = torch.where(inside, merge_leading(base_scores, 2).to(s.dtype), 0)
    w = torch.where(inside, merge_leading(base_weights, 2).to(s.dtype), 0)
    return s, base - s.unsqueeze(-1), w, valid


def _drawn_term(d: Tensor, e: Tensor, w: Tensor, chosen: Tensor) -> Tensor:
    """(R, N) the BPR term of every candidate against its opponent."""
    other = e.gather(1, chosen.unsqueeze(-1).expand_as(e))
    return torch.sigmoid(d) * torch.sigmoid(-d) * (w * (e - other).square()).sum(dim=2)
