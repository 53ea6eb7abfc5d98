"""Sums of psi(x) = 1 / (1 + e^x) and phi(x) = log(1 + e^-x) over all pairs of a sorted list, in linear time.

With t = e^-x in (0, 1], psi = t / (1 + t) and phi = log(1 + t). Both are replaced by polynomials in t,

    psi_n(t) = sum_m b_m t^m,    phi_n(t) = sum_m (b_m / m) t^m,    m = 1 .. n,

so that e^(-m x) of a sum of gaps is a product of powers, and a list sorted by u needs one pass:

    F_m(j) = sum_{i < j} a_i e^(-m (u_j - u_i)) = (F_m(j - 1) + a_(j-1)) t_j^m,    t_j = e^-(u_j - u_(j-1)).

Decays are at most 1: nothing overflows, whatever the range of u.

The polynomial comes in closed form from the Chebyshev polynomial T_n. With c = cos(pi / 2n), u(t) = -1 + (1 + c) t and
R(t) = T_n(u(t)) / T_n(u(-1)), take psi_n(t) = t (1 - R(t)) / (1 + t), where the division is exact as R(-1) = 1. Then
|psi_n / psi - 1| <= 1 / |T_n(2 + c)| on the whole of [0, inf), 1.2e-12 for n = 16; R(1) = 0 makes psi_n(0) = 1/2
exactly, so the loss stays differentiable where scores are equal; and phi_n' = -psi_n, so the gradient is exactly that
of the value returned.
"""

from __future__ import annotations

import itertools
import threading

import torch
from torch import Tensor

PSI = (
    0.999999999998841,
    -0.9999999994069092,
    0.9999999492138397,
    -0.9999982667871533,
    0.9999686554389013,
    -0.9996535615201368,
    0.9974532145104843,
    -0.986839788968196,
    0.9503116296373064,
    -0.8588538406610685,
    0.6907845925157803,
    -0.4643285114770343,
    0.24332875999035355,
    -0.09137566207763795,
    0.02159740411213575,
    -0.002394574519506431,
)
"""b_1 .. b_16: relative error 1.2e-12."""

PSI_FLOAT32 = (
    0.9999999986504089,
    -0.9999996116307853,
    0.99998124260772,
    -0.999639820906196,
    0.9963616231717919,
    -0.9777920941897581,
    0.9111156854737126,
    -0.7535277922501707,
    0.5050809421118294,
    -0.24637861372881809,
    0.0755519841684042,
    -0.010753543478138733,
)
"""b_1 .. b_12: relative error 1.4e-9, enough where results are rounded to float32."""

PHI = tuple(b / m for m, b in enumerate(PSI, start=1))
"""b_m / m."""

_BLOCK = 16
"""Elements of a block that are scanned one after the other; blocks are scanned beside each other."""

_TILE = 20_480
"""Elements at a time on a CPU: two arrays of 2.5 megabytes each."""

_of_thread = threading.local()


