"""PLE (Tang et al., RecSys 2020): levels of experts, some of them shared, some of one objective alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emer.models.expert_towers import ObjectiveLinear, TowerOutput
from emer.pxtr.category_embedding import CategoryEmbedding
from emer.pxtr.pxtr_model import PxtrModel


class PLE(PxtrModel):
    """Progressive layered extraction on categorical and numeric features.

    With x = [embeddings of the categories ; numbers] and g^{k,0} = g^{s,0} = x, level j of N has for each objective k
    (section 4 of the paper)

        own experts     E^{k,j}_i = ReLU(W^{k,j}_i g^{k,j-1}),
        shared experts  E^{s,j}_i = ReLU(W^{s,j}_i g^{s,j-1}),
        its gate        g^{k,j} = softmax(G^{k,j} g^{k,j-1}) · [E^{k,j} ; E^{s,j}],

    and, below the last level, the shared part's gate over everybody's experts

        g^{s,j} = softmax(G^{s,j} g^{s,j-1}) · [E^{1,j} ; ... ; E^{K,j} ; E^{s,j}].

    The towers read f^k = g^{k,N}. In the last level an objective's own experts learn from it alone; the levels below
    part the objectives less. One level is the paper's CGC. Gates have no bias, and experts are one layer, as in
    :class:`emer.pxtr.mmoe.MMoE`.
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
        own_experts: int = 1,
        layers: int = 2,
    ) -> None:
        """Build.

        Args:
            category_sizes: ids per categorical feature, the unknown (0) included.
            numbers: how many numeric features.
            objectives: K.
            experts, own_experts: in each level, how many are shared, and how many each objective has.
            expert_size: units of each expert.
            tower_size: hidden units of each tower.
            embedding_size: width of every category's embedding.
            dropout: on x, during training.
            layers: N.
        """
        super().__init__(objectives, experts=own_experts + experts, expert_size=expert_size, tower_size=tower_size)
        self.embedding = CategoryEmbedding(category_sizes, embedding_size)
        width = len(category_sizes) * embedding_size + numbers
        self.levels = nn.ModuleList(
            Level(
                expert_size if level else width,
                objectives,
                experts=experts,
                own_experts=own_experts,
                expert_size=expert_size,
                last=level == layers - 1,
            )
            for level in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, categories: Tensor, numbers: Tensor) -> TowerOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`TowerOutput`."""
        shared = self.features(categories, numbers)
        own = shared.unsqueeze(1).expand(-1, self.shape[0], -1)
        for level in self.levels:
            own, shared = level(own, shared)
        return self.read(own)


class Level(nn.Module):
    """A level of :class:`PLE`.

    Args:
        width: of its inputs.
        objectives: K.
        experts, own_experts, expert_size: see :class:`PLE`.
        last: without the shared part's gate.
    """

    def __init__(
        self, width: int, objectives: int, *, experts: int, own_experts: int, expert_size: int, last: bool
    ) -> None:
        super().__init__()
        self.own = ObjectiveLinear(objectives, width, own_experts * expert_size)
        self.shared = nn.Linear(width, experts * expert_size)
        self.gates = ObjectiveLinear(objectives, width, own_experts + experts, bias=False)
        self.shared_gate = None if last else nn.Linear(width, objectives * own_experts + experts, bias=False)
        self.sizes = (own_experts, experts)
        self.expert_size = expert_size

    def forward(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """g^{k,j-1} (n, K, width) and g^{s,j-1} (n, width) -> g^{k,j} (n, K, expert_size) and g^{s,j} (n, expert_size).

        The last level has no g^{s,j}, and gives ``shared`` back.
        """
        own_expert = torch.relu(self.own(own)).unflatten(-1, (-1, self.expert_size))  # (n, K, own_experts, expert_size)
        shared_expert = torch.relu(self.shared(shared)).unflatten(-1, (-1, self.expert_size))
        to_own, to_shared = self.gates(own).softmax(-1).split(self.sizes, dim=-1)
        mixed = (to_own.unsqueeze(-1) * own_expert).sum(-2) + to_shared @ shared_expert
        if self.shared_gate is None:
            return mixed, shared
        everybody = torch.cat([own_expert.flatten(1, 2), shared_expert], dim=1)
        return mixed, (self.shared_gate(shared).softmax(-1).unsqueeze(1) @ everybody).squeeze(1)
