"""MMoE (Ma et al., KDD 2018): several objectives share experts, each through its own gate and tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emer.models.expert_towers import ExpertTowers, TowerOutput


class MMoE(ExpertTowers):
    """Multi-gate mixture of experts on categorical and numeric features.

    x = [embeddings of the categories ; numbers] goes through :class:`emer.models.expert_towers.ExpertTowers`.
    """

    starts: Tensor

    def __init__(
        self,
        category_sizes: Sequence[int],
        numbers: int,
        objectives: int,
        experts: int = 6,
        expert_size: int = 64,
        tower_size: int = 32,
        embedding_size: int = 8,
        dropout: float = 0.0,
    ) -> None:
        """Build.

        Args:
            category_sizes: ids per categorical feature, the unknown (0) included.
            numbers: how many numeric features.
            objectives: K.
            experts, expert_size: how many, and units of each.
            tower_size: hidden units of each tower.
            embedding_size: width of every category's embedding.
            dropout: on x, during training.
        """
        # One table for all categories: a single look-up is much faster than dozens of small ones. Drawn before the
        # layers, so that a seed gives the model that it always gave.
        embedding = nn.Embedding(sum(category_sizes), embedding_size)
        nn.init.normal_(embedding.weight, std=0.05)
        width = len(category_sizes) * embedding_size + numbers
        super().__init__(width, objectives, experts=experts, expert_size=expert_size, tower_size=tower_size)
        self.category_sizes = tuple(category_sizes)
        self.embedding = embedding
        starts = torch.tensor([0, *self.category_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("starts", starts[: len(self.category_sizes)], persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, categories: Tensor, numbers: Tensor) -> TowerOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`TowerOutput`."""
        return self.outputs(self.features(categories, numbers))

    def features(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """x: (n, C * embedding_size + F)."""
        embedded = self.embedding(categories + self.starts).flatten(1)
        return self.dropout(torch.cat([embedded, numbers], dim=1))

    def gate_weights(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """(n, K, experts): each objective's weights over the experts, summing to 1."""
        return self.gate(self.features(categories, numbers))

    @torch.no_grad()
    def copy_from(self, smaller: MMoE) -> None:
        """Start from a model whose categories had fewer ids: layers are copied, new ids keep their start."""
        own = self.embedding.weight.clone()
        for start, old_start, size in zip(
            self.starts.tolist(), smaller.starts.tolist(), smaller.category_sizes, strict=True
        ):
            own[start : start + size] = smaller.embedding.weight[old_start : old_start + size]
        state = {k: v for k, v in smaller.state_dict().items() if k != "embedding.weight"}
        self.load_state_dict({**state, "embedding.weight": own})
