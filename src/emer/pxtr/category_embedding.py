"""Embeddings of the categorical features that every pxtr model reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CategoryEmbedding(nn.Embedding):
    """Embeddings of C features in one table: a single look-up is much faster than dozens of small ones.

    An id comes from a vocabulary or from :func:`emer.data.stable_hash.hash_bucket`; the table does not tell.

    Args:
        sizes: ids per feature, the unknown (0) included.
        width: of an embedding.
    """

    starts: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__(sum(sizes), width)
        nn.init.normal_(self.weight, std=0.05)
        self.sizes = tuple(sizes)
        starts = torch.tensor([0, *self.sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("starts", starts[: len(self.sizes)], persistent=False)

    def forward(self, categories: Tensor) -> Tensor:
        """``categories`` (n, C) int ids -> (n, C, width)."""
        return super().forward(categories + self.starts)

    @torch.no_grad()
    def copy_from(self, smaller: CategoryEmbedding) -> None:
        """Take over the embeddings of a table with fewer ids per feature; new ids keep their start.

        Raises:
            ValueError: the features are others, or one of them had more ids.
        """
        pairs = list(zip(self.sizes, smaller.sizes, strict=True))
        if any(size < old for size, old in pairs):
            raise ValueError(f"ids per category must not become fewer: {smaller.sizes} -> {self.sizes}")
        for start, old_start, (_, old) in zip(self.starts.tolist(), smaller.starts.tolist(), pairs, strict=True):
            self.weight[start : start + old] = smaller.weight[old_start : old_start + old]
