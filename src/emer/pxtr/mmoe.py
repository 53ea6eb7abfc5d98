"""MMoE (Ma et al., KDD 2018): several objectives share experts, each through its own gate and tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class MMoEOutput(NamedTuple):
    """``logit`` (n, K), and the towers' hidden states ``hidden`` (n, K, tower_size)."""

    logit: Tensor
    hidden: Tensor


class MMoE(nn.Module):
    """Multi-gate mixture of experts on categorical and numeric features.

    x = [embeddings of the categories ; numbers]; experts e_j = ReLU(W_j x); gates g^k = softmax(G_k x);
    f^k = Σ_j g^k_j e_j; towers t^k = ReLU(V_k f^k); logit_k = u_k · t^k + b_k (Ma et al. 2018).
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
        super().__init__()
        self.category_sizes = tuple(category_sizes)
        # One table for all categories: a single look-up is much faster than dozens of small ones.
        self.embedding = nn.Embedding(sum(self.category_sizes), embedding_size)
        nn.init.normal_(self.embedding.weight, std=0.05)
        starts = torch.tensor([0, *self.category_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("starts", starts[: len(self.category_sizes)], persistent=False)
        width = len(self.category_sizes) * embedding_size + numbers
        self.dropout = nn.Dropout(dropout)
        self.experts = nn.Linear(width, experts * expert_size)
        self.gates = nn.Linear(width, objectives * experts, bias=False)
        self.towers = nn.Parameter(torch.empty(objectives, expert_size, tower_size))
        self.tower_bias = nn.Parameter(torch.zeros(objectives, tower_size))
        self.heads = nn.Parameter(torch.empty(objectives, tower_size))
        self.head_bias = nn.Parameter(torch.zeros(objectives))
        for weights, fan_in in ((self.towers, expert_size), (self.heads, tower_size)):
            nn.init.uniform_(weights, -(fan_in**-0.5), fan_in**-0.5)
        self.shape = (objectives, experts, expert_size)

    def forward(self, categories: Tensor, numbers: Tensor) -> MMoEOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`MMoEOutput`."""
        x = self.features(categories, numbers)
        _, experts, expert_size = self.shape
        expert = torch.relu(self.experts(x)).view(-1, experts, expert_size)
        mixed = self._gate(x) @ expert  # (n, K, expert_size)
        hidden = torch.relu(torch.einsum("nke,ket->nkt", mixed, self.towers) + self.tower_bias)
        return MMoEOutput((hidden * self.heads).sum(-1) + self.head_bias, hidden)

    def features(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """x: (n, C * embedding_size + F)."""
        embedded = self.embedding(categories + self.starts).flatten(1)
        return self.dropout(torch.cat([embedded, numbers], dim=1))

    def gate_weights(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """(n, K, experts): each objective's weights over the experts, summing to 1."""
        return self._gate(self.features(categories, numbers))

    def _gate(self, x: Tensor) -> Tensor:
        objectives, experts, _ = self.shape
        return self.gates(x).view(-1, objectives, experts).softmax(-1)

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
