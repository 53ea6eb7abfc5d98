"""AUC over the pooled candidates of all requests."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def pooled_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Rank-sum AUC with ties (Hanley and McNeil):

        AUC = (sum_{y=1} r_i - n₊ (n₊ + 1) / 2) / (n₊ n₋),   r ascending average ranks of the scores.

    Equal to scikit-learn's ``roc_auc_score``. Ranks are half-integers and summed in float64, so the result
    does not depend on the order of the candidates.

    Args:
        scores: (T,) without NaN.
        labels: (T, M) bool or 0 / 1.

    Returns:
        (M,) float64; NaN where a label has only one class.
    """
    _, group, size = torch.unique(scores, return_inverse=True, return_counts=True)
    last = size.cumsum(0)
    rank = ((2 * last - size + 1).to(torch.float64) / 2)[group]
    positive = labels.to(torch.float64)
    n_positive = positive.sum(dim=0)
    n_negative = len(scores) - n_positive
    rank_sum = (positive * rank.unsqueeze(-1)).sum(dim=0)
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
