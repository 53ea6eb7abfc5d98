from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emer.models import monotone
from emer.models.monotone import MonotoneScores, clenshaw_curtis, positive_density

K, H = 3, 4


def network(seed: int = 0, *, nodes: int = 32, scale: float = 1.0) -> MonotoneScores:
    """Parameters far from the start, so that the functions bend."""
    torch.manual_seed(seed)
    net = MonotoneScores(K, H, hidden=5, nodes=nodes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape) * scale)
    return net


def test_three_nodes_are_simpsons_rule() -> None:
    x, w = clenshaw_curtis(3)
    assert x.tolist() == pytest.approx([1, 0.5, 0], abs=1e-15)
    assert w.tolist() == pytest.approx([1 / 6, 4 / 6, 1 / 6])


def test_two_nodes_are_the_trapezoid() -> None:
    assert clenshaw_curtis(2)[1].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8, 9, 31, 32])
def test_polynomials_are_integrated_exactly(nodes) -> None:
    x, w = clenshaw_curtis(nodes)
    assert (w > 0).all()
    for degree in range(nodes):
        assert (w @ x**degree).item() == pytest.approx(1 / (degree + 1), abs=1e-14)


@pytest.mark.parametrize(
    ("function", "integral"),
    [
        (torch.exp, math.e - 1),
        (lambda x: 1 / (1 + x * x), math.pi / 4),
        (lambda x: torch.cos(10 * x), math.sin(10) / 10),
        (lambda x: torch.sigmoid(20 * x - 10), 0.5),
    ],
)
def test_32_nodes_on_closed_forms(function, integral) -> None:
    x, w = clenshaw_curtis(32)
    assert (w @ function(x)).item() == pytest.approx(integral, abs=1e-9)


def test_the_density_is_elu_plus_one_and_never_zero() -> None:
    z = torch.linspace(-5, 5, 41, dtype=torch.float64)
    torch.testing.assert_close(positive_density(z), torch.nn.functional.elu(z) + 1)
    assert (positive_density(torch.tensor([-17.5, -40.0, -80.0])) > 0).all()


def test_equals_the_integral_by_brute_force() -> None:
    """A midpoint sum of the printed formula, one candidate and objective at a time."""
    net = network()
    x, h = torch.randn(6, K), torch.randn(6, H)
    t = net(x, h)
    slope, out, bias, offset = (p.detach().double().numpy() for p in (net.slope, net.out, net.bias, net.offset))
    weight, shift = net.context.weight.detach().double().numpy(), net.context.bias.detach().double().numpy()
    for i in range(6):
        bend = (weight @ h[i].double().numpy() + shift).reshape(K, 5)
        for k in range(K):
            end, steps = x[i, k].item(), 20_000
            u = (np.arange(steps) + 0.5) / steps * end
            z = u[:, None] * slope[k] + bend[k]
            z = (z / (1 + np.exp(-z))) @ out[k] + bias[k]
            phi = np.where(z > 0, z + 1, np.exp(np.minimum(z, 0)))
            assert t[i, k].item() == pytest.approx(offset[k] + phi.mean() * end, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_strictly_increasing_in_each_score_and_in_no_other(seed) -> None:
    net = network(seed, scale=0.5)
    grid = torch.linspace(-4, 4, 161)
    h = torch.randn(H, generator=torch.Generator().manual_seed(seed))
    for k in range(K):
        x = torch.zeros(161, K)
        x[:, k] = grid
        t = net(x, h.expand(161, H))
        assert (t[1:, k] > t[:-1, k]).all()
        others = [m for m in range(K) if m != k]
        assert torch.equal(t[:, others], t[:1, others].expand(161, -1))


def test_the_slope_is_the_density() -> None:
    net = network(3, nodes=64).double()
    x = torch.randn(8, K, dtype=torch.float64).requires_grad_()
    h = torch.randn(8, H, dtype=torch.float64)
    net(x, h).sum().backward()
    torch.testing.assert_close(x.grad, net.density(x.detach().unsqueeze(-1), h).squeeze(-1), rtol=1e-3, atol=1e-3)


def test_parts_give_the_same_values_and_gradients(monkeypatch) -> None:
    net = network()
    x, h = torch.randn(11, K), torch.randn(11, H)

    def run() -> list[torch.Tensor]:
        net.zero_grad()
        at, around = x.clone().requires_grad_(), h.clone().requires_grad_()
        t = net(at, around)
        t.square().sum().backward()
        return [t.detach(), at.grad, around.grad, *(p.grad.clone() for p in net.parameters())]

    whole = run()
    monkeypatch.setattr(monotone, "_LARGEST_PART", 4 * 32 * K * 5)
    for part, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)
