"""The ways to compute the multi-objective pairwise logistic loss; :mod:`emer.losses.pairwise` picks one.

Each takes scores (B, N) in float32 or float64, integer rank gaps (B, N, K), ``where`` (B, N) and weights (B, K)
float64, and returns (loss, gradient): loss (B, K) float64, the mean over each objective's pairs, 0 without a pair;
gradient (B, N) in the scores' type, the derivative of sum_k weights[b, k] * loss[b, k], 0 on masked places.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from emer.losses.exponential_sum import PHI, PSI, PSI_FLOAT32, sums_in_lists, sums_in_segments, sums_in_short_segments
from emer.ranking import rank_gap

CACHED_TARGETS = 1 << 16
"""Targets (requests x candidates x objectives) at a time on a CPU: half a megabyte, which its cache holds."""

DEVICE_TARGETS = 1 << 24
"""The same on other devices."""

EXACT_SQUARES = 200_000
"""Up to this many candidates the sum of their squared rank gaps is exact in float64; of more, ties are looked for."""

SMALL_GROUP = 4
"""Tie groups up to this size are summed pair by pair: a scan takes more operations."""

DENSE_PAIRS = 1 << 20
"""Pairs at a time in :func:`dense` when tiled: a few matrices of 8 MB."""


def kernel(scores: Tensor, ranks: Tensor, where: Tensor, weights: Tensor, exclude_ties: bool) -> tuple[Tensor, Tensor]:
    """Compiled, near-linear, on the CPU: O(N log N + N (K + terms)) time per request, O(N) memory per thread."""
    # Here, since importing Numba takes seconds.
    from emer.kernels.pairs import pairwise_rows
    from emer.kernels.runtime import run_rows
    from emer.kernels.sorting import sorted_positions

    s, g, valid, w = (x.contiguous().numpy() for x in (scores, ranks, where, weights))
    loss = np.empty(w.shape)
    gradient = np.zeros_like(s)
    psi, phi = np.array(PSI), np.array(PHI)

    def work(start: int, stop: int) -> None:
        order, count = sorted_positions(s[start:stop], valid[start:stop])
        rows = slice(start, stop)
        wrong = pairwise_rows(
            0, stop - start, s[rows], order, count, g[rows], w[rows], exclude_ties, psi, phi, loss[rows], gradient[rows]
        )
        if wrong >= 0:
            raise wrong_ranks(start + wrong)

    run_rows(work, len(s), s.size)
    return torch.from_numpy(loss), torch.from_numpy(gradient)


def near_linear(
    scores: Tensor, ranks: Tensor, where: Tensor, weights: Tensor, exclude_ties: bool
) -> tuple[Tensor, Tensor]:
    """The same sums with tensor operations, on any device: O(N log N) time and O(N) memory per request."""
    N = scores.shape[1]
    s = scores.masked_fill(~where, 0).double()
    n = where.sum(dim=1, keepdim=True)
    order = ascending_order(scores, where)
    u = s.gather(1, order)
    place = torch.arange(N, device=s.device)
    valid = place < n
    psi = PSI if scores.dtype == torch.float64 else PSI_FLOAT32
    sums = sums_in_lists(u, valid, psi=psi)
    net, soft = sums.above - sums.below, sums.soft.sum(dim=1)
    position = torch.empty_like(order).scatter_(1, order, place.expand_as(order))
    r = ((2 * position - n + 1) * where).double()
    x = (s - u.gather(1, (n // 2).clamp(max=max(N - 1, 0)))) * where if N else s

    double_sum = 2 * soft.unsqueeze(-1).expand_as(weights).clone()
    pairs = (n * (n - 1) // 2).double().expand_as(weights).clone()
    total, squares = torch.empty_like(weights), torch.empty_like(weights)
    for rows, g in _slices(ranks, where):
        torch.sum(g, dim=1, out=total[rows])
        torch.sum(g.square_(), dim=1, out=squares[rows])
    request, objective = _tied_objectives(total, squares, n).nonzero(as_tuple=True)
    groups = None
    if exclude_ties and len(request):
        groups = _TieGroups(ranks, where, position, u, request, objective, psi)
        pairs[request, objective] -= groups.pairs
        double_sum[request, objective] -= 2 * groups.soft
    some = pairs > 0
    slope = weights / (2 * pairs).clamp(min=1) * some
    by_place = 2 * slope.sum(dim=1, keepdim=True) * net
    if groups is not None:
        change = -2 * slope[groups.request, groups.objective] * groups.net
        by_place.index_put_((groups.request, groups.place), change, accumulate=True)
    gradient = by_place.gather(1, position)
    for rows, g in _slices(ranks, where):
        # Integers first: they vanish where scores and targets agree.
        difference = torch.sub(r[rows].unsqueeze(-1), g, out=g)
        if groups is not None:
            groups.subtract_ranks(difference, rows.start)
        double_sum[rows] += torch.bmm(x[rows].unsqueeze(1), difference).squeeze(1)
        gradient[rows] += torch.bmm(difference, slope[rows].unsqueeze(-1)).squeeze(-1)
    # Taking ties out may leave a rounding below 0.
    loss = (double_sum / (2 * pairs).clamp(min=1)).masked_fill(~some, 0).clamp_(min=0)
    return loss, gradient.masked_fill(~where, 0).to(scores.dtype)


def _slices(ranks: Tensor, where: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some requests at a time: which, and their rank gaps as float64, 0 where masked, in memory that is used again."""
    B, N, K = ranks.shape
    limit = CACHED_TARGETS if ranks.device.type == "cpu" else DEVICE_TARGETS
    step = max(1, limit // max(1, N * K))
    memory = torch.empty((min(step, B), N, K), dtype=torch.float64, device=ranks.device)
    masked = None if bool(where.all()) else ~where.unsqueeze(-1)
    for start in range(0, B, step):
        rows = slice(start, min(B, start + step))
        g = memory[: rows.stop - start].copy_(ranks[rows])
        yield rows, g if masked is None else g.masked_fill_(masked[rows], 0)


def _tied_objectives(total: Tensor, squares: Tensor, n: Tensor) -> Tensor:
    """(B, K) bool: whether some of the n (B, 1) valid candidates share their target.

    Args:
        total, squares: (B, K) sums of the rank gaps and of their squares. Distinct gaps are n - 1, n - 3 ..: they sum
            to 0 and their squares to n (n^2 - 1) / 3. Ties leave the first sum and make the second smaller.

    Raises:
        ValueError: the first sum is not 0 or the second is larger.
    """
    distinct = n * (n * n - 1).double() / 3
    wrong = ((total != 0) | (squares > distinct * (1 + 1e-9))).any(dim=1)
    if bool(wrong.any()):
        raise wrong_ranks(int(wrong.nonzero()[0]))
    return (squares < distinct) | (n > EXACT_SQUARES)


class _TieGroups:
    """The candidates of some (request, objective) that share their target with another, group after group.

    Args:
        ranks: (B, N, K) rank gaps.
        where: (B, N) bool.
        position: (B, N) place of each candidate in ascending order of the scores.
        u: (B, N) float64 scores in that order.
        request, objective: (R,) where there are ties.
        psi: the coefficients that the sum over all pairs has, so that tied pairs leave it exactly.

    Attributes:
        request, objective, place, item: (T,) whom each member is.
        r, net: (T,) float64 rank gap inside its group, and sum of psi over the members above minus that below, of each.
        pairs, soft: (R,) float64 number of tied pairs, and the sum of phi over them.
    """

    def __init__(
        self,
        ranks: Tensor,
        where: Tensor,
        position: Tensor,
        u: Tensor,
        request: Tensor,
        objective: Tensor,
        psi: tuple[float, ...],
    ) -> None:
        N = position.shape[1]
        step = max(1, 2 * CACHED_TARGETS // N) if u.device.type == "cpu" else len(request)
        parts = [
            _tied_items(ranks[request[i : i + step], :, objective[i : i + step]], where[request[i : i + step]])
            for i in range(0, len(request), step)
        ]
        row, self.item, g = (torch.cat(column) for column in zip(*parts, strict=True))
        row += (
            torch.arange(len(parts), device=u.device).repeat_interleave(
                torch.tensor([len(part[0]) for part in parts], device=u.device)
            )
            * step
        )
        key, by_group = ((row * 2 * N + g + N) * N + position[request[row], self.item]).sort()
        row, self.item = row[by_group], self.item[by_group]
        group = key // N
        start = torch.cat([group.new_ones(1, dtype=torch.bool), group[1:] != group[:-1]])
        self.place, self.request, self.objective = key % N, request[row], objective[row]

        first = start.nonzero().squeeze(1)
        length = torch.diff(first, append=first.new_tensor([len(key)]))
        before = torch.arange(len(key), device=u.device) - first.repeat_interleave(length)
        self.r = (2 * before - length.repeat_interleave(length) + 1).double()
        x = u[self.request, self.place]
        longest = int(length.max()) if len(length) else 0
        if longest <= SMALL_GROUP:
            sums = sums_in_short_segments(x, before, longest, psi)
        else:
            sums = sums_in_segments(x, start, psi=psi)
        self.net = sums.above - sums.below
        zeros = x.new_zeros(len(request))
        self.pairs = zeros.index_add(0, row, before.double())
        self.soft = zeros.index_add(0, row, sums.soft)

    def subtract_ranks(self, difference: Tensor, first: int) -> None:
        """Subtract each member's ``r`` from ``difference`` (b, N, K), which holds the requests from ``first`` on."""
        ends = torch.searchsorted(self.request, self.request.new_tensor([first, first + len(difference)])).tolist()
        mine = slice(*ends)
        difference[self.request[mine] - first, self.item[mine], self.objective[mine]] -= self.r[mine]


def _tied_items(ranks: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, item and rank gap of every candidate that shares its gap in ``ranks`` (R, N); there may be a few others."""
    R, N = ranks.shape
    ranks = ranks.masked_fill(~where, 0)
    least, most = ranks.aminmax()
    if int(least) <= -N or int(most) >= N:
        raise wrong_ranks(None)
    # A masked candidate counts as one of rank gap 0.
    slot = (ranks + torch.arange(N, 2 * N * R, 2 * N, device=ranks.device).unsqueeze(1)).view(-1)
    shared = torch.bincount(slot, minlength=2 * N * R).gather(0, slot) > 1
    row, item = (shared.view(R, N) & where).nonzero(as_tuple=True)
    return row, item, ranks[row, item].long()


def dense(
    scores: Tensor, ranks: Tensor, where: Tensor, weights: Tensor, exclude_ties: bool, tiled: bool = False
) -> tuple[Tensor, Tensor]:
    """All pairs, one matrix for every objective (and one more for each objective with ties), without approximation.

    O(N^2) time; memory too, unless ``tiled``. Meant for short lists and as a reference.
    """
    B, N, K = ranks.shape
    s = scores.masked_fill(~where, 0).double()
    n = where.sum(dim=1, keepdim=True)
    r = rank_gap(s.unsqueeze(-1), where)
    g = ranks.masked_fill(~where.unsqueeze(-1), 0).double()
    too_large = (g.abs() >= n.clamp(min=1).unsqueeze(-1)).flatten(1).any(dim=1)
    if bool(too_large.any()):
        raise wrong_ranks(int(too_large.nonzero()[0]))
    has_ties = (_tied_objectives(g.sum(dim=1), g.square().sum(dim=1), n).any(dim=0) & exclude_ties).tolist()
    difference = r.double() - g
    rows = max(1, DENSE_PAIRS // max(1, B * N)) if tiled else max(1, N)
    pairs, soft, net = torch.zeros_like(weights), torch.zeros_like(weights), torch.zeros_like(g)
    place = torch.arange(N, device=s.device)
    for a in range(0, N, rows):
        mine = slice(a, a + rows)
        both = where[:, mine, None] & where[:, None] & (place[mine, None] != place)
        d = s[:, mine, None] - s[:, None]
        sign = d.sign()
        phi = torch.log1p(torch.exp(-d.abs())).masked_fill_(~both, 0)
        psi = (torch.sigmoid(-d.abs()) * sign).masked_fill_(~both, 0)
        soft += phi.sum(dim=(1, 2)).unsqueeze(-1) / 2
        net[:, mine] -= psi.sum(dim=2).unsqueeze(-1)
        pairs += both.sum(dim=(1, 2)).unsqueeze(-1) / 2
        for k in (k for k in range(K) if has_ties[k]):
            tied = (ranks[:, mine, None, k] == ranks[:, None, :, k]) & both
            soft[:, k] -= (phi * tied).sum(dim=(1, 2)) / 2
            net[:, mine, k] += (psi * tied).sum(dim=2)
            difference[:, mine, k] -= (sign * tied).sum(dim=2)
            pairs[:, k] -= tied.sum(dim=(1, 2)) / 2
    centre = s.sum(dim=1, keepdim=True) / n.clamp(min=1)
    linear = (difference * (s - centre).unsqueeze(-1)).sum(dim=1)
    some = pairs > 0
    slope = weights / (2 * pairs).clamp(min=1) * some
    loss = ((linear + 2 * soft) / (2 * pairs).clamp(min=1)).masked_fill(~some, 0)
    gradient = ((difference + 2 * net) * slope.unsqueeze(1)).sum(dim=2)
    return loss, gradient.masked_fill(~where, 0).to(scores.dtype)


def ascending_order(scores: Tensor, where: Tensor) -> Tensor:
    """(B, N) int64 places of each row's candidates, smallest score first, masked ones last."""
    s = scores.masked_fill(~where, torch.inf)
    if s.device.type != "cpu":
        return s.argsort(dim=1)
    if s.dtype == torch.float64:
        return torch.from_numpy(s.numpy().argsort(axis=1))
    # NumPy sorts integers ten times as fast as torch sorts floats: bits that compare like the float, then its place.
    bits = s.contiguous().view(torch.int32).long()
    key = (torch.where(bits < 0, -(1 << 31) - bits, bits) << 32) | torch.arange(s.shape[1])
    key.numpy().sort(axis=1)
    return key & 0xFFFFFFFF


def wrong_ranks(row: int | None) -> ValueError:
    """The error for rank gaps that no targets could have, of a request if it is known."""
    return ValueError(
        f"ranks of {'a request' if row is None else f'request {row}'} are not rank gaps over its valid candidates; "
        "compute them with emer.ranking.rank_gap(targets, where), with the same where"
    )


ENGINES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]] = {
    "kernel": kernel,
    "near_linear": near_linear,
    "tiled": functools.partial(dense, tiled=True),
    "dense": dense,
}
