"""What a user did in a request as a distribution, and IntEL's loss of predicting it (Li et al., SIGIR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from emer.requests import RequestBatch

DISTILLATION = 2.0**2
"""T^2 for the released code's T = 2, which it has as this factor only: nothing is divided by T."""

_LEAST = 1e-6
"""1 - p is not taken for less, so that a cell which has all probability but no feedback costs 14 and not infinity."""


def intent_counts(batch: RequestBatch, group: Tensor, cells: int) -> Tensor:
    """(B, I) how often each (positive label p, group c) was given in a request, in the order p C + c.

    Args:
        batch: the requests; labels of unexposed candidates are not read.
        group: (B, N) int64 c of each candidate, in [0, C).
        cells: I = P C, a multiple of the number P of labels that count towards satisfaction.

    Raises:
        ValueError: ``cells`` is no multiple of P.
    """
    given = batch.label[..., list(batch.schema.positive_indices)] * batch.exposed.unsqueeze(-1)
    B, N, P = given.shape
    if not P or cells % P:
        raise ValueError(f"an intent of {cells} cells does not fit {P} positive feedback labels")
    cell = torch.arange(P, device=group.device) * (cells // P) + group.unsqueeze(-1)
    return given.new_zeros(B, cells).scatter_add(1, cell.view(B, N * P), given.view(B, N * P))


def intent_loss(log_probability: Tensor, counts: Tensor, smoothing: float = 1e-3) -> Tensor:
    """L_int = 1/2 CE + 1/2 T^2 KL of each request, t = counts / sum of counts:

        CE = - sum_{t_c > 0} t_c log p_c - sum_{t_c = 0} log(1 - p_c),   KL = sum_c t'_c log(t'_c / p_c),

    with t' = (1 - smoothing) t + smoothing / I. CE reads t itself: in t' no cell is empty, and its second sum would be
    gone.

    Args:
        log_probability: (B, I) log p.
        counts: (B, I) >= 0.
        smoothing: share of the uniform distribution in t', in (0, 1).

    Returns:
        (B,); 0, without gradient, for a request without counts.
    """
    some = counts.sum(dim=-1) > 0
    log_p = torch.where(some.unsqueeze(-1), log_probability, 0)
    t = counts.to(log_p.dtype) / counts.sum(dim=-1, keepdim=True).clamp(min=1)
    smooth = (1 - smoothing) * t + smoothing / counts.shape[-1]
    elsewhere = torch.log((-torch.expm1(log_p)).clamp(min=_LEAST))
    ce = -(t * log_p + torch.where(t > 0, 0, elsewhere)).sum(dim=-1)
    kl = (smooth * (smooth.log() - log_p)).sum(dim=-1)
    return torch.where(some, 0.5 * ce + 0.5 * DISTILLATION * kl, 0)
