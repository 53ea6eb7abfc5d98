"""AUC over the pooled candidates of all requests."""

from __future__ import annotations

import torch
from torch import Tensor

from emer.metrics.counting import float_order


@torch.no_grad()
def pooled_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Rank-sum AUC with ties (Hanley and McNeil):

        AUC = (sum_{y=1} r_i - n₊ (n₊ + 1) / 2) / (n₊ n₋),   r ascending average ranks of the scores.

    Equal to scikit-learn's ``roc_auc_score``. The scores are sorted once for all labels. Doubled ranks are integers
    and summed as such, so the result does not depend on the order of the candidates.

    Args:
        scores: (T,) any real type, without NaN.
        labels: (T, M) bool or 0 / 1.

    Returns:
        (M,) float64; NaN where a label has only one class.

    Raises:
        ValueError: the shapes do not fit, or a score is NaN.
    """
    if scores.dim() != 1 or labels.dim() != 2 or len(labels) != len(scores):
        raise ValueError(f"scores (T,) have shape {tuple(scores.shape)}, labels (T, M) {tuple(labels.shape)}")
    if scores.is_floating_point() and bool(scores.isnan().any()):
        raise ValueError(f"scores are NaN at {int(scores.isnan().nonzero()[0])}, which has no rank")
    sums = _kernel_sums if scores.device.type == "cpu" else _torch_sums
    n_positive, rank_sum = sums(scores, labels != 0)
    n_negative = len(scores) - n_positive
    # 0 / 0 = NaN where there is one class only.
    return (rank_sum - n_positive * (n_positive + 1)).double() / (2 * n_positive * n_negative).double()


def _kernel_sums(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) int64 number of positives, and the sum of their doubled ranks."""
    # Here, since importing Numba takes seconds.
    import numpy as np

    from emer.kernels.concordance import positive_rank_sums
    from emer.kernels.sorting import sorted_positions

    s = float_order(scores.unsqueeze(0))
    order, _ = sorted_positions(s, np.ones(s.shape, np.bool_))
    n_positive, rank_sum = np.empty((2, labels.shape[1]), np.int64)
    positive_rank_sums(s[0], order[0], labels.contiguous().numpy(), n_positive, rank_sum)
    return torch.from_numpy(n_positive), torch.from_numpy(rank_sum)


def _torch_sums(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same on any device."""
    _, group, size = torch.unique(scores, return_inverse=True, return_counts=True)
    doubled_rank = (2 * size.cumsum(0) - size + 1)[group]
    return labels.sum(dim=0), (labels * doubled_rank.unsqueeze(-1)).sum(dim=0)
