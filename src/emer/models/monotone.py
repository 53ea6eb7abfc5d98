"""Unconstrained monotone networks (Wehenkel and Louppe 2019): the integral of a positive function increases."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_LARGEST_PART = 1 << 22
"""Hidden activations that are in memory at a time; what the backward pass needs of the others is computed again."""


def clenshaw_curtis(nodes: int) -> tuple[Tensor, Tensor]:
    """Abscissae and weights of Clenshaw-Curtis quadrature on [0, 1], exact for polynomials of degree < ``nodes``.

    With n = nodes - 1: x_j = (1 + cos(pi j / n)) / 2, and w_j the integrals of the interpolating cosine series.

    Args:
        nodes: at least 2, both ends among them.

    Returns:
        Two (nodes,) float64; the weights are positive and sum to 1.
    """
    n = nodes - 1
    theta = math.pi * torch.arange(nodes, dtype=torch.float64) / n
    k = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    factor = torch.where(2 * k == n, 1.0, 2.0) / (4 * k.square() - 1)
    weights = 1 - torch.cos(2 * theta.unsqueeze(1) * k) @ factor
    # The ends belong to one half of the circle each.
    weights[1:-1] *= 2
    return (1 + torch.cos(theta)) / 2, weights / (2 * n)


def positive_density(z: Tensor) -> Tensor:
    """ELU(z) + 1 > 0: z + 1 above 0, e^z below, where adding 1 to ELU would round to 0 from z = -17 on."""
    return torch.where(z > 0, z + 1, z.clamp(max=0).exp())


class MonotoneScores(nn.Module):
    """t_k = c_k + integral from 0 to x_k of phi_k(u, h) du, phi_k = ELU(MLP_k([u; h])) + 1 (UMRE, arXiv 2508.07613).

    phi > 0, so t_k is strictly increasing in x_k for every h and all parameters: up to the errors of quadrature and
    rounding, which outweigh a density many orders below that in the rest of the interval. Below 0 the integral is
    negative. The K MLPs have one smooth hidden layer (SiLU) each: the quadrature converges geometrically for smooth
    functions. Their output starts near 0, so that t_k is near x_k.

    Args:
        scores: K.
        context: size of h.
        hidden: hidden size of each MLP.
        nodes: of the quadrature (:func:`clenshaw_curtis`).
    """

    position: Tensor
    share: Tensor

    def __init__(self, scores: int, context: int, *, hidden: int, nodes: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.offset = nn.Parameter(torch.zeros(scores))
        self.slope = nn.Parameter(torch.randn(scores, hidden))
        self.context = nn.Linear(context, scores * hidden)
        self.out = nn.Parameter(torch.randn(scores, hidden) * (0.1 / math.sqrt(hidden)))
        self.bias = nn.Parameter(torch.zeros(scores))
        # Constants of the settings, which no checkpoint needs.
        position, share = clenshaw_curtis(nodes)
        dtype = torch.get_default_dtype()
        self.register_buffer("position", position.to(dtype), persistent=False)
        self.register_buffer("share", share.to(dtype), persistent=False)

    def density(self, u: Tensor, context: Tensor) -> Tensor:
        """phi (T, K, J) at ``u`` (T, K, J), for ``context`` (T, H)."""
        bend = self.context(context).view(len(context), -1, 1, self.hidden)
        inside = F.silu(u.unsqueeze(-1) * self.slope.unsqueeze(1) + bend)
        return positive_density((inside * self.out.unsqueeze(1)).sum(dim=-1) + self.bias.unsqueeze(1))

    def integral(self, x: Tensor, context: Tensor) -> Tensor:
        """(T, K) integrals of phi from 0 to ``x`` (T, K)."""
        at = x.unsqueeze(-1) * self.position
        return x * (self.density(at, context) * self.share).sum(dim=-1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """t (T, K) for ``x`` (T, K) and ``context`` (T, H). O(T K nodes hidden) time."""
        size = max(1, _LARGEST_PART // (self.slope.numel() * len(self.position)))
        if len(x) <= size:
            return self.offset + self.integral(x, context)
        parts = zip(x.split(size), context.split(size), strict=True)
        integrals = [checkpoint(self.integral, some, around, use_reentrant=False) for some, around in parts]
        return self.offset + torch.cat(integrals)
