"""UMRE's ranker (arXiv 2508.07613): a monotone function of each pxtr, and a request's weights over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.features import CandidateFeatures
from emer.models.monotone import MonotoneScores
from emer.requests import RequestBatch, Schema

WeightScope = Literal["request", "candidate"]


@dataclass
class UmreRankerConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/umre.yaml."""

    _target_: str = "emer.models.umre.UmreRanker"
    width: int = MISSING
    hidden: int = MISSING
    nodes: int = MISSING
    embedding_width: int = MISSING
    weight_scope: str = MISSING


class UmreRanker(nn.Module):
    """s_i = sum_k w_k t_ik (UMRE, docs/rivals.md).

    - t_ik is strictly increasing in pxtr k of candidate i (:class:`emer.models.monotone.MonotoneScores`). It integrates
      over the standardised logit of a probability, and log of seconds, since an integral up to a probability of 1e-4
      has no room to bend; both are increasing in the pxtr (above 1e-6, where the logit is cut). Its MLPs also see the
      candidate's item features and the user and context embeddings.
    - w = softmax_k(q . key_k / sqrt d) > 0: the user vector q attends to the transformed scores,
      key_k = e_k + t_k v_k with vectors e, v learnt. The paper's user vector comes from the user's history, which the
      request log does not have: here it is made of the user and context embeddings and the mean features of the
      request's candidates.

    With the weights of the whole request, a candidate that has the same item features as another and no smaller pxtr is
    never ranked below it.

    Args:
        schema: the request log's columns.
        width: d, the size of the user vector and the keys.
        hidden: hidden size of each objective's monotone network.
        nodes: places at which the networks are evaluated for their integrals, at least 2.
        embedding_width: size of each categorical feature's embedding.
        weight_scope: ``request`` attends to the means over the candidates, so that all candidates have the same
            weights; ``candidate`` to each candidate's own scores, whose order by s then need not keep the pxtrs'.

    Raises:
        EmerError: a size is too small, or ``weight_scope`` is unknown.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        hidden: int = 16,
        nodes: int = 32,
        embedding_width: int = 8,
        weight_scope: WeightScope = "request",
    ) -> None:
        super().__init__()
        sizes = (
            ("width", width, 1),
            ("hidden", hidden, 1),
            ("nodes", nodes, 2),
            ("embedding_width", embedding_width, 1),
        )
        for key, size, least in sizes:
            if size < least:
                raise EmerError(f"method.model.{key} is {size}; it must be at least {least}")
        if weight_scope not in get_args(WeightScope):
            allowed = ", ".join(get_args(WeightScope))
            raise EmerError(f"method.model.weight_scope is {weight_scope!r}; it must be one of {allowed}")
        self.weight_scope: WeightScope = weight_scope
        self.features = CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=embedding_width)
        K, self.first = len(schema.objectives), len(schema.item_numbers)
        self.monotone = MonotoneScores(K, self.features.width - K, hidden=hidden, nodes=nodes)
        self.user = nn.Sequential(nn.Linear(self.features.width, width), nn.SiLU(), nn.Linear(width, width))
        self.key = nn.Parameter(torch.randn(K, width))
        self.key_slope = nn.Parameter(torch.randn(K, width))

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, 0 on padding."""
        # In full precision: neighbouring scores would become equal in half precision.
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            features, t = self._transformed(batch)
            scores = (self._weights(features, t, batch.mask) * t).sum(dim=-1)
        return scores.masked_fill(~batch.mask, 0.0)

    def transformed(self, batch: RequestBatch) -> Tensor:
        """t (B, N, K), 0 on padding."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            return self._transformed(batch)[1]

    def weights(self, batch: RequestBatch) -> Tensor:
        """w > 0, summing to 1 over the objectives: (B, 1, K), or (B, N, K), not to be read on padding."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            return self._weights(*self._transformed(batch), batch.mask)

    def _transformed(self, batch: RequestBatch) -> tuple[Tensor, Tensor]:
        """(features (B, N, F), t (B, N, K)), both 0 on padding."""
        features = self.features(batch).masked_fill(~batch.mask.unsqueeze(-1), 0.0)
        rows = features[batch.mask]
        # The pxtrs stand behind the item numbers.
        before, x, after = rows.split([self.first, len(self.key), rows.shape[1] - self.first - len(self.key)], dim=1)
        t = torch.zeros(*batch.pxtr.shape, dtype=rows.dtype, device=rows.device)
        t[batch.mask] = self.monotone(x, torch.cat([before, after], dim=1))
        return features, t

    def _weights(self, features: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        n = mask.sum(dim=1, keepdim=True).clamp(min=1)
        query = self.user(features.sum(dim=1) / n)
        attended = t.sum(dim=1, keepdim=True) / n.unsqueeze(-1) if self.weight_scope == "request" else t
        # q . (e_k + t_k v_k), without forming the keys.
        logits = (query @ self.key.T).unsqueeze(1) + (query @ self.key_slope.T).unsqueeze(1) * attended
        return torch.softmax(logits / math.sqrt(query.shape[-1]), dim=-1)
