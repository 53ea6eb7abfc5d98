"""Sums of psi(x) = 1 / (1 + e^x) and phi(x) = log(1 + e^-x) over all pairs of a sorted list, in linear time.

With t = e^-x in (0, 1], psi = t / (1 + t) and phi = log(1 + t). Both are replaced by polynomials in t,

    psi_n(t) = sum_m b_m t^m,    phi_n(t) = sum_m (b_m / m) t^m,    m = 1 .. n,

so that e^(-m x) of a sum of gaps is a product of powers, and a list sorted by u needs one pass:

    F_m(j) = sum_{i < j} a_i e^(-m (u_j - u_i)) = (F_m(j - 1) + a_(j-1)) t_j^m,    t_j = e^-(u_j - u_(j-1)).

Decays are at most 1: nothing overflows, whatever the range of u. Where that range is small enough, F_m is a cumulative
sum times a power instead, which tensor libraries compute in fewer operations.

The polynomial comes in closed form from the Chebyshev polynomial T_n. With c = cos(pi / 2n), v(t) = -1 + (1 + c) t and
R(t) = T_n(v(t)) / T_n(v(-1)), take psi_n(t) = t (1 - R(t)) / (1 + t), where the division is exact as R(-1) = 1. Then
|psi_n / psi - 1| <= 1 / |T_n(2 + c)| on the whole of [0, inf), 1.2e-12 for n = 16; R(1) = 0 makes it 1/2 at
distance 0, exactly, so the loss stays differentiable where scores are equal; and phi_n' = -psi_n, so the gradient is
exactly that of the value returned.
"""

from __future__ import annotations

from typing import NamedTuple

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

_ENOUGH = 64
"""From this many lists on they are scanned whole: operations on so many at once pay for themselves."""

_LANES = 1024
"""Fewer lists are cut into about this many pieces, of 16 elements at least."""

_CACHED = 1 << 17
"""Numbers of the state that are worked on at a time, a megabyte, on a CPU."""

_LISTS = 1 << 15
"""Numbers of :func:`sums_in_lists` at a time on a CPU: several arrays of a quarter megabyte each."""

_SPREAD = 1200.0
"""Largest exponent e^1200 over the terms: half of it on either side of 1, far from the ends of float64."""


class BothSides(NamedTuple):
    """Attributes:
    below, above: (..., N) float64 sum of a_i psi(distance) over the elements below and above each element.
    soft: (..., N) float64 sum of a_i phi(distance) over the elements below.
    """

    below: Tensor
    above: Tensor
    soft: Tensor


