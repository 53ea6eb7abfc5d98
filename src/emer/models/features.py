"""From a request to one vector per candidate: the input half of every neural ranker."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emer.ranking import normalized_rank
from emer.requests import Category, RequestBatch, Schema, Unit

_PROBABILITY_FLOOR = 1e-6


class CandidateFeatures(nn.Module):
    """Concatenates what is known of a candidate: pxtrs, NormalizedRanks, item, user and context features.

    Probabilities enter as logits and seconds as log(1 + seconds), standardised with statistics of the training
    requests (:meth:`fit`): raw probabilities of 1e-4 would starve the first layer. User and context embeddings
    are repeated for each candidate. There is no feature of the position in the list: candidates are a set, and
    their stored order is the retrieval's, which a ranker must not see (resolution A10).

    Args:
        schema: names and sizes of the columns.
        use_pxtr: feed the pxtr values.
        use_rank: feed the NormalizedRanks.
        embedding_width: size of each categorical feature's embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, schema: Schema, *, use_pxtr: bool, use_rank: bool, embedding_width: int) -> None:
        super().__init__()
        K = len(schema.objectives)
        self.use_pxtr, self.use_rank = use_pxtr, use_rank
        self.seconds = [i for i, o in enumerate(schema.objectives) if o.unit is Unit.SECONDS]
        n_numbers = K + len(schema.item_numbers)
        self.register_buffer("mean", torch.zeros(n_numbers))
        self.register_buffer("std", torch.ones(n_numbers))
        self.user = _embeddings(schema.user_categories, embedding_width)
        self.context = _embeddings(schema.context_categories, embedding_width)
        self.item = _embeddings(schema.item_categories, embedding_width)
        n_embedded = len(self.user) + len(self.context) + len(self.item)
        self.width = K * (int(use_pxtr) + int(use_rank)) + len(schema.item_numbers) + n_embedded * embedding_width
        if self.width == 0:
            raise ValueError("a ranker needs some input: use_pxtr and use_rank are off and there are no features")

    def _numbers(self, batch: RequestBatch) -> Tensor:
        """(B, N, K + F) pxtrs on an unbounded scale, then the item numbers."""
        p = batch.pxtr
        value = torch.logit(p.clamp(_PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR))
        if self.seconds:
            value[..., self.seconds] = torch.log1p(p[..., self.seconds])
        return torch.cat([value, batch.item_numbers], dim=-1)

    @torch.no_grad()
    def fit(self, batch: RequestBatch) -> None:
        """Set the standardisation to mean and deviation over the valid candidates of ``batch``."""
        values = self._numbers(batch)[batch.mask].double()
        self.mean.copy_(values.mean(dim=0))
        # A constant column keeps scale 1, so that it becomes 0 instead of a division by nothing.
        std = values.std(dim=0, correction=0)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N, width) float32."""
        N = batch.pxtr.shape[1]
        numbers = (self._numbers(batch) - self.mean) / self.std
        K = batch.pxtr.shape[2]
        parts = [numbers[..., K:]]
        if self.use_pxtr:
            parts.append(numbers[..., :K])
        if self.use_rank:
            parts.append(normalized_rank(batch.rank_gap, batch.mask))
        parts += [table(batch.item_categories[..., i]) for i, table in enumerate(self.item)]
        shared = [table(batch.user_categories[..., i]) for i, table in enumerate(self.user)]
        shared += [table(batch.context_categories[..., i]) for i, table in enumerate(self.context)]
        parts += [vector.unsqueeze(1).expand(-1, N, -1) for vector in shared]
        return torch.cat(parts, dim=-1)


def _embeddings(categories: tuple[Category, ...], width: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Embedding(category.size, width) for category in categories)
