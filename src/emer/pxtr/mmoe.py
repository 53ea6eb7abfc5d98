"""MMoE (Ma et al., KDD 2018): several objectives share experts, each through its own gate and tower."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from emer.models.expert_towers import ExpertTowers, TowerOutput
from emer.pxtr.category_embedding import CategoryEmbedding
from emer.pxtr.pxtr_model import PxtrModel


class MMoE(ExpertTowers, PxtrModel):
    """Multi-gate mixture of experts on categorical and numeric features.

    x = [embeddings of the categories ; numbers] goes through :class:`emer.models.expert_towers.ExpertTowers`.
    """

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
        # Drawn before the layers, so that a seed gives the model that it always gave.
        embedding = CategoryEmbedding(category_sizes, embedding_size)
        width = len(category_sizes) * embedding_size + numbers
        super().__init__(width, objectives, experts=experts, expert_size=expert_size, tower_size=tower_size)
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)

    def forward(self, categories: Tensor, numbers: Tensor) -> TowerOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`TowerOutput`."""
        return self.outputs(self.features(categories, numbers))

    def gate_weights(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """(n, K, experts): each objective's weights over the experts, summing to 1."""
        return self.gate(self.features(categories, numbers))
