"""Min-max scaling of each predicted score within its request."""

from __future__ import annotations

import torch
from torch import Tensor


def min_max(pxtr: Tensor, mask: Tensor) -> Tensor:
    """(p - min) / (max - min) over a request's valid candidates, each objective by itself.

    The unit of an objective drops out, so that seconds and rare probabilities can share one weighted sum. A constant
    objective, and a single candidate's, is 0. The released IntEL code adds 1e-6 to the range instead, by which scores
    of that order (a rare interaction's) shrink.

    Args:
        pxtr: (B, N, K) finite where valid.
        mask: (B, N) bool, the valid candidates.

    Returns:
        (B, N, K) in [0, 1]; 0 on padding.
    """
    valid = mask.unsqueeze(-1)
    low = pxtr.masked_fill(~valid, torch.inf).amin(dim=1, keepdim=True)
    span = pxtr.masked_fill(~valid, -torch.inf).amax(dim=1, keepdim=True) - low
    return torch.where(valid, (pxtr - low) / torch.where(span > 0, span, 1), 0)
