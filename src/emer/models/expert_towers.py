"""Experts, gates and towers: the layers of every multi-task stage here (Ma et al., KDD 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class TowerOutput(NamedTuple):
    """``logit`` (..., K), and the towers' hidden states ``hidden`` (..., K, tower_size)."""

    logit: Tensor
    hidden: Tensor


class Towers(nn.Module):
    """One tower per objective: t^k = ReLU(V_k f^k + c_k); logit_k = u_k · t^k + b_k.

    What an objective's f^k is made of is the subclass's affair.

    Args:
        objectives: K.
        experts: how many of them an objective mixes.
        expert_size: units of f^k.
        tower_size: hidden units of each tower.

    Attributes:
        shape: (objectives, experts, expert_size).
        tower_size: as given.
        head_bias: (K,) the b_k.
    """

    def __init__(self, objectives: int, *, experts: int, expert_size: int, tower_size: int) -> None:
        super().__init__()
        self.towers = nn.Parameter(torch.empty(objectives, expert_size, tower_size))
        self.tower_bias = nn.Parameter(torch.zeros(objectives, tower_size))
        self.heads = nn.Parameter(torch.empty(objectives, tower_size))
        self.head_bias = nn.Parameter(torch.zeros(objectives))
        for weights, fan_in in ((self.towers, expert_size), (self.heads, tower_size)):
            nn.init.uniform_(weights, -(fan_in**-0.5), fan_in**-0.5)
        self.shape = (objectives, experts, expert_size)
        self.tower_size = tower_size

    def read(self, mixed: Tensor) -> TowerOutput:
        """Of ``mixed`` (..., K, expert_size), the f^k."""
        hidden = torch.relu(torch.einsum("...ke,ket->...kt", mixed, self.towers) + self.tower_bias)
        return TowerOutput((hidden * self.heads).sum(-1) + self.head_bias, hidden)


class ExpertTowers(Towers):
    """Multi-gate mixture of experts on a feature vector x.

    Experts e_j = ReLU(W_j x); gates g^k = softmax(G_k x); f^k = Σ_j g^k_j e_j, which :class:`Towers` read (Ma et al.
    2018).

    Args:
        width: size of x.
        objectives: K.
        experts, expert_size: how many, and units of each.
        tower_size: hidden units of each tower.
    """

    def __init__(self, width: int, objectives: int, *, experts: int, expert_size: int, tower_size: int) -> None:
        # Drawn before the towers, so that a seed gives the model that it always gave.
        layer, gates = nn.Linear(width, experts * expert_size), nn.Linear(width, objectives * experts, bias=False)
        super().__init__(objectives, experts=experts, expert_size=expert_size, tower_size=tower_size)
        self.experts, self.gates = layer, gates

    def outputs(self, x: Tensor) -> TowerOutput:
        """Of ``x`` (..., width)."""
        _, experts, expert_size = self.shape
        expert = torch.relu(self.experts(x)).unflatten(-1, (experts, expert_size))
        return self.read(self.gate(x) @ expert)

    def gate(self, x: Tensor) -> Tensor:
        """(..., K, experts) of ``x`` (..., width): each objective's weights over the experts, summing to 1."""
        objectives, experts, _ = self.shape
        return self.gates(x).unflatten(-1, (objectives, experts)).softmax(-1)


class ObjectiveLinear(nn.Module):
    """K linear layers at once, one per objective: y^k = W_k x^k + c_k, each drawn as ``nn.Linear`` draws its own.

    Args:
        objectives: K.
        width, size: of the x^k and y^k.
        bias: with the c_k.
    """

    def __init__(self, objectives: int, width: int, size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(objectives, width, size))
        self.bias = nn.Parameter(torch.empty(objectives, size)) if bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (n, K, width) -> (n, K, size)."""
        # An einsum would copy an x that is the same for every objective.
        x = x.transpose(0, 1)
        y = x @ self.weight if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), x, self.weight)
        return y.transpose(0, 1)
