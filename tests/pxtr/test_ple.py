"""PLE against a plain loop over the paper's formulas, and whom its experts learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from emer.pxtr.ple import PLE

SIZES, NUMBERS, K, S, OWN, H, T, D = (5, 3), 4, 3, 2, 3, 6, 7, 8


def network(layers: int) -> PLE:
    torch.manual_seed(0)
    return PLE(SIZES, NUMBERS, K, S, H, T, D, own_experts=OWN, layers=layers)


def inputs(n: int = 9) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    categories = torch.stack([torch.randint(s, (n,), generator=g) for s in SIZES], dim=1)
    return categories.int(), torch.randn(n, NUMBERS, generator=g)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def by_the_paper(p: dict[str, np.ndarray], layers: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (K,) and hidden states (K, T) of one row's x, in float64, one expert at a time."""
    own, shared = [x] * K, x
    for j in range(layers):
        level = {name.split(".", 2)[2]: value for name, value in p.items() if name.startswith(f"levels.{j}.")}
        of_units = [slice(i * H, (i + 1) * H) for i in range(max(S, OWN))]
        experts_own = [
            [relu(own[k] @ level["own.weight"][k][:, u] + level["own.bias"][k][u]) for u in of_units[:OWN]]
            for k in range(K)
        ]
        experts_shared = [relu(level["shared.weight"][u] @ shared + level["shared.bias"][u]) for u in of_units[:S]]
        mixed = []
        for k in range(K):
            gate = softmax(own[k] @ level["gates.weight"][k])
            mixed.append(sum(g * e for g, e in zip(gate, experts_own[k] + experts_shared, strict=True)))
        if j < layers - 1:
            gate = softmax(level["shared_gate.weight"] @ shared)
            everybody = [e for of_k in experts_own for e in of_k] + experts_shared
            shared = sum(g * e for g, e in zip(gate, everybody, strict=True))
        own = mixed
    hidden = np.stack([relu(own[k] @ p["towers"][k] + p["tower_bias"][k]) for k in range(K)])
    return np.array([p["heads"][k] @ hidden[k] + p["head_bias"][k] for k in range(K)]), hidden


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_ple_is_the_published_formula(layers: int) -> None:
    net = network(layers)
    categories, numbers = inputs()
    out = net(categories, numbers)
    p = {name: value.double().numpy() for name, value in net.state_dict().items()}
    table = np.split(p["embedding.weight"], [SIZES[0]])
    for i in range(len(numbers)):
        x = np.concatenate([table[0][categories[i, 0]], table[1][categories[i, 1]], numbers[i].double().numpy()])
        logit, hidden = by_the_paper(p, layers, x)
        np.testing.assert_allclose(out.logit[i].detach(), logit, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out.hidden[i].detach(), hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_own_experts_of_the_last_level_learn_from_their_objective_alone(layers: int) -> None:
    net = network(layers)
    net(*inputs()).logit[:, 1].sum().backward()
    last = net.levels[-1]
    for gradient in (last.own.weight.grad, last.own.bias.grad, last.gates.weight.grad, net.towers.grad, net.heads.grad):
        assert gradient[1].abs().sum() > 0
        assert gradient[[0, 2]].abs().sum() == 0
    assert last.shared.weight.grad.abs().sum() > 0


def test_below_the_last_level_other_objectives_reach_an_own_expert_through_the_shared_part() -> None:
    net = network(2)
    net(*inputs()).logit[:, 1].sum().backward()
    first = net.levels[0]
    assert all(first.own.weight.grad[k].abs().sum() > 0 for k in range(K))
    # Its own gate is for its own experts of the next level, which another objective does not read.
    assert first.gates.weight.grad[[0, 2]].abs().sum() == 0


def test_the_last_level_has_no_shared_gate() -> None:
    names = [name for name, _ in network(3).named_parameters() if "shared_gate" in name]
    assert names == ["levels.0.shared_gate.weight", "levels.1.shared_gate.weight"]
