from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.bce import multi_objective_bce_loss, reconstruction_loss


def example() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = 3 * torch.randn(3, 7, generator=g, dtype=torch.float64)
    y = torch.rand(3, 7, 2, generator=g, dtype=torch.float64)
    y[..., 0] = (y[..., 0] < 0.4).double()
    where = torch.rand(3, 7, generator=g) < 0.7
    return s.requires_grad_(), y, where


def test_value_by_hand() -> None:
    scores = torch.tensor([0.0, math.log(3)])  # probabilities 1/2 and 3/4
    labels = torch.tensor([[1.0], [0.25]])
    expected = (-math.log(1 / 2) - 0.25 * math.log(3 / 4) - 0.75 * math.log(1 / 4)) / 2
    assert multi_objective_bce_loss(scores, labels).item() == pytest.approx(expected, rel=1e-6)


def test_equals_torch_in_value_and_gradient() -> None:
    s, y, where = example()
    ours = multi_objective_bce_loss(s, y, where=where, reduction="per_objective")
    rows = []
    for b in range(3):
        kept = where[b]
        wide = s[b, kept].unsqueeze(-1).expand(-1, 2)
        rows.append(F.binary_cross_entropy_with_logits(wide, y[b, kept], reduction="none").mean(0))
    oracle = torch.stack(rows)
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=0)
    (ours_gradient,) = torch.autograd.grad(ours.sum(), s)
    (oracle_gradient,) = torch.autograd.grad(oracle.sum(), s)
    torch.testing.assert_close(ours_gradient, oracle_gradient)


def test_sure_and_right_is_exactly_nothing_at_any_size() -> None:
    scores = torch.tensor([1e4, -1e4, 1e30])
    assert multi_objective_bce_loss(scores, torch.tensor([[1.0], [0.0], [1.0]])).item() == 0


def test_slope_at_zero_is_half_minus_label() -> None:
    s = torch.zeros(1, requires_grad=True)
    multi_objective_bce_loss(s, torch.tensor([[0.2]])).backward()
    assert s.grad is not None
    assert s.grad.item() == pytest.approx(0.5 - 0.2)


def test_reconstruction_is_bce_of_each_column_with_its_own_logits() -> None:
    _, y, where = example()
    z = torch.randn(3, 7, 2, dtype=torch.float64)
    ours = reconstruction_loss(z, y, where=where, reduction="per_objective")
    columns = [multi_objective_bce_loss(z[..., k], y[..., k : k + 1], where=where, reduction="none") for k in range(2)]
    torch.testing.assert_close(ours, torch.stack(columns, dim=-1))


def test_reconstruction_is_lowest_at_the_targets() -> None:
    _, y, where = example()
    p = y.clamp(0.05, 0.95)
    best = reconstruction_loss(p.logit(), p, where=where)
    for step in (0.1, -0.1):
        assert reconstruction_loss(p.logit() + step, p, where=where) > best


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="targets has shape"):
        reconstruction_loss(torch.zeros(3, 7, 2), torch.zeros(3, 7, 1))