def sums_below(decay: Tensor, amount: Tensor | None = None, psi: tuple[float, ...] = PSI) -> Tensor:
    """Sums over the earlier elements of the same segment, for every element of some lists.

    The lists are scanned side by side, element after element. Where they are few, each is cut into pieces, which are
    scanned twice: once for the state at their end, and again from the state that enters them.

    Args:
        decay: (R, N) float64 in [0, 1], e^-(gap to the element before); 0 where a segment starts, as a list does.
            Within a segment the list is sorted, so that distances are sums of gaps.
        amount: (R, N) float64 factor a_i of each element's contribution to later ones; 1 if None.
        psi: the coefficients.

    Returns:
        (2, R, N) float64: sum_{i before j} a_i psi(distance), and the same with phi.
    """
    R, N = decay.shape
    if decay.numel() == 0:
        return decay.new_zeros(2, R, N)
    pieces = 1 if R >= _ENOUGH else min(-(-_LANES // R), -(-N // 16))
    length = -(-N // pieces)
    t = _side_by_side(decay, pieces, length)
    # What the element before an element contributes to its state.
    added = None
    if amount is not None:
        earlier = torch.zeros_like(amount)
        earlier[:, 1:] = amount[:, :-1]
        added = _side_by_side(earlier, pieces, length)
    coefficients = torch.tensor([psi, [b / m for m, b in enumerate(psi, start=1)]], dtype=t.dtype, device=t.device)
    state = t.new_zeros(len(psi), t.shape[1])
    if pieces > 1:
        state = _entering(_scan(t, added, state, None, None), t.prod(dim=0))
    sums = t.new_empty(2, *t.shape)
    _scan(t, added, state, coefficients, sums)
    return sums.transpose(1, 2).reshape(2, R, pieces * length)[..., :N]


def sums_in_segments(u: Tensor, start: Tensor, amount: Tensor | None = None, psi: tuple[float, ...] = PSI) -> BothSides:
    """Sums over the other elements of the same segment, for every element of some lists.

    Args:
        u: (..., N) float64, ascending within segments; anything finite elsewhere.
        start: (..., N) bool, where a segment starts; the first element of a list does.
        amount: (..., N) float64, as in :func:`sums_below`.
        psi: the coefficients.
    """
    up, down = torch.zeros_like(u), torch.zeros_like(u)
    up[..., 1:] = torch.exp(u[..., :-1] - u[..., 1:]).masked_fill(start[..., 1:], 0)
    down[..., 1:] = up[..., 1:].flip(-1)
    rows = 2 * u.shape[:-1].numel(), u.shape[-1]
    both = None if amount is None else torch.stack([amount, amount.flip(-1)]).reshape(rows)
    sums = sums_below(torch.stack([up, down]).reshape(rows), both, psi).view(2, 2, *u.shape)
    return BothSides(sums[0, 0], sums[0, 1].flip(-1), sums[1, 0])


def sums_in_short_segments(u: Tensor, before: Tensor, longest: int, psi: tuple[float, ...] = PSI) -> BothSides:
    """:func:`sums_in_segments` pair by pair, at amounts of 1.

    Args:
        u: (T,) float64, ascending within segments.
        before: (T,) int64 number of elements of the same segment before each element.
        longest: number of elements of the longest segment.
        psi: the coefficients.
    """
    below, above, soft = torch.zeros_like(u), torch.zeros_like(u), torch.zeros_like(u)
    for offset in range(1, longest):
        later = (before >= offset).nonzero().squeeze(1)
        earlier = later - offset
        t = torch.exp(u[earlier] - u[later])
        part, soft_part = torch.zeros_like(t), torch.zeros_like(t)
        for m in range(len(psi), 0, -1):
            part.add_(psi[m - 1]).mul_(t)
            soft_part.add_(psi[m - 1] / m).mul_(t)
        below[later] += part
        above[earlier] += part
        soft[later] += soft_part
    return BothSides(below, above, soft)


def sums_in_lists(u: Tensor, valid: Tensor, amount: Tensor | None = None, psi: tuple[float, ...] = PSI) -> BothSides:
    """:func:`sums_in_segments` where each list is one segment, faster unless scores are far apart.

    F_m(j) e^(m u_j) is then a cumulative sum of a_i e^(m u_i), in which nothing cancels. It overflows for scores far
    apart, which the scan is left for.

    Args:
        u: (..., N) float64, valid elements first and ascending; anything finite behind them.
        valid: (..., N) bool.
        amount: (..., N) float64, as in :func:`sums_below`, 0 where not valid.
        psi: the coefficients.

    Returns:
        Sums, 0 where not valid.
    """
    if u.numel() == 0:
        return BothSides(u, u, u)
    lowest = u[..., :1]
    x = (u - lowest).masked_fill(~valid, 0)
    spread = x.amax(dim=-1, keepdim=True)
    if bool((spread > _SPREAD / len(psi)).any()):
        start = ~valid
        start[..., 0] = True
        sums = sums_in_segments(u, start, valid.double() if amount is None else amount, psi)
        return BothSides(*(side.masked_fill(~valid, 0) for side in sums))
    shape, N = u.shape, u.shape[-1]
    # What is not valid stands at the end, where no sum over earlier elements overflows.
    x, mask = (torch.where(valid, x, spread) - spread / 2).reshape(-1, N), valid.reshape(-1, N)
    weight = None if amount is None else amount.reshape(-1, N)
    if weight is None and not bool(mask.all()):
        weight = mask.double()
    step = max(1, _LISTS // (2 * N)) if u.device.type == "cpu" else len(x)
    parts = [
        _cumulated(x[i : i + step], None if weight is None else weight[i : i + step], psi)
        for i in range(0, len(x), step)
    ]
    below, above, soft = (torch.cat(side) for side in zip(*parts, strict=True))
    sums = BothSides(below.view(shape), above.view(shape), soft.view(shape))
    return sums if weight is None else BothSides(*(side * valid for side in sums))


def _cumulated(x: Tensor, amount: Tensor | None, psi: tuple[float, ...]) -> BothSides:
    """:func:`sums_in_lists` for x (R, N) around 0, both directions of each list beside each other."""
    e = x.exp()
    i = e.reciprocal()
    growth, decay = torch.stack([e, i.flip(-1)]), torch.stack([i, e.flip(-1)])
    p = growth.clone() if amount is None else growth * torch.stack([amount, amount.flip(-1)])
    q, upto = decay.clone(), torch.empty_like(p)
    sums, soft = torch.zeros_like(p), torch.zeros_like(e)
    # Each element's sum ends with the element before it.
    earlier, here, total, soft_here = upto[..., :-1], q[..., 1:], sums[..., 1:], soft[..., 1:]
    for m, b in enumerate(psi, start=1):
        if m > 1:
            p *= growth
            q *= decay
        torch.cumsum(p, dim=-1, out=upto)
        total.addcmul_(here, earlier, value=b)
        soft_here.addcmul_(here[0], earlier[0], value=b / m)
    return BothSides(sums[0], sums[1].flip(-1), soft)


def _side_by_side(values: Tensor, pieces: int, length: int) -> Tensor:
    """(R, N) as (place, lane): every row cut into ``pieces`` of ``length``, with 0 past its end."""
    R, N = values.shape
    padded = torch.nn.functional.pad(values, (0, pieces * length - N)) if pieces * length > N else values
    return padded.reshape(R * pieces, length).t().contiguous()


def _scan(t: Tensor, added: Tensor | None, state: Tensor, coefficients: Tensor | None, out: Tensor | None) -> Tensor:
    """Run F_m along the places of ``t`` (place, lane), from ``state`` (n, lane); return it at the last place.

    ``out`` (2, place, lane) gets the sums that ``coefficients`` (2, n) make of it, unless None.
    """
    (length, lanes), n = t.shape, len(state)
    some = min(length, max(1, _CACHED // (n * lanes))) if t.device.type == "cpu" else length
    powers, states = t.new_empty(n * some * lanes), t.new_empty(n * some * lanes)
    for start in range(0, length, some):
        stop = min(start + some, length)
        shape = (n, stop - start, lanes)
        p, f = (x[: n * (stop - start) * lanes].view(shape) for x in (powers, states))
        _fill_powers(t[start:stop], p)
        a = p if added is None else p * added[start:stop]
        for power, more, now in zip(p.unbind(1), a.unbind(1), f.unbind(1), strict=True):
            state = torch.addcmul(more, state, power, out=now)
        if coefficients is not None and out is not None:
            out[:, start:stop] = (coefficients @ f.view(n, -1)).view(2, -1, lanes)
        state = state.clone()
    return state


def _fill_powers(t: Tensor, out: Tensor) -> None:
    """Fill ``out`` (n, ...) with t^1 .. t^n, each the product of two lower powers."""
    out[0] = t
    known = 1
    while known < len(out):
        more = min(known, len(out) - known)
        torch.mul(out[:more], out[known - 1], out=out[known : known + more])
        known += more


def _entering(left: Tensor, across: Tensor) -> Tensor:
    """(n, lane) state that enters each piece, by doubling: x_b = left_b + across_b x_(b-1) leaves piece b.

    Args:
        left: (n, lane) state at the last element of each piece without what entered it. Overwritten.
        across: (lane,) decay across each piece, 0 if a segment starts in it: nothing passes there.
    """
    through = torch.empty_like(left)
    _fill_powers(across, through)
    step = 1
    while step < left.shape[1] and bool(through[0, step:].any()):
        left[:, step:] += through[:, step:] * left[:, :-step]
        through[:, step:] = through[:, step:] * through[:, :-step]
        step *= 2
    return torch.cat([torch.zeros_like(left[:, :1]), left[:, :-1]], dim=1)
