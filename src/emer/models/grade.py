"""GRADE-style ranker (arXiv 2510.07919): a Dirichlet over fusion weights for each request, and a frozen copy of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.features import CandidateFeatures
from emer.requests import RequestBatch, Schema

Values = Literal["logit", "rank"]


@dataclass
class GradeRankerConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/grade.yaml."""

    _target_: str = "emer.models.grade.GradeRanker"
    width: int = MISSING
    head_width: int = MISSING
    embedding_width: int = MISSING
    values: str = MISSING
    anchor_after: int = MISSING


class ConcentrationNetwork(nn.Module):
    """alpha_k = 1 + softplus(MLP(mean over the candidates of SiLU(W x))): unimodal, without poles at the edges."""

    def __init__(self, schema: Schema, width: int, head_width: int, embedding_width: int) -> None:
        super().__init__()
        K = len(schema.objectives)
        self.features = CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=embedding_width)
        self.token = nn.Sequential(nn.Linear(self.features.width, width), nn.SiLU())
        self.head = nn.Sequential(nn.Linear(width, head_width), nn.SiLU(), nn.Linear(head_width, K))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """alpha (B, K) for ``features`` (B, N, F)."""
        tokens = self.token(features).masked_fill(~mask.unsqueeze(-1), 0.0)
        pooled = tokens.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return 1 + F.softplus(self.head(pooled))


class GradeRanker(nn.Module):
    """s_i = sum_k E[w_k] v_ik with w ~ Dirichlet(alpha), E[w_k] = alpha_k / sum alpha, alpha of the request.

    It gives ``concentration`` alpha (B, K), ``values`` v (B, N, K), and ``anchor_concentration`` (B, K) of a frozen
    copy of the network, without gradient. The copy is made when ``forward_with_details`` is called for training for the
    ``anchor_after`` + 1st time; until then the network is its own anchor. Copy and count are part of the state.

    Args:
        schema: the request log's columns.
        width: size of a candidate's token, whose mean represents the request.
        head_width: hidden size of the MLP.
        embedding_width: size of each categorical feature's embedding.
        values: ``logit`` fuses standardised logits (log of seconds), ``rank`` the places in the request as
            rank gap / n, 1 for the best and -1 for the worst, nearly.
        anchor_after: training batches before the anchor is fixed; the objective's ``warm_start_steps``.

    Raises:
        EmerError: a size is below 1, ``anchor_after`` negative, or ``values`` unknown.
    """

    gives = ("concentration", "values", "anchor_concentration")
    batches: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        head_width: int = 32,
        embedding_width: int = 8,
        values: Values = "logit",
        anchor_after: int = 200,
    ) -> None:
        super().__init__()
        for key, size in (("width", width), ("head_width", head_width), ("embedding_width", embedding_width)):
            if size < 1:
                raise EmerError(f"method.model.{key} is {size}; it must be at least 1")
        if anchor_after < 0:
            raise EmerError(f"method.model.anchor_after is {anchor_after}; it must be 0 or more")
        if values not in get_args(Values):
            raise EmerError(f"method.model.values is {values!r}; it must be one of {', '.join(get_args(Values))}")
        self.values: Values = values
        self.anchor_after = anchor_after
        # Where the pxtrs stand among the features: behind the item numbers.
        first = len(schema.item_numbers)
        self.columns = slice(first, first + len(schema.objectives))
        self.policy = ConcentrationNetwork(schema, width, head_width, embedding_width)
        self.anchor = copy.deepcopy(self.policy).requires_grad_(False)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @property
    def features(self) -> CandidateFeatures:
        """The policy's input, whose statistics training sets."""
        return self.policy.features

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, 0 on padding."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            return self._scored(batch)[0]

    def forward_with_details(self, batch: RequestBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N) scores, and what :attr:`gives` names."""
        if self.training:
            if int(self.batches) == self.anchor_after:
                self.anchor.load_state_dict(self.policy.state_dict())
            self.batches += 1
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            scores, concentration, values = self._scored(batch)
            anchor = concentration.detach()
            if int(self.batches) > self.anchor_after:
                with torch.no_grad():
                    anchor = self.anchor(self.anchor.features(batch), batch.mask)
        return scores, {"concentration": concentration, "values": values, "anchor_concentration": anchor}

    def _scored(self, batch: RequestBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, N), alpha (B, K), values (B, N, K)."""
        features = self.features(batch)
        concentration = self.policy(features, batch.mask)
        if self.values == "logit":
            values = features[..., self.columns]
        else:
            values = batch.rank_gap / batch.mask.sum(dim=1).clamp(min=1).view(-1, 1, 1)
        values = values.masked_fill(~batch.mask.unsqueeze(-1), 0.0)
        weights = concentration / concentration.sum(dim=-1, keepdim=True)
        return (weights.unsqueeze(1) * values).sum(dim=-1), concentration, values
