"""UAME's ranker (arXiv 2607.17092): EMER's network with a Gaussian score, a mean and a variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emer.models.ranker import EmerRanker, EmerRankerConfig
from emer.requests import RequestBatch

LARGEST_LOG_VARIANCE = 5.0
"""log sigma^2 stays within plus and minus this: pairs that are always right would pull the variance to 0."""


@dataclass
class UameRankerConfig(EmerRankerConfig):
    """Schema of ``method.model``; what the values mean stands in conf/method/uame.yaml."""

    _target_: str = "emer.models.uame.UameRanker"


class UameRanker(EmerRanker):
    """:class:`emer.models.ranker.EmerRanker` whose head gives mu and log sigma^2 = 5 tanh(z / 5); mu is the score.

    Args and errors: as there. It gives ``log_variance`` (B, N), 0 on padding.
    """

    outputs = 2
    gives = ("log_variance",)

    def forward_with_details(self, batch: RequestBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N) mu, and ``log_variance`` (B, N)."""
        mean, raw = self.head_outputs(batch).unbind(dim=-1)
        # Bounded smoothly, so that a gradient leads back from the bound.
        log_variance = LARGEST_LOG_VARIANCE * torch.tanh(raw / LARGEST_LOG_VARIANCE)
        return mean, {"log_variance": log_variance}
