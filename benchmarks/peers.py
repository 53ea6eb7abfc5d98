"""Other ways to compute the pairwise loss, written by us: the published formula, and the idea of known libraries.

Each returns (loss, gradient with respect to the scores) of scores (B, N), a mean over pairs, objectives and requests.
"Style" means that the way of computing is a library's; its code is not here, and figures are not the library's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Result = tuple[Tensor, Tensor]


def printed_formula(scores: Tensor, targets: Tensor) -> Result:
    """EMER's eq. 2-5 as printed: for each objective BCE with logits over all ordered pairs, then backward.

    Labels are 1[t_i > t_j], so that a tie is 0 in both orders: the rule that ``ties="half"`` amounts to.
    """
    s = scores.detach().requires_grad_()
    B, N, K = targets.shape
    total = torch.zeros(())
    for k in range(K):
        t = targets[..., k]
        d = s.unsqueeze(2) - s.unsqueeze(1)
        y = (t.unsqueeze(2) > t.unsqueeze(1)).to(d.dtype)
        # The diagonal holds no pairs: log 2 each, without gradient.
        loss = F.binary_cross_entropy_with_logits(d, y, reduction="sum") - B * N * math.log(2)
        loss = loss / (B * K * N * (N - 1))
        loss.backward()
        total += loss.detach()
    return total, _gradient(s)


def where_mask(scores: Tensor, targets: Tensor) -> Result:
    """Rax's style: for each objective the matrix of pairs, and a mask of those that count. Ties are no pairs."""
    s = scores.detach().requires_grad_()
    B, _, K = targets.shape
    total = torch.zeros(())
    for k in range(K):
        t = targets[..., k]
        d = s.unsqueeze(2) - s.unsqueeze(1)
        where = t.unsqueeze(2) > t.unsqueeze(1)
        losses = torch.relu(-d) + torch.log1p(torch.exp(-d.abs()))
        summed = torch.where(where, losses, 0).sum(dim=(1, 2))
        loss = (summed / where.sum(dim=(1, 2)).clamp(min=1)).sum() / (B * K)
        loss.backward()
        total += loss.detach()
    return total, _gradient(s)


def pair_lists(scores: Tensor, targets: Tensor) -> Result:
    """allRank's style: RankNet for one label, on pairs that are written out and selected; once for each objective.

    The mean is over all pairs of the batch, which is that of :func:`where_mask` if lists are full and nothing is tied.
    """
    s = scores.detach().requires_grad_()
    K = targets.shape[-1]
    total = torch.zeros(())
    for k in range(K):
        loss = _rank_net(s, targets[..., k], torch.ones_like(targets[..., k], dtype=torch.bool)) / K
        loss.backward()
        total += loss.detach()
    return total, _gradient(s)


def _rank_net(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    places = torch.tensor(list(itertools.combinations(range(scores.shape[1]), 2)))
    pair_scores, pair_labels, pair_where = scores[:, places], labels[:, places], where[:, places]
    true_difference = pair_labels[..., 0] - pair_labels[..., 1]
    difference = pair_scores[..., 0] - pair_scores[..., 1]
    chosen = (true_difference != 0) & pair_where.all(dim=-1)
    return F.binary_cross_entropy_with_logits(difference[chosen], (true_difference[chosen] > 0).to(scores.dtype))


def collapsed(scores: Tensor, ranks: Tensor, weights: Tensor) -> Result:
    """The best loss of all pairs that we know of: one matrix for every objective, targets as given rank gaps.

    Loss and analytic gradient come from the same pass; ties count half. Meant for ``torch.compile``, which makes it one
    loop without any matrix.
    """
    B, N, K = ranks.shape
    d = scores.unsqueeze(2) - scores.unsqueeze(1)
    g = torch.einsum("bnk,bk->bn", ranks.to(scores.dtype), weights)
    w = weights.sum(dim=1, keepdim=True)
    pairs = F.softplus(d).sum(dim=(1, 2)) - N * math.log(2)
    scale = 1 / (B * K * N * (N - 1))
    loss = (w.squeeze(1) * pairs - (g * scores).sum(dim=1)).sum() * scale
    return loss, (w * (2 * torch.sigmoid(d) - 1).sum(dim=2) - g) * scale


def compiled_collapsed(threads: int, backend: str = "inductor") -> Callable[[Tensor, Tensor, Tensor], Result]:
    """:func:`collapsed` compiled afresh for ``threads``: their number is written into the code."""
    import torch._functorch.config
    import torch._inductor.config

    torch.set_num_threads(threads)
    torch.compiler.reset()
    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False
    return torch.compile(collapsed, dynamic=False, fullgraph=True, backend=backend)


def packed_sort(scores: Tensor) -> np.ndarray:
    """Sort of integers made of a float's bits and its place: the fastest sort with places that NumPy has."""
    bits = scores.numpy().view(np.int32).astype(np.int64)
    key = (np.where(bits < 0, -(1 << 31) - bits, bits) << 32) | np.arange(scores.shape[1])
    key.sort(axis=-1)
    return key


def compact_auc(scores: Tensor, labels: Tensor) -> Result:
    """The pairwise AUC loss of one list (N,) and labels (N, M) on positives x negatives, backward label by label."""
    s = scores.detach().requires_grad_()
    M = labels.shape[1]
    total = torch.zeros(())
    for m in range(M):
        positive, negative = s[labels[:, m]], s[~labels[:, m]]
        if len(positive) and len(negative):
            loss = F.softplus(negative - positive.unsqueeze(1)).mean() / M
            loss.backward()
            total += loss.detach()
    return total, _gradient(s)


def _gradient(s: Tensor) -> Tensor:
    return torch.zeros_like(s) if s.grad is None else s.grad
