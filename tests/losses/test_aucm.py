from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emer.losses.aucm import aucm_loss, aucm_min_max_loss
from emer.losses.pairwise_square import pairwise_square_loss


def example(scale: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = scale * torch.randn(3, 12, generator=g, dtype=torch.float64)
    y = torch.rand(3, 12, 2, generator=g) < 0.4
    where = torch.rand(3, 12, generator=g) < 0.9
    return s.requires_grad_(), y, where


def inner_solution(h: Tensor, y: Tensor, where: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    positive = (y & where.unsqueeze(-1)).double()
    negative = (~y & where.unsqueeze(-1)).double()
    a = (h.unsqueeze(-1) * positive).sum(1) / positive.sum(1)
    b = (h.unsqueeze(-1) * negative).sum(1) / negative.sum(1)
    return a, b, (margin - (a - b)).clamp(min=0)


def test_value_by_hand() -> None:
    h = torch.tensor([0.9, 0.5, 0.2, 0.4, 0.0])
    y = torch.tensor([[1], [1], [0], [0], [0]])
    variance_positive = ((0.9 - 0.7) ** 2 + (0.5 - 0.7) ** 2) / 2
    variance_negative = ((0.2 - 0.2) ** 2 + (0.4 - 0.2) ** 2 + (0.0 - 0.2) ** 2) / 3
    expected = variance_positive + variance_negative + (1 - (0.7 - 0.2)) ** 2
    assert aucm_loss(h, y, squash=False).item() == pytest.approx(expected, rel=1e-6)


def test_min_max_value_by_hand() -> None:
    h = torch.tensor([0.9, 0.5, 0.2, 0.4, 0.0])
    y = torch.tensor([[1], [1], [0], [0], [0]])
    a, b, alpha = torch.tensor([0.6]), torch.tensor([0.1]), torch.tensor([0.3])
    spread = (0.3**2 + 0.1**2) / 2 + (0.1**2 + 0.3**2 + 0.1**2) / 3
    expected = spread + 2 * 0.3 * (1 + 0.2 - 0.7) - 0.3**2
    ours = aucm_min_max_loss(h, y, a, b, alpha, squash=False)
    assert ours.item() == pytest.approx(expected, rel=1e-6)


def printed_form(h: Tensor, y: Tensor, a: float, b: float, alpha: float, margin: float) -> Tensor:
    """Eq. of AUCM as printed: expectations over all rows, for one list."""
    p, one, zero = y.double().mean(), y.double(), 1 - y.double()
    spread = (1 - p) * ((h - a) ** 2 * one).mean() + p * ((h - b) ** 2 * zero).mean()
    violation = p * (1 - p) * margin + (p * h * zero - (1 - p) * h * one).mean()
    return spread + 2 * alpha * violation - p * (1 - p) * alpha**2


def test_prior_weighted_is_the_printed_form_and_p_1_minus_p_times_the_other() -> None:
    s, y, _ = example()
    h = s[0].sigmoid()
    arguments = (torch.tensor([0.5]), torch.tensor([0.4]), torch.tensor([0.2]))
    printed = printed_form(h, y[0, :, 0], *(x.item() for x in arguments), margin=0.9)
    v1 = aucm_min_max_loss(s[0], y[0, :, :1], *arguments, margin=0.9, prior_weighted=True)
    v2 = aucm_min_max_loss(s[0], y[0, :, :1], *arguments, margin=0.9)
    p = y[0, :, 0].double().mean()
    torch.testing.assert_close(v1, printed, rtol=1e-12, atol=0)
    torch.testing.assert_close(v1, p * (1 - p) * v2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [0.2, 50.0])
def test_with_the_sigmoid_and_margin_1_it_is_the_pairwise_square_loss(scale: float) -> None:
    s, y, where = example(scale)
    ours = aucm_loss(s, y, where=where, reduction="per_objective")
    square = pairwise_square_loss(s, y, where=where, reduction="per_objective")
    torch.testing.assert_close(ours, square, rtol=1e-12, atol=1e-15)
    (ours_gradient,) = torch.autograd.grad(ours.sum(), s)
    (square_gradient,) = torch.autograd.grad(square.sum(), s)
    torch.testing.assert_close(ours_gradient, square_gradient, rtol=1e-10, atol=1e-15)


def test_beyond_the_margin_the_hinge_stops_where_the_square_loss_pulls_back() -> None:
    h = torch.tensor([5.0, 5.0, 0.0, 0.0])
    y = torch.tensor([[1], [1], [0], [0]])
    assert aucm_loss(h, y, squash=False).item() == 0
    assert pairwise_square_loss(h, y, squash=False).item() == pytest.approx((1 - 5) ** 2)


@pytest.mark.parametrize("margin", [1.0, 0.01])
def test_the_inner_solution_gives_the_closed_form_and_is_a_saddle(margin: float) -> None:
    s, y, where = example(3.0)
    a, b, alpha = inner_solution(s.sigmoid(), y, where, margin)

    def value(a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
        return aucm_min_max_loss(s, y, a, b, alpha, where=where, margin=margin, reduction="per_objective")

    best = value(a, b, alpha)
    closed = aucm_loss(s, y, where=where, margin=margin, reduction="per_objective")
    torch.testing.assert_close(best, closed, rtol=1e-12, atol=1e-15)
    for step in (0.05, -0.05):
        assert (value(a + step, b, alpha) > best).all()
        assert (value(a, b + step, alpha) > best).all()
        assert (value(a, b, (alpha + step).clamp(min=0)) <= best).all()
    assert bool((alpha == 0).any()) == (margin < 1)


def test_gradients_of_the_parameters() -> None:
    s, y, where = example()
    a, b, alpha = (torch.zeros(2, requires_grad=True) for _ in range(3))
    aucm_min_max_loss(s, y, a, b, alpha, where=where).backward()
    # alpha's is 2 (m + E- h - E+ h) > 0 while the margin is violated: the caller ascends.
    assert alpha.grad is not None
    assert (alpha.grad > 0).all()
    a_star, b_star, alpha_star = inner_solution(s.detach().sigmoid(), y, where, 1.0)
    torch.testing.assert_close(alpha.grad, 2 * alpha_star.mean(0).float() / 2)
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(a.grad, -2 * a_star.mean(0).float() / 2)
    torch.testing.assert_close(b.grad, -2 * b_star.mean(0).float() / 2)


def test_one_class_gives_the_parameters_no_gradient() -> None:
    s = torch.randn(1, 4, requires_grad=True)
    a, b, alpha = (torch.ones(1, requires_grad=True) for _ in range(3))
    loss = aucm_min_max_loss(s, torch.ones(1, 4, 1), a, b, alpha)
    loss.backward()
    assert loss.item() == 0
    for leaf in (s, a, b, alpha):
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_gradcheck_of_all_arguments() -> None:
    s, y, where = example()
    parameters = [torch.rand(2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(
        lambda *x: aucm_min_max_loss(x[0], y, *x[1:], where=where, reduction="none"), (s, *parameters)
    )


@pytest.mark.parametrize("shape", [(3,), (5, 3, 2)])
def test_parameters_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    s, y, where = example()
    good = torch.zeros(2)
    with pytest.raises(ValueError, match="alpha has shape"):
        aucm_min_max_loss(s, y, good, good, torch.zeros(shape), where=where)
