"""What HarmonRank reads of a request: one embedding per predicted score, the scaled scores, and the user vector."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import RequestBatch, Schema

Bucketing = Literal["equal_distance", "quantile"]

RANGE_QUANTILES = (0.001, 0.999)
"""The buckets span these quantiles of the training scores (resolution R3): between 0 and 1, a rare interaction's
scores would share a handful of buckets, and between the extremes a single outlier would do the same."""

EMBEDDING_STD = 0.1
"""Of the initial embeddings. A bucket that no training row has met keeps its initial vector, which must not outweigh
what was learnt."""


class ScoreInputs(NamedTuple):
    """``embedding`` (B, N, K, d), ``scaled`` (B, N, K) scores, and ``user`` (B, U), with U = 0 if there is none."""

    embedding: Tensor
    scaled: Tensor
    user: Tensor


class ScoreFeatures(nn.Module):
    """Discretised embeddings of the K predicted scores (HarmonRank, arXiv 2601.02955, eq. 21), and the user vector.

    ``e_m = Table_m[bucket(p_m)]``. The range and the edges of the buckets are fitted to training requests
    (:meth:`fit`) and are part of the state; before that the range is [0, 1]. Scores outside the range belong to the
    first and the last bucket. The user vector is the concatenation of the embedded user and context features.

    Args:
        schema: names and sizes of the columns.
        width: d, the size of a score's embedding.
        buckets: number of buckets of each objective.
        bucketing: ``equal_distance`` divides the range into equal parts (the paper); ``quantile`` puts equally many
            training scores into each.
        discretization: False is the paper's ablation: no buckets, each objective's scaled score goes through a
            linear map 1 -> d of its own.
        user: embed the user and context features; False leaves U = 0.
        embedding_width: size of each user or context feature's embedding.

    Raises:
        EmerError: a size is too small or ``bucketing`` is unknown.
    """

    low: Tensor
    span: Tensor
    edges: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        width: int,
        buckets: int,
        bucketing: Bucketing,
        discretization: bool,
        user: bool,
        embedding_width: int,
    ) -> None:
        super().__init__()
        for key, size, least in (("width", width, 1), ("buckets", buckets, 2), ("embedding_width", embedding_width, 1)):
            if size < least:
                raise EmerError(f"method.model.{key} is {size}; it must be at least {least}")
        if bucketing not in get_args(Bucketing):
            allowed = ", ".join(get_args(Bucketing))
            raise EmerError(f"method.model.bucketing is {bucketing!r}; it must be one of {allowed}")
        K = len(schema.objectives)
        self.buckets, self.bucketing, self.discretization = buckets, bucketing, discretization
        self.register_buffer("low", torch.zeros(K))
        self.register_buffer("span", torch.ones(K))
        if discretization:
            # All tables in one, objective m from row m * buckets on.
            self.table = nn.Embedding(K * buckets, width)
            nn.init.normal_(self.table.weight, std=EMBEDDING_STD)
            self.register_buffer("edges", torch.linspace(0, 1, buckets + 1)[1:-1].repeat(K, 1))
        else:
            self.weight = nn.Parameter(torch.empty(K, width).uniform_(-1, 1))
            self.bias = nn.Parameter(torch.empty(K, width).uniform_(-1, 1))
        categories = schema.user_categories + schema.context_categories if user else ()
        self.user = nn.ModuleList(nn.Embedding(category.size, embedding_width) for category in categories)
        self.user_width = len(categories) * embedding_width

    @torch.no_grad()
    def fit(self, batch: RequestBatch) -> None:
        """Set range and edges by the valid candidates of ``batch``, exposed or not: all of them will be scored."""
        ordered = batch.pxtr[batch.mask].double().sort(dim=0).values
        low, high = _quantiles(ordered, torch.tensor(RANGE_QUANTILES, dtype=torch.float64))
        # A constant objective keeps span 1, so that it becomes 0 instead of a division by nothing.
        span = torch.where(high > low, high - low, 1.0)
        self.low.copy_(low)
        self.span.copy_(span)
        if not self.discretization:
            return
        inner = torch.arange(1, self.buckets, dtype=torch.float64, device=ordered.device) / self.buckets
        if self.bucketing == "quantile":
            self.edges.copy_(_quantiles(ordered, inner).T)
        else:
            self.edges.copy_(low.unsqueeze(1) + span.unsqueeze(1) * inner)

    def bucket(self, pxtr: Tensor) -> Tensor:
        """(B, N, K) int64 in [0, buckets): how many edges are at or below each score."""
        columns = pxtr.flatten(0, 1).T.contiguous()
        return torch.searchsorted(self.edges, columns, right=True).T.reshape(pxtr.shape)

    def scaled(self, pxtr: Tensor) -> Tensor:
        """(B, N, K) scores with the fitted range as [0, 1]; beyond it where the score is."""
        return (pxtr - self.low) / self.span

    def forward(self, batch: RequestBatch) -> ScoreInputs:
        """The inputs of HarmonRank; finite on padding."""
        scaled = self.scaled(batch.pxtr)
        if self.discretization:
            first = torch.arange(scaled.shape[-1], device=scaled.device) * self.buckets
            embedding = self.table(self.bucket(batch.pxtr) + first)
        else:
            embedding = scaled.unsqueeze(-1) * self.weight + self.bias
        ids = torch.cat([batch.user_categories, batch.context_categories], dim=-1)
        vectors = [table(ids[:, i]) for i, table in enumerate(self.user)]
        return ScoreInputs(embedding, scaled, torch.cat(vectors, dim=-1) if vectors else scaled.new_zeros(len(ids), 0))


def _quantiles(ordered: Tensor, q: Tensor) -> Tensor:
    """(Q, K) for ``ordered`` (T, K): the nearest order statistics (``torch.quantile`` refuses long columns)."""
    return ordered[(q * (len(ordered) - 1)).round().long().to(ordered.device)]
