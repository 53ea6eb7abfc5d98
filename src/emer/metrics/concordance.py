"""Concordance AUC and Kendall's tau: how well a score orders the candidates of a request by a target, binary or
continuous."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from emer.metrics.counting import count_pairs

Method = Literal["auto", "kernel", "torch"]

_NOT_COMPARED = (torch.uint16, torch.uint32, torch.uint64, torch.complex32, torch.complex64, torch.complex128)
"""Types that torch cannot sort and compare."""

_TILE = 1 << 19
"""Target values (requests x objectives x candidates) that "torch" works on at a time; the working memory is a few of
these."""


class PairCounts(NamedTuple):
    """Pairs of a request's valid candidates, each (B, K) int64; their sum is n (n - 1) / 2."""

    concordant: Tensor
    discordant: Tensor
    tied_score_only: Tensor
    tied_target_only: Tensor
    tied_both: Tensor


def concordance_auc(scores: Tensor, targets: Tensor, *, where: Tensor | None = None, method: Method = "auto") -> Tensor:
    """Fraction of a request's pairs that the score orders as the target does (docs/methods.md, A23).

    Over the pairs i < j with t_i != t_j:  AUC = (#concordant + #tied in score / 2) / #pairs.
    For a binary target this is the ordinary AUC; for a continuous one without ties it is (Kendall's tau + 1)
    / 2. Pairs tied in the target are left out. Only order counts, so rank gaps do as well as the values they
    rank, and are counted faster.

    Args:
        scores: (B, N), bool, uint8, signed integer or float, without NaN at valid candidates.
        targets: (B, N, K), likewise. Neighbouring numbers of the type are no
            ties; infinity is larger than every number and equal to itself.
        where: bool, (B, N) or broadcastable to (B, N, K): the valid candidates. All if None.
        method: "kernel" (CPU, compiled): O(N log N) time per request and objective. "torch" (any device): O(N^2)
            time. "auto" is "kernel" on the CPU. The results are the same.

    Returns:
        (B, K) float64 (an exact ratio of counts); NaN where no pair of valid candidates differs in the
        target.

    Raises:
        ValueError: a shape or type does not fit, a valid score or target is NaN, or ``method`` is unknown or "kernel"
            for tensors that are not on the CPU.
    """
    pairs = concordance_counts(scores, targets, where=where, method=method)
    differ = pairs.concordant + pairs.discordant + pairs.tied_score_only
    # 0 / 0 = NaN where there is no pair to order.
    return (2 * pairs.concordant + pairs.tied_score_only).double() / (2 * differ).double()


def kendall_tau(scores: Tensor, targets: Tensor, *, where: Tensor | None = None, method: Method = "auto") -> Tensor:
    """Kendall's rank correlation tau-b of the score and each target.

        tau_b = (C - D) / sqrt((P - T_s) (P - T_t)),

    with C concordant and D discordant pairs, P all pairs, T_s and T_t those tied in the score and in the target.
    The same as ``scipy.stats.kendalltau``. Arguments and errors as in :func:`concordance_auc`.

    Returns:
        (B, K) float64 in [-1, 1]; NaN where the valid candidates' scores or targets are all equal.
    """
    pairs = concordance_counts(scores, targets, where=where, method=method)
    untied = pairs.concordant + pairs.discordant
    differ_in_score, differ_in_target = untied + pairs.tied_target_only, untied + pairs.tied_score_only
    return (pairs.concordant - pairs.discordant) / (differ_in_score.double() * differ_in_target.double()).sqrt()


