"""HarmonRank's fusion network (arXiv 2601.02955): attention over the objectives, a gate, and a linear path."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.score_features import Bucketing, ScoreFeatures
from emer.requests import RequestBatch, Schema


@dataclass
class HarmonRankConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/harmonrank.yaml."""

    _target_: str = "emer.models.harmonrank.HarmonRank"
    width: int = MISSING
    embedding_width: int = MISSING
    buckets: int = MISSING
    bucketing: str = MISSING
    self_attention: bool = MISSING
    personalization: bool = MISSING
    cross_attention: bool = MISSING
    gate: bool = MISSING
    linear: bool = MISSING
    discretization: bool = MISSING


class ObjectiveAttention(nn.Module):
    """Single-head self-attention over the K objectives of one candidate, without residual (eq. 11-13)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def matrix(self, embedding: Tensor) -> Tensor:
        """A = softmax(Q K' / sqrt d), (..., K, K) for (..., K, d): row m is what objective m attends to."""
        logits = self.query(embedding) @ self.key(embedding).transpose(-1, -2)
        return torch.softmax(logits / math.sqrt(embedding.shape[-1]), dim=-1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Z = A V, (..., K, d)."""
        return self.matrix(embedding) @ self.value(embedding)


class UserPooling(nn.Module):
    """Pools the objectives into one score by attention from the user vector (eq. 14-16).

    With ``user_width`` 0 there is nobody to ask: the values' mean, without query and keys.
    """

    def __init__(self, width: int, user_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(user_width, width) if user_width else None
        self.key = nn.Linear(width, width) if user_width else None
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, z: Tensor, user: Tensor) -> Tensor:
        """(B, N) for ``z`` (B, N, K, d) and ``user`` (B, U)."""
        value = self.value(z)
        if self.query is None or self.key is None:
            pooled = value.mean(dim=-2)
        else:
            logits = torch.einsum("bd,bnkd->bnk", self.query(user), self.key(z))
            share = torch.softmax(logits / math.sqrt(z.shape[-1]), dim=-1)
            pooled = torch.einsum("bnk,bnkd->bnd", share, value)
        return self.out(pooled).squeeze(-1)


class FlatPooling(nn.Module):
    """The ablation without cross-attention: one linear map of all encodings and the user vector."""

    def __init__(self, objectives: int, width: int, user_width: int) -> None:
        super().__init__()
        self.out = nn.Linear(objectives * width + user_width, 1)

    def forward(self, z: Tensor, user: Tensor) -> Tensor:
        """(B, N) for ``z`` (B, N, K, d) and ``user`` (B, U)."""
        shared = user.unsqueeze(1).expand(-1, z.shape[1], -1)
        return self.out(torch.cat([z.flatten(-2), shared], dim=-1)).squeeze(-1)


class HarmonRank(nn.Module):
    """s = s_rel + s_gate + s_lin for each candidate alone (eq. 20), from its predicted scores and the user vector.

    - s_rel, relation-aware: the objectives' embeddings attend to each other, then the user vector attends to them
      (:class:`ObjectiveAttention`, :class:`UserPooling`).
    - s_gate = w (g * e), g = sigmoid(W_g e + b_g), e the concatenated embeddings (eq. 17-18).
    - s_lin = w p (eq. 19). Here p is scaled so that the fitted range is [0, 1]: the same family of functions, but
      seconds and rare probabilities learn at the same rate.

    All projections have biases: 2 320 parameters for 5 objectives, d = 8 and a user vector of 32, tables aside. Item
    features are not read, and neither is any other candidate.

    Args:
        schema: the request log's columns.
        width: d, the size of a score's embedding.
        embedding_width: size of each user or context feature's embedding.
        buckets, bucketing: of :class:`emer.models.score_features.ScoreFeatures`.
        self_attention: False is an ablation: Z = E.
        personalization: False is an ablation: no user vector; the mean replaces the cross-attention's weights.
        cross_attention: False is an ablation: a linear map of the concatenated encodings and the user vector.
        gate: False is an ablation: g = 1.
        linear: False is an ablation: no s_lin.
        discretization: False is an ablation: a linear map of each scaled score instead of its table.

    Raises:
        EmerError: a size is too small, ``bucketing`` is unknown, or ``personalization`` is on and the schema has
            neither user nor context features.
    """

    candidates_alone = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 8,
        embedding_width: int = 8,
        buckets: int = 300,
        bucketing: Bucketing = "equal_distance",
        self_attention: bool = True,
        personalization: bool = True,
        cross_attention: bool = True,
        gate: bool = True,
        linear: bool = True,
        discretization: bool = True,
    ) -> None:
        super().__init__()
        if personalization and not schema.user_categories + schema.context_categories:
            raise EmerError(
                "method.model.personalization is true, but the request log has no user or context features; "
                "set it to false"
            )
        K = len(schema.objectives)
        self.features = ScoreFeatures(
            schema,
            width=width,
            buckets=buckets,
            bucketing=bucketing,
            discretization=discretization,
            user=personalization,
            embedding_width=embedding_width,
        )
        user_width = self.features.user_width
        self.attention = ObjectiveAttention(width) if self_attention else None
        self.pool = UserPooling(width, user_width) if cross_attention else FlatPooling(K, width, user_width)
        self.gate = nn.Linear(K * width, K * width) if gate else None
        self.gated = nn.Linear(K * width, 1)
        self.linear = nn.Linear(K, 1) if linear else None

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) unbounded scores; 0 on padding."""
        # All of it in full precision: the network is small, and half precision makes neighbouring scores equal.
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            embedding, scaled, user = self.features(batch)
            z = self.attention(embedding) if self.attention is not None else embedding
            e = embedding.flatten(-2)
            gated = e if self.gate is None else torch.sigmoid(self.gate(e)) * e
            scores = self.pool(z, user) + self.gated(gated).squeeze(-1)
            if self.linear is not None:
                scores = scores + self.linear(scaled).squeeze(-1)
        return scores.masked_fill(~batch.mask, 0.0)

    @property
    def has_attention(self) -> bool:
        """Whether there is self-attention between objectives to read."""
        return self.attention is not None

    def attention_matrix(self, batch: RequestBatch) -> Tensor:
        """(B, N, K, K) self-attention of each candidate (eq. 12); each row sums to 1. Not to be read on padding.

        Raises:
            EmerError: the model has no self-attention.
        """
        if self.attention is None:
            raise EmerError("method.model.self_attention is false: there is no attention between objectives to read")
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            return self.attention.matrix(self.features(batch).embedding)
