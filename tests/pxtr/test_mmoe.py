"""The MMoE network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emer.pxtr.mmoe import MMoE

SIZES, NUMBERS, K, E, H, T, D = (5, 3), 4, 3, 2, 6, 7, 8


def model(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> MMoE:
    torch.manual_seed(seed)
    return MMoE(sizes, NUMBERS, K, experts=E, expert_size=H, tower_size=T, embedding_size=D)


def rows(n: int = 9) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    categories = torch.stack([torch.randint(s, (n,), generator=g) for s in SIZES], dim=1)
    return categories.int(), torch.randn(n, NUMBERS, generator=g)


def test_shapes_and_parameter_count() -> None:
    net = model()
    out = net(*rows())
    assert out.logit.shape == (9, K)
    assert out.hidden.shape == (9, K, T)
    width = len(SIZES) * D + NUMBERS
    experts = E * H * (width + 1)
    gates = K * E * width
    towers = K * (H * T + T)
    heads = K * (T + 1)
    assert sum(p.numel() for p in net.parameters()) == sum(SIZES) * D + experts + gates + towers + heads


def test_forward_is_the_published_formula() -> None:
    net = model()
    categories, numbers = rows()
    out = net(categories, numbers)
    table = net.embedding.weight.split(SIZES)
    for i in range(len(numbers)):
        x = torch.cat([table[0][categories[i, 0]], table[1][categories[i, 1]], numbers[i]])
        experts = [
            torch.relu(net.experts.weight[e * H : (e + 1) * H] @ x + net.experts.bias[e * H : (e + 1) * H])
            for e in range(E)
        ]
        for k in range(K):
            gate = torch.softmax(net.gates.weight[k * E : (k + 1) * E] @ x, dim=0)
            mixed = sum(gate[e] * experts[e] for e in range(E))
            hidden = torch.relu(mixed @ net.towers[k] + net.tower_bias[k])
            torch.testing.assert_close(out.hidden[i, k], hidden)
            torch.testing.assert_close(out.logit[i, k], net.heads[k] @ hidden + net.head_bias[k])


def test_gates_sum_to_one_and_differ_between_objectives() -> None:
    gates = model().gate_weights(*rows())
    assert gates.shape == (9, K, E)
    torch.testing.assert_close(gates.sum(-1), torch.ones(9, K))
    assert not torch.allclose(gates[:, 0], gates[:, 1])


def test_an_objective_trains_experts_but_not_other_towers() -> None:
    net = model()
    net(*rows()).logit[:, 0].sum().backward()
    assert net.experts.weight.grad is not None and net.experts.weight.grad.abs().sum() > 0
    assert net.towers.grad is not None
    assert net.towers.grad[0].abs().sum() > 0 and net.towers.grad[1:].abs().sum() == 0


def test_growing_vocabularies_keep_what_was_learnt() -> None:
    small, large = model(), model((7, 4), seed=5)
    fresh = large.embedding.weight.detach().clone()
    large.copy_from(small)
    torch.testing.assert_close(large(*rows()).logit, small(*rows()).logit)
    torch.testing.assert_close(large.embedding.weight[5:7], fresh[5:7])  # ids 5 and 6 of the first are new
    torch.testing.assert_close(large.embedding.weight[10:], fresh[10:])  # id 3 of the second is new


@pytest.mark.parametrize("seed", [0, 1])
def test_dropout_acts_in_training_only(seed: int) -> None:
    torch.manual_seed(seed)
    net = MMoE(SIZES, NUMBERS, K, dropout=0.5)
    assert not torch.equal(net(*rows()).logit, net(*rows()).logit)
    net.eval()
    assert torch.equal(net(*rows()).logit, net(*rows()).logit)


def test_a_seed_gives_the_model_that_it_always_gave() -> None:
    net = model()
    torch.manual_seed(0)
    embedding = nn.Embedding(sum(SIZES), D)
    nn.init.normal_(embedding.weight, std=0.05)
    width = len(SIZES) * D + NUMBERS
    experts, gates = nn.Linear(width, E * H), nn.Linear(width, K * E, bias=False)
    towers = torch.empty(K, H, T).uniform_(-(H**-0.5), H**-0.5)
    heads = torch.empty(K, T).uniform_(-(T**-0.5), T**-0.5)
    for drawn, own in (
        (embedding.weight, net.embedding.weight),
        (experts.weight, net.experts.weight),
        (experts.bias, net.experts.bias),
        (gates.weight, net.gates.weight),
        (towers, net.towers),
        (heads, net.heads),
    ):
        assert torch.equal(drawn, own)
    assert not net.tower_bias.any() and not net.head_bias.any()
    out = net(*rows())
    assert out.logit[0].tolist() == pytest.approx([3.1994330e-4, -1.3065993e-2, -2.0754496e-3], rel=1e-4)
    assert out.hidden[0].sum().item() == pytest.approx(0.39163482, rel=1e-5)


def test_a_saved_model_has_the_parts_that_it_always_had() -> None:
    """A trained stage in somebody's cache still loads."""
    names = {"embedding.weight", "experts.weight", "experts.bias", "gates.weight"}
    assert set(model().state_dict()) == names | {"towers", "tower_bias", "heads", "head_bias"}
