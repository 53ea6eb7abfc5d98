"""Other ways to compute soft ranks and concordances: published libraries, and loops over SciPy and scikit-learn."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchmetrics.functional import kendall_rank_corrcoef

TORCHSORT = importlib.util.find_spec("torchsort") is not None
"""Whether torchsort can be imported; `pip install torchsort` compiles it, and needs a C++ compiler."""


def torchsort_ranks(scores: Tensor, epsilon: float) -> Tensor:
    """torchsort's soft ranks (B, N) with quadratic regularisation."""
    import torchsort

    ranks: Tensor = torchsort.soft_rank(scores, regularization="l2", regularization_strength=epsilon)
    return ranks


def scipy_ranks(scores: Tensor, epsilon: float) -> Tensor:
    """The same (B, N), a loop of SciPy's isotonic regression."""
    ranks: Tensor = _ScipyRanks.apply(scores, epsilon)
    return ranks


class _ScipyRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, epsilon: float) -> Tensor:
        s = scores.detach().double().numpy() / epsilon
        order = s.argsort(axis=-1)
        ranks = np.empty_like(s)
        ctx.order, ctx.blocks, ctx.epsilon = order, [], epsilon
        for b, row in enumerate(order):
            # The projection is the ascending fit's residual; see emer.losses.soft_rank.
            x = s[b, row]
            fit = isotonic_regression(x - np.arange(1, len(x) + 1))
            ranks[b, row] = x - fit.x
            ctx.blocks.append(fit.blocks)
        return torch.from_numpy(ranks).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, of_ranks: Tensor) -> tuple[Tensor, None]:
        g = of_ranks.double().numpy()
        out = np.empty_like(g)
        for b, (row, blocks) in enumerate(zip(ctx.order, ctx.blocks, strict=True)):
            ordered = g[b, row]
            mean = np.add.reduceat(ordered, blocks[:-1]) / np.diff(blocks)
            out[b, row] = (ordered - np.repeat(mean, np.diff(blocks))) / ctx.epsilon
        return torch.from_numpy(out).to(of_ranks.dtype), None


def scipy_concordance(scores: Tensor, targets: Tensor) -> Tensor:
    """(tau + 1) / 2 (B, K), which is the concordance where nothing is tied; a loop over scipy.stats.kendalltau."""
    s, t = scores.numpy(), targets.numpy()
    B, _, K = t.shape
    tau = [[kendalltau(s[b], t[b, :, k]).statistic for k in range(K)] for b in range(B)]
    return (torch.tensor(tau, dtype=torch.float64) + 1) / 2


def torchmetrics_concordance(scores: Tensor, targets: Tensor) -> Tensor:
    """The same with torchmetrics, a request at a time."""
    K = targets.shape[-1]
    rows = [
        kendall_rank_corrcoef(s.unsqueeze(1).expand(-1, K).contiguous(), t)
        for s, t in zip(scores, targets, strict=True)
    ]
    return (torch.stack(rows) + 1) / 2  # type: ignore[arg-type]


def sklearn_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """AUC (B, K) of binary labels, a loop over sklearn.metrics.roc_auc_score."""
    s, y = scores.numpy(), labels.numpy()
    B, _, K = y.shape
    auc = [[roc_auc_score(y[b, :, k], s[b]) for k in range(K)] for b in range(B)]
    return torch.tensor(auc, dtype=torch.float64)
