"""What Pantheon reads of a request: the towers' features, and item and user features that only its head trains."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emer.models.features import CandidateFeatures
from emer.requests import RequestBatch, Schema


class PantheonInputs(NamedTuple):
    """``towers`` (B, N, F) is None without towers; ``pxtr`` (B, N, K), ``item`` (B, N, I) and ``user`` (B, N, U)."""

    towers: Tensor | None
    pxtr: Tensor
    item: Tensor
    user: Tensor


class PantheonFeatures(nn.Module):
    """Two sets of embeddings of the same columns: one of the multi-task towers, one of the ensemble head.

    Pantheon's ItemFea and UserFea are its own, not those of the ranking model (arXiv 2505.13894). The user's part has
    the context features too. Pxtrs and item numbers are scaled as in :class:`emer.models.features.CandidateFeatures`.

    Args:
        schema: the request log's columns.
        towers: make the towers' features.
        embedding_width: size of each categorical feature's embedding, in both sets.
    """

    def __init__(self, schema: Schema, *, towers: bool, embedding_width: int) -> None:
        super().__init__()

        def features() -> CandidateFeatures:
            return CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=embedding_width)

        self.own = features()
        self.towers = features() if towers else None
        n_user = len(schema.user_categories) + len(schema.context_categories)
        self.columns = (
            len(schema.item_numbers),
            len(schema.objectives),
            len(schema.item_categories) * embedding_width,
            n_user * embedding_width,
        )
        self.item_width, self.user_width = self.columns[0] + self.columns[2], self.columns[3]

    def fit(self, batch: RequestBatch) -> None:
        """Set the scales to mean and deviation over the valid candidates of ``batch``."""
        for features in (self.own, self.towers):
            if features is not None:
                features.fit(batch)

    def forward(self, batch: RequestBatch) -> PantheonInputs:
        """float32, finite on padding."""
        numbers, pxtr, item, user = self.own(batch).split(self.columns, dim=-1)
        towers = self.towers(batch) if self.towers is not None else None
        return PantheonInputs(towers, pxtr, torch.cat([numbers, item], dim=-1), user)
