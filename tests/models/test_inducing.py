from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emer.models.inducing import InducingPointAttention


def block(**options) -> InducingPointAttention:
    torch.manual_seed(0)
    return InducingPointAttention(6, 4, **{"points": 5, **options}).double()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(7) < torch.tensor([7, 4, 1]).unsqueeze(1)


def attention(part, queries, keys, divisor):
    """One head of softmax attention on rows (n, .) and (m, .), written out."""
    q, k, v = queries @ part.query.weight.T, keys @ part.key.weight.T, keys @ part.value.weight.T
    return torch.softmax(q @ k.T / divisor, dim=-1) @ v


@pytest.mark.parametrize(("published", "divisor"), [(False, 2.0), (True, 8.0)])
def test_the_block_by_its_equations(published, divisor, x, mask) -> None:
    """With out_width 4 and one head the root of the head's size is 2."""
    ipa = block(layers=2, published_divisor=published)
    y = ipa(x, mask)
    for b, n in enumerate((7, 4, 1)):
        valid = x[b, :n]
        h = attention(ipa.read, ipa.points, valid, divisor)
        total = h
        for layer in ipa.layers:
            g = F.layer_norm(h + attention(layer.attention, h, h, divisor), (4,))
            h = F.layer_norm(g + F.linear(F.relu(g), layer.dense.weight, layer.dense.bias), (4,))
            total = total + h
        torch.testing.assert_close(y[b, :n], attention(ipa.write, valid, total, divisor))


def test_heads_attend_separately(x, mask) -> None:
    """Two heads of size 2 are two blocks of one head that share the points, side by side."""
    both = block(heads=2)
    halves = []
    for rows in (slice(0, 2), slice(2, 4)):
        half = InducingPointAttention(6, 2, points=5).double()
        half.points = both.points
        for name in ("query", "key", "value"):
            getattr(half.read, name).weight.data = getattr(both.read, name).weight.data[rows]
        halves.append(half.read(half.points.expand(3, -1, -1), x, mask[:, None, None]))
    read = both.read(both.points.expand(3, -1, -1), x, mask[:, None, None])
    torch.testing.assert_close(read, torch.cat(halves, dim=-1))


def test_masked_places_are_not_read(x, mask) -> None:
    ipa = block(layers=1)
    filled = torch.where(mask.unsqueeze(-1), x, 1e3)
    torch.testing.assert_close(ipa(filled, mask)[mask], ipa(x, mask)[mask])


def test_permuting_candidates_permutes_the_output(x, mask) -> None:
    ipa = block(layers=1)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    torch.testing.assert_close(ipa(x[:, order], mask[:, order]), ipa(x, mask)[:, order])


def test_a_candidate_sees_the_others(x, mask) -> None:
    ipa = block()
    moved = x.clone()
    moved[0, 0] += 1
    assert (ipa(moved, mask) - ipa(x, mask))[0, 1:].abs().max() > 1e-6


def test_work_is_linear_in_the_number_of_candidates() -> None:
    ipa = block(layers=2)

    def flops(N: int) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            ipa(torch.zeros(2, N, 6, dtype=torch.float64), torch.ones(2, N, dtype=torch.bool))
        return counter.get_total_flops()

    at = [flops(N) for N in (20, 40, 60)]
    assert at[1] > at[0] > 0
    assert at[2] - at[1] == at[1] - at[0]


def test_gradient_reaches_every_parameter(x, mask) -> None:
    ipa = block(layers=2)
    ipa(x, mask)[mask].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in ipa.parameters())


def test_layers_are_really_there() -> None:
    sizes = [sum(p.numel() for p in block(layers=n).parameters()) for n in (0, 1, 3)]
    # Three 4 x 4 projections, a dense layer with bias, and two norms.
    assert sizes[1] - sizes[0] == 3 * 16 + (16 + 4) + 2 * 8
    assert sizes[2] - sizes[0] == 3 * (sizes[1] - sizes[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"points": 0}, "points"), ({"heads": 0}, "heads"), ({"layers": -1}, "layers"), ({"heads": 3}, "multiple")],
)
def test_wrong_sizes_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        InducingPointAttention(6, 4, **options)
