"""Who stands in the first k places: the one selection under all metrics of :mod:`emer.metrics.topk`."""

from __future__ import annotations

import torch
from torch import Tensor

from emer.ranking import descending_order

LONGEST_SELECTION = 64
"""A longer list is cut from a full sort instead."""


def first_places(values: Tensor, k: int, where: Tensor) -> tuple[Tensor, Tensor]:
    """The k best valid candidates by ``values``, best first, the earlier one first among equals.

    Args:
        values: (B, N, K) without NaN where valid.
        k: at least 1.
        where: (B, N) bool.

    Returns:
        (position, placed): (B, min(k, N), K) int64 and (B, min(k, N), 1) bool, False past the request's last candidate,
        where the position means nothing.

    Raises:
        ValueError: ``k`` is below 1, ``where`` is not bool, or a shape does not fit.
    """
    if k < 1:
        raise ValueError(f"k is {k}; a list has at least 1 place")
    if values.dim() != 3:
        raise ValueError(f"values have shape {tuple(values.shape)}, expected (B, N, K)")
    if where.dtype != torch.bool or where.shape != values.shape[:2]:
        raise ValueError(f"where must be bool {tuple(values.shape[:2])}, not {where.dtype} {tuple(where.shape)}")
    places = min(k, values.shape[1])
    placed = torch.arange(places, device=where.device) < where.sum(dim=-1, keepdim=True)
    if values.device.type != "cpu":
        position = descending_order(values.transpose(1, 2), where.unsqueeze(1))[..., :places].transpose(1, 2)
    elif places <= LONGEST_SELECTION:
        position = _selected(values, places, where)
    else:
        position = _sorted(values, places, where)
    return position, placed.unsqueeze(-1)


def values_at(values: Tensor, position: Tensor, placed: Tensor) -> Tensor:
    """(B, k, K) float ``values`` (B, N, K) in the first places (B, k, K) or (B, k, 1), 0 past the last candidate."""
    if len(values) != len(position):
        raise ValueError(f"values of {len(values)} requests do not fit scores of {len(position)}")
    position = position.expand(-1, -1, values.shape[-1])
    return values.gather(1, position).to(float_of(values)).masked_fill(~placed, 0)


def float_of(values: Tensor) -> torch.dtype:
    """Type of a metric of ``values``."""
    return values.dtype if values.is_floating_point() else torch.float32


def _selected(values: Tensor, places: int, where: Tensor) -> Tensor:
    # Here, since importing Numba takes seconds.
    from emer.kernels.runtime import run_rows
    from emer.kernels.selection import best_positions

    v, valid = _comparable(values).contiguous().numpy(), where.contiguous().numpy()
    position = torch.empty((len(v), places, v.shape[2]), dtype=torch.int64)
    p = position.numpy()
    run_rows(lambda a, z: best_positions(v[a:z], valid[a:z], p[a:z]), len(v), v.size)
    return position


def _sorted(values: Tensor, places: int, where: Tensor) -> Tensor:
    from emer.kernels.runtime import run_rows
    from emer.kernels.sorting import LOW_BITS, sorted_positions

    B, N, K = values.shape
    # Ascending, ties by position, so the largest must look least; masked places have infinity to themselves.
    negative = -_comparable(values).transpose(1, 2).reshape(B * K, N)
    v = negative.clamp(max=torch.finfo(negative.dtype).max).contiguous().numpy()
    valid = where.unsqueeze(1).expand(B, K, N).reshape(B * K, N).contiguous().numpy()
    position = torch.empty((B * K, places), dtype=torch.int64)
    p = position.numpy()

    def work(start: int, stop: int) -> None:
        order, _ = sorted_positions(v[start:stop], valid[start:stop])
        p[start:stop] = order[:, :places] & LOW_BITS

    run_rows(work, B * K, v.size)
    return position.view(B, K, places).transpose(1, 2)


def _comparable(values: Tensor) -> Tensor:
    """``values`` in a float type that keeps them (integers below 2**53)."""
    values = values.detach()
    if values.dtype in (torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16):
        return values.float()
    return values if values.dtype == torch.float32 else values.double()
