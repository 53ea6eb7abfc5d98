"""Pxtrs as embeddings of bins: the input half of UREM."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.features import CandidateFeatures
from emer.requests import RequestBatch, Schema, Unit

Binning = Literal["quantile", "log", "equal"]

_INIT = (0.0, 0.2)
"""Mean and deviation of the initial embeddings. At the published ones the attention through points gives all candidates
of a request the same vector, up to float32's rounding."""

_PUBLISHED_INIT = (0.01, 0.02)

_SMALLEST = 1e-6
_RANGE = ((math.floor, 0.001), (math.ceil, 0.999))
"""Where the sorted values' range ends: between the extremes, one outlier would leave most bins empty."""

_TYPICAL_SECONDS = 10.0


class BinnedPxtrs(nn.Module):
    """One embedding per objective and bin, concatenated; the bins are fitted on training requests (:meth:`fit`).

    A value p is in the bin with the number of edges <= p. With b bins the b - 1 edges are

    - ``quantile``: the values at the places floor(j T / b), j = 1 .. b - 1, of the T sorted ones: equally many
      candidates in each bin;
    - ``log``: equally spaced on a log scale, from the values' quantile 0.001 (at least 1e-6) to 0.999;
    - ``equal``: equally wide over [0, 1], for seconds over [0, quantile 0.999]. The public code's rule; a rare
      objective then lies in a handful of the bins.

    Before :meth:`fit` they are equally wide over [0, 1].

    Args:
        schema: names and sizes of the columns.
        bins: b, per objective.
        binning: see above.
        embedding_width: size of a bin's embedding, and of each categorical feature's.
        token_dropout: rate at which, in training, the embedding of one candidate and objective is replaced by 0.
        use_features: append the user, context and item features of :class:`emer.models.features.CandidateFeatures`.
        published_init: draw the embeddings from N(0.01, 0.02^2), as the public code does, instead of N(0, 0.2^2).

    Raises:
        EmerError: an option is out of range, or ``use_features`` is set and the log has none.
    """

    edges: Tensor
    median_seconds: Tensor
    first_row: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        bins: int,
        binning: Binning,
        embedding_width: int,
        token_dropout: float,
        use_features: bool,
        published_init: bool = False,
    ) -> None:
        super().__init__()
        if bins < 2:
            raise EmerError(f"method.model.bins is {bins}; it must be at least 2")
        if binning not in get_args(Binning):
            raise EmerError(f"method.model.binning is {binning!r}; it must be one of {', '.join(get_args(Binning))}")
        if embedding_width < 1:
            raise EmerError(f"method.model.embedding_width is {embedding_width}; it must be at least 1")
        if not 0 <= token_dropout < 1:
            raise EmerError(f"method.model.token_dropout is {token_dropout}; it must be in [0, 1)")
        K = len(schema.objectives)
        self.bins, self.binning, self.token_dropout = bins, binning, token_dropout
        self.seconds = [i for i, o in enumerate(schema.objectives) if o.unit is Unit.SECONDS]
        self.register_buffer("edges", _equally_wide(torch.ones(K), bins))
        self.register_buffer("median_seconds", torch.tensor(_TYPICAL_SECONDS))
        self.register_buffer("first_row", bins * torch.arange(K), persistent=False)
        self.table = nn.Embedding(K * bins, embedding_width)
        mean, std = _PUBLISHED_INIT if published_init else _INIT
        nn.init.normal_(self.table.weight, mean=mean, std=std)
        self.width = K * embedding_width
        self.side: CandidateFeatures | None = None
        if use_features:
            if not (schema.user_categories or schema.context_categories or schema.item_categories) and (
                not schema.item_numbers
            ):
                raise EmerError(
                    "method.model.use_features is true, but the request log has no user, context or item features; "
                    "set it to false"
                )
            self.side = CandidateFeatures(schema, use_pxtr=False, use_rank=False, embedding_width=embedding_width)
            self.width += self.side.width

    @torch.no_grad()
    def fit(self, batch: RequestBatch) -> None:
        """Set the edges, and the scale of seconds, from the valid candidates of ``batch``."""
        values = batch.pxtr[batch.mask]
        self.edges.copy_(self._edges(values))
        for column in self.seconds:
            self.median_seconds.copy_(values[:, column].median().clamp(min=_SMALLEST))
        if self.side is not None:
            self.side.fit(batch)

    def _edges(self, values: Tensor) -> Tensor:
        """(K, bins - 1) from values (T, K)."""
        ordered = values.sort(dim=0).values
        T = len(ordered)
        if self.binning == "quantile":
            places = torch.arange(1, self.bins, device=values.device) * T // self.bins
            return ordered[places].t()
        low, high = (ordered[round_to(quantile * (T - 1))] for round_to, quantile in _RANGE)
        if self.binning == "log":
            low, high = (end.double().clamp(min=_SMALLEST).log().unsqueeze(-1) for end in (low, high))
            steps = torch.arange(1, self.bins, device=values.device, dtype=torch.float64) / self.bins
            return (low + (high - low) * steps).exp()
        top = torch.ones_like(high)
        top[self.seconds] = high[self.seconds]
        return _equally_wide(top, self.bins)

    def unit_pxtr(self, batch: RequestBatch) -> Tensor:
        """(B, N, K) pxtrs in [0, 1]: probabilities as they are, t seconds as t / (t + median of the training's)."""
        if not self.seconds:
            return batch.pxtr
        unit = batch.pxtr.clone()
        unit[..., self.seconds] = unit[..., self.seconds] / (unit[..., self.seconds] + self.median_seconds)
        return unit

    def index(self, batch: RequestBatch) -> Tensor:
        """(B, N, K) int64 bins, 0 .. bins - 1."""
        columns = batch.pxtr.movedim(-1, 0).flatten(1).contiguous()
        found = torch.searchsorted(self.edges, columns, right=True)
        return found.unflatten(1, batch.pxtr.shape[:2]).movedim(0, -1)

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N, width) float32."""
        tokens = self.table(self.index(batch) + self.first_row)
        if self.training and self.token_dropout > 0:
            kept = F.dropout(torch.ones_like(tokens[..., :1]), self.token_dropout)
            tokens = tokens * kept
        x = tokens.flatten(-2)
        return x if self.side is None else torch.cat([self.side(batch), x], dim=-1)


def _equally_wide(top: Tensor, bins: int) -> Tensor:
    """(K, bins - 1) inner edges of equally wide bins over [0, top_k]."""
    return top.unsqueeze(-1) * torch.arange(1, bins, device=top.device) / bins
