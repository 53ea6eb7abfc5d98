from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from emer.losses.intel import draw_opponents
from emer.losses.intel_ambiguity import intel_bpr_ambiguity, intel_mse_ambiguity, intel_pl_ambiguity

BASE = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0], [0.2, 0.6]])
WEIGHTS = torch.tensor([[0.5, 0.5], [0.3, 0.7], [1.0, 0.0], [0.25, 0.75]])
SCORES = torch.tensor([0.5, 1.0, 0.5, 0.5])  # sum_k w s
GRADES = torch.tensor([[2.0], [0.0], [1.0], [0.0]])


def squeezed(d: float) -> float:
    sigma = 1 / (1 + math.exp(-d))
    return sigma * (1 - sigma)


def example() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    base = torch.rand(3, 6, 2, generator=g, dtype=torch.float64).requires_grad_()
    w = torch.rand(3, 6, 2, generator=g, dtype=torch.float64).softmax(-1).requires_grad_()
    s = torch.randn(3, 6, generator=g, dtype=torch.float64).requires_grad_()
    grades = torch.randint(0, 4, (3, 6, 2), generator=g)
    return s, base, w, grades, torch.rand(3, 6, generator=g) < 0.8


def terms(with_grades: bool) -> list[Callable[..., Tensor]]:
    if with_grades:
        return [intel_bpr_ambiguity, intel_pl_ambiguity]
    return [lambda s, base, w, grades, **rest: intel_mse_ambiguity(s, base, w, **rest)]


def test_mse_by_hand() -> None:
    first = 0.5 * 0.5**2 + 0.5 * 0.5**2
    last = 0.25 * (0.2 - 0.5) ** 2 + 0.75 * (0.6 - 0.5) ** 2
    # The second's models agree, the third's dissenter has no weight.
    expected = (first + 0 + 0 + last) / 4
    assert intel_mse_ambiguity(SCORES, BASE, WEIGHTS).item() == pytest.approx(expected, rel=1e-6)


def test_bpr_by_hand() -> None:
    # d_02 = 0; d^1 = 0 - 0.5, d^2 = 1 - 0.
    of_2 = squeezed(0) * (0.5 * (-0.5 - 0) ** 2 + 0.5 * (1 - 0) ** 2)
    # d_21 = -0.5, d^1 = 0.5 - 1; d_23 = 0, d^1 = 0.5 - 0.2. Its second weight is 0.
    of_1 = (squeezed(-0.5) * (-0.5 + 0.5) ** 2 + squeezed(0) * (0.3 - 0) ** 2) / 2
    ours = intel_bpr_ambiguity(SCORES, BASE, WEIGHTS, GRADES)
    assert ours.item() == pytest.approx((of_2 + of_1) / 2, rel=1e-6)
    drawn = torch.tensor([[2], [1], [1], [3]])
    of_1 = squeezed(-0.5) * (-0.5 + 0.5) ** 2
    ours = intel_bpr_ambiguity(SCORES, BASE, WEIGHTS, GRADES, opponents=drawn)
    assert ours.item() == pytest.approx((of_2 + of_1) / 2, rel=1e-6)


def test_pl_by_hand() -> None:
    # Candidate 0, above 1, 2, 3 with d = -0.5, 0, 0.
    e = [math.exp(0.5), 1.0, 1.0]
    first = e[0] * (-1 + 0.5) + e[1] * (-0.5 - 0) + e[2] * (-0.2 - 0)
    second = e[0] * (0 + 0.5) + e[1] * (1 - 0) + e[2] * (0.4 - 0)
    of_2 = (0.5 * first**2 + 0.5 * second**2) / (2 * (1 + sum(e)) ** 2)
    # Candidate 2, above 1 and 3 with d = -0.5, 0; only its first model has weight.
    pull = math.exp(0.5) * (-0.5 + 0.5) + 1 * (0.3 - 0)
    of_1 = pull**2 / (2 * (1 + math.exp(0.5) + 1) ** 2)
    ours = intel_pl_ambiguity(SCORES, BASE, WEIGHTS, GRADES)
    assert ours.item() == pytest.approx((of_2 + of_1) / 2, rel=1e-6)


@pytest.mark.parametrize("with_grades", [False, True])
def test_never_negative_and_0_where_models_agree(with_grades: bool) -> None:
    s, base, w, grades, where = example()
    for term in terms(with_grades):
        value = term(s, base, w, grades, where=where, reduction="per_objective")
        assert (value > 0).all()
        same = s.unsqueeze(-1).expand_as(base)
        assert term(s, same, w, grades, where=where).item() == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("with_grades", [False, True])
def test_mask_is_deletion_and_padding_is_not_read(with_grades: bool) -> None:
    *arguments, where = example()
    for term in terms(with_grades):
        noisy = [
            x.detach().masked_fill(~where if x.dim() == 2 else ~where.unsqueeze(-1), torch.nan).requires_grad_()
            for x in arguments[:3]
        ] + [arguments[3].masked_fill(~where.unsqueeze(-1), 9)]
        masked = term(*noisy, where=where, reduction="per_objective")
        deleted = [term(*(x[b, where[b]] for x in arguments), reduction="per_objective") for b in range(3)]
        torch.testing.assert_close(masked, torch.stack(deleted))
        gradients = torch.autograd.grad(masked.sum(), noisy[:3])
        assert all(bool(x.isfinite().all()) for x in gradients)
        nothing = term(*noisy, where=torch.zeros_like(where))
        assert nothing.item() == 0


@pytest.mark.parametrize("with_grades", [False, True])
def test_gradcheck(with_grades: bool) -> None:
    s, base, w, grades, where = example()
    for term in terms(with_grades):

        def loss(*x: Any, term: Callable[..., Tensor] = term) -> Tensor:
            return term(*x, grades, where=where, reduction="per_objective")

        assert torch.autograd.gradcheck(loss, (s, base, w))


def test_drawn_bpr_is_unbiased() -> None:
    s, base, w, grades, where = (x.detach() for x in example())
    many = 20_000
    wide = [x.expand(many, *x.shape) for x in (s, base, w, grades)]
    mask = where.expand(many, *where.shape)
    opponents = draw_opponents(wide[3], mask, generator=torch.Generator().manual_seed(0))
    drawn = intel_bpr_ambiguity(*wide, where=mask, opponents=opponents, reduction="per_objective")
    expected = intel_bpr_ambiguity(s, base, w, grades, where=where, reduction="per_objective")
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0.02, atol=1e-4)


def test_wrong_shapes_are_refused() -> None:
    s, base, w, grades, _ = example()
    for term, extra in itertools.product(terms(False) + terms(True), (1, 2)):
        bad: list[Tensor] = [s, base, w, grades]
        bad[extra] = bad[extra][:, :4]
        with pytest.raises(ValueError, match=r"base_(scores|weights) has shape"):
            term(*bad)
