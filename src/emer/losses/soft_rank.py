"""Differentiable ranks by projection onto the permutahedron, and the rank-sum AUC loss built on them.

Blondel et al. 2020, "Fast differentiable sorting and ranking", with quadratic regularisation:

    r(s) = argmin_{t in P} ||t - s / epsilon||^2,      P = the convex hull of all orders of (1, ..., n).

With s ascending, r = s / epsilon - v, where v is the ascending least-squares fit of s / epsilon - (1, ..., n): constant
on blocks, found by pool-adjacent-violators. Inside the block that holds places a, ..., b of the order,

    r_i = (a + b) / 2 + (s_i - mean of s over the block) / epsilon,

and dr/ds is (identity - block mean) / epsilon. If epsilon is small against the gaps of the scores, every block holds
one score, r is the rank itself and the gradient 0; if it is large there is one block, and r is affine in s.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from emer.losses import soft_rank_torch
from emer.losses.arguments import (
    Reduction,
    as_classes,
    at_least_float32,
    check_columns,
    check_reduction,
    merge_leading,
    outside_graphs,
    reduce_objectives,
)
from emer.ranking import valid_or_all

Method = Literal["auto", "kernel", "torch"]

SPREAD_FLOOR = 1e-6
"""Least sd that ``strength`` multiplies, relative to max(1, largest absolute score). A smaller spread is rounding of
float32 numbers, and 1 / epsilon would turn it into huge gradients."""


@outside_graphs
def soft_rank(
    scores: Tensor,
    *,
    strength: float = 2.0,
    epsilon: float | None = None,
    where: Tensor | None = None,
    method: Method = "auto",
) -> Tensor:
    """Ascending soft ranks of each list: n for the largest score, 1 for the smallest (HarmonRank eq. 8-10).

    They sum to n (n + 1) / 2 over the n valid candidates, never decrease in the score, and equal scores share their
    rank. The gradient is exact: (g - mean of g over the block) / epsilon, with epsilon held constant. It cannot be
    differentiated again. State is float64: the error is that of rounding the result. Under ``torch.compile`` it runs
    between graphs.

    Args:
        scores: (..., N); half precision is computed in float32.
        strength: kappa in epsilon = kappa * sd / n, sd being the population standard deviation of the list's valid
            scores, without gradient: ranks do not change when all scores are shifted or scaled. About 1 to 3 leaves
            blocks of many candidates; above twice the largest standardised score (some 6 at N = 500) there is a single
            one, in which ranks are linear in the scores. The sd is at least :data:`SPREAD_FLOOR`, so that equal scores
            have a finite gradient.
        epsilon: the regularisation itself, as other libraries have it; overrides ``strength``.
        where: (..., N) bool, True for the candidates that take part; all if None.
        method: ``kernel`` (compiled, CPU): O(N log N) time. ``torch`` (tensor operations, any device): rounds of O(N),
            some 10 of them for normal scores at the default strength, hundreds where a few large blocks swallow their
            neighbours (strength 10 at N = 10k), at worst N. ``auto``: kernel on the CPU, else torch.

    Returns:
        (..., N) float32, or float64 for float64 scores; 0 on padding.

    Raises:
        ValueError: a valid score is NaN or infinite, or float64 scores overflow when squared; scores have no axis;
            shapes differ; ``where`` is not bool; ``strength`` or ``epsilon`` is not positive and finite; ``method`` is
            unknown, or the kernel is asked for on another device.
    """
    if scores.dim() == 0:
        raise ValueError("scores need an axis of candidates, they are a single number")
    for name, value in (("strength", strength), ("epsilon", epsilon)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")
    rows = merge_leading(valid_or_all(scores, where), 1)
    s = merge_leading(at_least_float32(scores), 1)
    on_kernel = _on_kernel(method, scores.device)
    rank: Tensor = _SoftRank.apply(s, rows, strength, epsilon, on_kernel)
    return rank.view(scores.shape)


def rank_sum_auc_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    strength: float = 2.0,
    squash: bool = True,
    normalise: bool = True,
    reduction: Reduction = "mean",
    method: Method = "auto",
) -> Tensor:
    """1 - AUC of each objective, with soft ranks in the rank-sum formula (HarmonRank eq. 6-7).

        L_m = 1 - (<r(s), y_m> - n+ (n+ + 1) / 2) / (n+ n-)

    over the n+ positives and n- negatives of objective m in a list. It tends to 1 - AUC, ties counting half, as
    ``strength`` tends to 0. An objective without both classes contributes exactly 0, without gradient. The scores'
    shape is the scope of the ranks: (N,) is all rows of a batch, as in the paper; (B, N) ranks inside each request.

    Args:
        scores: (..., N).
        labels: (..., N, M), 0 or 1.
        weights: (..., M) or (M,) factor of each objective's loss; 1 if None.
        where: (..., N) bool, True for the candidates that take part; all if None.
        strength, method: see :func:`soft_rank`.
        squash: rank sigmoid(s) rather than s; the paper's scores are in [0, 1] (resolution R1).
        normalise: False is eq. 7 to the letter, L_m = -<r(s), y_m>: the paper drops 1 / (n+ n-) as a constant, which it
            is for one objective but not across them, so frequent labels and long requests dominate (resolution R2).
        reduction: ``mean`` over requests and objectives (a scalar), ``none`` over objectives only (...,), or
            ``per_objective`` not at all (..., M).

    Returns:
        The reduced loss, float32, or float64 for float64 scores.

    Raises:
        ValueError: labels are not (..., N, M) or a valid one is neither 0 nor 1, and as :func:`soft_rank`.
    """
    check_reduction(reduction)
    check_columns(labels, scores, "labels")
    where = valid_or_all(scores, where)
    positive = as_classes(labels, where)
    s = at_least_float32(scores)
    if squash:
        # Masked before the sigmoid, whose gradient at NaN is NaN, not 0; and in float64, since scores near 0 would be
        # rounded together to 1/2, and large ones to 1.
        s = torch.sigmoid(s.masked_fill(~where, 0).double())
    r = soft_rank(s, strength=strength, where=where, method=method)
    n = where.sum(dim=-1, keepdim=True)
    n_positive = positive.sum(dim=-2)
    pairs = n_positive * (n - n_positive)
    # In float64, for a class of few candidates makes <r, y> a small difference of large sums.
    if normalise:
        # <r, y> - n+ (n+ + 1) / 2 = <r - (n + 1) / 2, y> + n+ n- / 2.
        centred = torch.einsum("...n,...nm->...m", r.double() - (n + 1) / 2.0, positive.double())
        loss = 0.5 - centred / pairs.clamp(min=1)
    else:
        loss = -torch.einsum("...n,...nm->...m", r.double(), positive.double())
    return reduce_objectives(loss.masked_fill(pairs == 0, 0).to(at_least_float32(scores).dtype), weights, reduction)


def _on_kernel(method: Method, device: torch.device) -> bool:
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    if method == "kernel" and device.type != "cpu":
        raise ValueError(f"method 'kernel' runs on the CPU, the scores are on {device}; use 'auto'")
    return method != "torch" and device.type == "cpu"


class _SoftRank(torch.autograd.Function):
    """scores (B, N) -> ranks (B, N), of the same type."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, where: Tensor, strength: float, epsilon: float | None, on_kernel: bool
    ) -> Tensor:
        ctx.on_kernel = on_kernel
        if on_kernel:
            rank, block, scale = _kernel_forward(scores, where, strength, epsilon)
        else:
            scale = soft_rank_torch.scales(scores, where, strength, SPREAD_FLOOR)
            if epsilon is not None:
                scale = torch.full_like(scale, epsilon)
            rank, block = soft_rank_torch.ranks_and_blocks(scores, where, scale)
        ctx.save_for_backward(block, scale)
        return rank

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_rank: Tensor) -> tuple[Tensor, None, None, None, None]:
        block, scale = ctx.saved_tensors
        run = _kernel_backward if ctx.on_kernel else soft_rank_torch.gradient
        return run(of_rank, block, scale), None, None, None, None


