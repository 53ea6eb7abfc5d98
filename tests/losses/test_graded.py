from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from emer.losses.graded import graded_pairwise_loss, graded_pairwise_terms
from emer.losses.pairwise import pairwise_logistic_loss


def all_pairs(s: Tensor, grades: Tensor, where: Tensor) -> list[float]:
    """Loss of every pair of one request, by the definition."""
    valid = [i for i in range(len(s)) if where[i]]
    return [
        math.log1p(math.exp(-(s[i] - s[j]).item()))
        for i, j in itertools.permutations(valid, 2)
        if grades[i] > grades[j]
    ]


def example() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(5, 20, generator=g, dtype=torch.float64).requires_grad_()
    grades = torch.randint(0, 3, (5, 20), generator=g).float()
    where = torch.rand(5, 20, generator=g) < 0.4
    where[3] = False
    grades[4] = 1.0
    return s, grades, where


def test_equals_the_definition() -> None:
    s, grades, where = example()
    pairs = [all_pairs(s[b], grades[b], where[b]) for b in range(5)]
    expected = [sum(p) / len(p) if p else 0.0 for p in pairs]
    loss, count = graded_pairwise_terms(s, grades, where=where)
    assert loss.tolist() == pytest.approx(expected, rel=1e-11)
    assert count.tolist() == [len(p) for p in pairs]
    assert count[3:].tolist() == [0, 0]
    # Only requests that have a pair are in the mean.
    assert graded_pairwise_loss(s, grades, where=where).item() == pytest.approx(sum(expected) / 3, rel=1e-11)


def test_gradient_reaches_the_shown_candidates_only() -> None:
    s, grades, where = example()
    (gradient,) = torch.autograd.grad(graded_pairwise_loss(s, grades, where=where), s)
    assert (gradient[~where] == 0).all() and (gradient[3:] == 0).all()
    assert (gradient[:3][where[:3]] != 0).any()
    assert torch.autograd.gradcheck(lambda x: graded_pairwise_loss(x, grades, where=where, reduction="none"), s)


def test_is_the_multi_objective_loss_of_one_target() -> None:
    s, grades, where = example()
    one = pairwise_logistic_loss(s, grades.unsqueeze(-1), where=where, reduction="none", method="dense")
    torch.testing.assert_close(graded_pairwise_loss(s, grades, where=where, reduction="none"), one)


def test_nothing_shown() -> None:
    s = torch.randn(2, 4, requires_grad=True)
    loss = graded_pairwise_loss(s, torch.zeros(2, 4), where=torch.zeros(2, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None and (s.grad == 0).all()


def test_wrong_arguments_are_refused() -> None:
    s, grades, _ = example()
    with pytest.raises(ValueError, match="grades have shape"):
        graded_pairwise_loss(s, grades[:, :3])
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none'"):
        graded_pairwise_loss(s, grades, reduction="sum")  # type: ignore[arg-type]
