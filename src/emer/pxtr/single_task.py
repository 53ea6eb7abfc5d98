"""Single-task models: what a multi-task stage is measured against, since objectives share nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emer.models.expert_towers import ObjectiveLinear, TowerOutput
from emer.pxtr.category_embedding import CategoryEmbedding
from emer.pxtr.pxtr_model import PxtrModel


class SingleTask(PxtrModel):
    """K networks side by side, each with its own embeddings and layers.

    x^k = [embeddings^k of the categories ; numbers]; f^k = ReLU(W_k x^k + a_k), a single expert, so that no gate is
    needed; and a tower as in MMoE. No gradient of an objective reaches another's parameters, so one training by the
    summed loss is K trainings, as long as the optimiser treats each number for itself (AdamW does; clipping by the
    norm of all gradients would not).
    """

    def __init__(
        self,
        category_sizes: Sequence[int],
        numbers: int,
        objectives: int,
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
            expert_size, tower_size: units of each network's first and second layer.
            embedding_size: width of every category's embedding in each network: the table is K times as wide.
            dropout: on each x^k for itself, during training.
        """
        super().__init__(objectives, experts=1, expert_size=expert_size, tower_size=tower_size)
        # An id's K embeddings lie side by side: one look-up finds them all.
        self.embedding = CategoryEmbedding(category_sizes, objectives * embedding_size)
        self.layer = ObjectiveLinear(objectives, len(category_sizes) * embedding_size + numbers, expert_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, categories: Tensor, numbers: Tensor) -> TowerOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`TowerOutput`."""
        return self.read(torch.relu(self.layer(self.features(categories, numbers))))

    def features(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """The x^k: (n, K, C * embedding_size + F)."""
        objectives = self.shape[0]
        embedded = self.embedding(categories).unflatten(-1, (objectives, -1)).transpose(1, 2).flatten(2)
        return self.dropout(torch.cat([embedded, numbers.unsqueeze(1).expand(-1, objectives, -1)], dim=-1))
