"""Normalisation over a whole list: all its candidates and channels together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_EPSILON = 1e-6
"""Added to the variance. The public code has 1e-12, by which a list of equal values has gradients of rounding noise
times 1e6."""


class ListNorm(nn.Module):
    """y_id = gain_d (x_id - m) / sqrt(v + eps) + bias_d, m and v over all i, d of a request (UREM's list norm).

    Args:
        width: D, the number of channels.
        over_padding: let the places of padding into m and v, as the public code does; a request's values then depend
            on how far its batch was padded. Off, m and v are those of the valid candidates.
    """

    def __init__(self, width: int, *, over_padding: bool = False) -> None:
        super().__init__()
        self.over_padding = over_padding
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) from ``x`` (B, N, D) and ``mask`` (B, N) bool; 0 on padding unless ``over_padding``."""
        if self.over_padding:
            return self._scaled(x, x.mean(dim=(1, 2), keepdim=True), x.var(dim=(1, 2), correction=0, keepdim=True))
        valid = mask.unsqueeze(-1)
        x = torch.where(valid, x, 0)
        n = valid.sum(dim=1, keepdim=True).clamp(min=1) * x.shape[-1]
        mean = x.sum(dim=(1, 2), keepdim=True) / n
        variance = ((x - mean) * valid).square().sum(dim=(1, 2), keepdim=True) / n
        return self._scaled(x, mean, variance) * valid

    def _scaled(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return self.gain * (x - mean) * (variance + _EPSILON).rsqrt() + self.bias