def _kernel_forward(
    scores: Tensor, where: Tensor, strength: float, epsilon: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Ranks (B, N), blocks (B, N) int32, N on padding, and epsilon (B,) float64."""
    # Here, since importing Numba takes seconds.
    import numpy as np

    from emer.kernels.isotonic import scale_rows, soft_rank_rows
    from emer.kernels.runtime import run_rows
    from emer.kernels.sorting import sorted_positions

    s, valid = scores.detach().contiguous().numpy(), where.contiguous().numpy()
    rank = np.zeros_like(s)
    block = np.full(s.shape, s.shape[1], np.int32)
    scale = np.empty(len(s))

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        wrong = scale_rows(s[rows], valid[rows], strength, SPREAD_FLOOR, scale[rows])
        if wrong >= 0:
            raise soft_rank_torch.not_finite(start + wrong)
        if epsilon is not None:
            scale[rows] = epsilon
        order, count = sorted_positions(s[rows], valid[rows])
        soft_rank_rows(s[rows], order, count, scale[rows], rank[rows], block[rows])

    run_rows(work, len(s), s.size)
    return torch.from_numpy(rank), torch.from_numpy(block), torch.from_numpy(scale)


def _kernel_backward(of_rank: Tensor, block: Tensor, scale: Tensor) -> Tensor:
    # Here, since importing Numba takes seconds.
    import numpy as np

    from emer.kernels.isotonic import soft_rank_gradient_rows
    from emer.kernels.runtime import run_rows

    g, b, epsilon = of_rank.contiguous().numpy(), block.numpy(), scale.numpy()
    out = np.empty_like(g)
    run_rows(lambda i, j: soft_rank_gradient_rows(g[i:j], b[i:j], epsilon[i:j], out[i:j]), len(g), g.size)
    return torch.from_numpy(out)