def sums_below(decay: Tensor, amount: Tensor | None = None, psi: tuple[float, ...] = PSI) -> Tensor:
    """Sums over the earlier elements of the same segment, for every element of a list.

    Args:
        decay: (T,) float64 in [0, 1], e^-(gap to the element before); 0 where a segment starts. Within a segment the
            list is sorted, so that distances are sums of gaps.
        amount: (T,) float64 factor a_i of each element's contribution to later ones; 1 if None.
        psi: the coefficients.

    Returns:
        (2, T) float64: sum_{i before j} a_i psi(distance), and the same with phi.
    """
    result = decay.new_empty((2, decay.numel()))
    tiles = _tiles(decay)
    longest = max((stop - start for start, stop in tiles), default=0)
    n = len(psi)
    powers, state = _memory(decay, n * _BLOCK * -(-longest // _BLOCK))
    coefficients = torch.tensor(
        [psi, [b / m for m, b in enumerate(psi, start=1)]], dtype=decay.dtype, device=decay.device
    )
    for start, stop in tiles:
        blocks = -(-(stop - start) // _BLOCK)
        shape = (_BLOCK, n, blocks)
        size = n * _BLOCK * blocks
        tile_amount = None if amount is None else amount[start:stop]
        _scan(decay[start:stop], tile_amount, powers[:size].view(shape), state[:size].view(shape))
        sums = coefficients @ state[:size].view(shape)
        result[:, start:stop] = sums.permute(1, 2, 0).reshape(2, -1)[:, : stop - start]
    return result


def _memory(like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Two arrays of ``size`` elements; on a CPU the thread's own, as fresh pages cost more than arithmetic."""
    if like.device.type != "cpu" or size > len(PSI) * 2 * _TILE:
        return like.new_empty(size), like.new_empty(size)
    kept = getattr(_of_thread, "memory", None)
    if kept is None or kept.shape[1] < size:
        kept = _of_thread.memory = like.new_empty((2, size))
    return kept[0, :size], kept[1, :size]


def _tiles(decay: Tensor) -> list[tuple[int, int]]:
    """Slices that begin where a segment does and hold about :data:`_TILE` elements, or one segment if it is longer."""
    T = decay.numel()
    if T <= _TILE or decay.device.type != "cpu":
        return [(0, T)] if T else []
    starts = (decay == 0).nonzero().squeeze(1)
    wanted = torch.arange(_TILE, T, _TILE)
    cuts = starts[torch.searchsorted(starts, wanted, right=True).sub_(1).clamp_(min=0)]
    edges = torch.unique(torch.cat([cuts, torch.tensor([0, T])])).tolist()
    return list(itertools.pairwise(edges))


def _scan(decay: Tensor, amount: Tensor | None, powers: Tensor, state: Tensor) -> None:
    """Fill ``state`` with F_m of every element, in two levels: within blocks, then what enters each block.

    ``powers`` is scratch. Both are (place in block, n, block), so that a step is one operation on contiguous memory.
    """
    blocks = state.shape[2]
    t = _in_blocks(decay, blocks)
    _powers(t, powers)
    # added[j]: what the element before j contributes to j's state, be it the last one of the block before.
    added = powers
    if amount is not None:
        earlier = torch.cat([amount.new_zeros(1), amount[:-1]])
        added = powers * _in_blocks(earlier, blocks).unsqueeze(1)
    state[0] = added[0]
    steps = zip(added.unbind()[1:], state.unbind(), powers.unbind()[1:], state.unbind()[1:], strict=False)
    for more, before, power, after in steps:
        torch.addcmul(more, before, power, out=after)
    through = powers
    _powers(t.cumprod(dim=0), through)  # e^(-m x), x the distance from the end of the block before
    entering = _entering(state[-1].clone(), through[-1].clone())
    state[..., 1:].addcmul_(through[..., 1:], entering)


def _in_blocks(values: Tensor, blocks: int) -> Tensor:
    """(place in block, block), with 0 past the end."""
    padded = values.new_zeros(blocks * _BLOCK)
    padded[: values.numel()] = values
    return padded.view(blocks, _BLOCK).t().contiguous()


def _powers(t: Tensor, out: Tensor) -> None:
    """Fill ``out`` (place, n, block) with t^1 .. t^n, each the product of two lower powers."""
    out[:, 0] = t
    known = 1
    while known < out.shape[1]:
        more = min(known, out.shape[1] - known)
        torch.mul(out[:, :more], out[:, known - 1 : known], out=out[:, known : known + more])
        known += more


def _entering(left: Tensor, through: Tensor) -> Tensor:
    """(n, blocks - 1) state that enters each block but the first, by doubling: x_b = left_b + through_b x_(b-1).

    Args:
        left: (n, blocks) state at the last element of each block without what entered it. Overwritten.
        through: (n, blocks) decay across each block. Overwritten.
    """
    step = 1
    # Nothing passes the start of a segment: there the decay is 0, and it stays 0.
    while step < left.shape[1] and bool(through[0, step:].any()):
        across = through[:, step:]
        left[:, step:] += across * left[:, :-step]
        across.copy_(across * through[:, :-step])
        step *= 2
    return left[:, :-1]