@torch.no_grad()
def concordance_counts(
    scores: Tensor, targets: Tensor, *, where: Tensor | None = None, method: Method = "auto"
) -> PairCounts:
    """How many pairs the score and each target agree on. Arguments and errors as in :func:`concordance_auc`."""
    on_cpu = scores.device.type == "cpu"
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    if method == "kernel" and not on_cpu:
        raise ValueError(f"method 'kernel' needs tensors on the CPU; the scores are on {scores.device}")
    valid = _check(scores, targets, where)
    if method == "torch" or not on_cpu:
        B, N, K = targets.shape
        step = max(1, _TILE // max(1, N * K))
        tiles = [_tile(scores[b : b + step], targets[b : b + step], valid[b : b + step]) for b in range(0, B, step)]
        counts = torch.cat(tiles) if tiles else scores.new_zeros((0, K, len(PairCounts._fields)), dtype=torch.int64)
    else:
        counts = count_pairs(scores, targets, valid)
    return PairCounts(*counts.unbind(dim=-1))


def _check(scores: Tensor, targets: Tensor, where: Tensor | None) -> Tensor:
    """The valid candidates, (B, N, 1) or (B, N, K)."""
    if targets.dim() != 3 or targets.shape[:2] != scores.shape:
        raise ValueError(f"scores (B, N) have shape {tuple(scores.shape)}, targets (B, N, K) {tuple(targets.shape)}")
    B, N, K = targets.shape
    valid = scores.new_ones((B, N, 1), dtype=torch.bool)
    if where is not None:
        valid = where.unsqueeze(-1) if where.dim() == 2 else where
        sizes = (1, B), (1, N), (1, K)
        fits = valid.dim() == 3 and all(n in fit for n, fit in zip(valid.shape, sizes, strict=True))
        if not fits or valid.dtype != torch.bool:
            raise ValueError(
                f"where is {where.dtype} of shape {tuple(where.shape)}; targets {tuple(targets.shape)} "
                f"need bool of shape {(B, N)} or broadcastable to theirs"
            )
        valid = valid.expand(B, N, valid.shape[-1])
    for name, values in (("scores", scores.unsqueeze(-1)), ("targets", targets)):
        if values.dtype in _NOT_COMPARED:
            raise ValueError(f"{name} are {values.dtype}; convert them to float64 or int64")
        # The sum is one fast pass, and NaN where a value is, or where infinities of both signs are.
        if values.is_floating_point() and bool(values.sum().isnan()):
            wrong = values.isnan() & valid
            if bool(wrong.any()):
                place = wrong.nonzero()[0].tolist()[: 2 if name == "scores" else 3]
                raise ValueError(f"{name} are NaN at the valid candidate {place}: a pair with it has no order")
    return valid


def _tile(scores: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Counts (b, K, 5) of one tile; ``valid`` is (b, N, 1) or (b, N, K).

    With the candidates sorted best first, a pair d places apart is concordant if the earlier target is
    larger, so one pass per distance d compares every such pair of every request and objective, without an N x
    N matrix.
    """
    score, order = scores.sort(dim=-1, descending=True, stable=True)
    by_rank = order.unsqueeze(-1)
    # Candidates last, so that a shift is a contiguous slice.
    target = targets.gather(1, by_rank.expand_as(targets)).transpose(1, 2).contiguous()  # (b, K, N)
    keep = valid.gather(1, by_rank.expand_as(valid)).transpose(1, 2).contiguous()
    score = score.unsqueeze(1)
    counts = [torch.zeros(target.shape, dtype=torch.int32, device=target.device) for _ in PairCounts._fields]
    concordant, discordant, tied_score_only, tied_target_only, tied_both = counts
    for d in range(1, target.shape[-1]):
        both = keep[..., :-d] & keep[..., d:]
        larger = (target[..., :-d] > target[..., d:]) & both
        smaller = (target[..., :-d] < target[..., d:]) & both
        differ = larger | smaller
        same_target = both & ~differ
        same_score = score[..., :-d] == score[..., d:]
        concordant[..., :-d] += larger & ~same_score
        discordant[..., :-d] += smaller & ~same_score
        tied_score_only[..., :-d] += differ & same_score
        tied_target_only[..., :-d] += same_target & ~same_score
        tied_both[..., :-d] += same_target & same_score
    return torch.stack([count.sum(dim=-1) for count in counts], dim=-1)
