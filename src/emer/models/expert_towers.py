"""Experts, gates and towers: the layers of every multi-task stage here (Ma et al., KDD 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class TowerOutput(NamedTuple):
    """``logit`` (..., K), and the towers' hidden states ``hidden`` (..., K, tower_size)."""

    logit: Tensor
    hidden: Tensor


class ExpertTowers(nn.Module):
    """Multi-gate mixture of experts on a feature vector x.

    Experts e_j = ReLU(W_j x); gates g^k = softmax(G_k x); f^k = Σ_j g^k_j e_j; towers t^k = ReLU(V_k f^k);
    logit_k = u_k · t^k + b_k (Ma et al. 2018).

    Args:
        width: size of x.
        objectives: K.
        experts, expert_size: how many, and units of each.
        tower_size: hidden units of each tower.
    """

    def __init__(self, width: int, objectives: int, *, experts: int, expert_size: int, tower_size: int) -> None:
        super().__init__()
        self.experts = nn.Linear(width, experts * expert_size)
        self.gates = nn.Linear(width, objectives * experts, bias=False)
        self.towers = nn.Parameter(torch.empty(objectives, expert_size, tower_size))
        self.tower_bias = nn.Parameter(torch.zeros(objectives, tower_size))
        self.heads = nn.Parameter(torch.empty(objectives, tower_size))
        self.head_bias = nn.Parameter(torch.zeros(objectives))
        for weights, fan_in in ((self.towers, expert_size), (self.heads, tower_size)):
            nn.init.uniform_(weights, -(fan_in**-0.5), fan_in**-0.5)
        self.shape = (objectives, experts, expert_size)

    def outputs(self, x: Tensor) -> TowerOutput:
        """Of ``x`` (..., width)."""
        _, experts, expert_size = self.shape
        expert = torch.relu(self.experts(x)).unflatten(-1, (experts, expert_size))
        mixed = self.gate(x) @ expert  # (..., K, expert_size)
        hidden = torch.relu(torch.einsum("...ke,ket->...kt", mixed, self.towers) + self.tower_bias)
        return TowerOutput((hidden * self.heads).sum(-1) + self.head_bias, hidden)

    def gate(self, x: Tensor) -> Tensor:
        """(..., K, experts) of ``x`` (..., width): each objective's weights over the experts, summing to 1."""
        objectives, experts, _ = self.shape
        return self.gates(x).unflatten(-1, (objectives, experts)).softmax(-1)
