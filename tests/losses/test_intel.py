from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from emer.losses.intel import draw_opponents, intel_bpr_loss, intel_mse_loss, intel_pl_loss

SCORES = torch.tensor([0.5, 2.0, -1.0, 1.0])
GRADES = torch.tensor([[3.0], [1.0], [0.0], [1.0]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def example(N: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(3, N, generator=g, dtype=torch.float64)
    grades = torch.randint(0, 4, (3, N, 2), generator=g)
    where = torch.rand(3, N, generator=g) < 0.8
    return s.requires_grad_(), grades, where


def positives(grades: Tensor, where: Tensor, b: int, m: int) -> list[tuple[int, list[int], list[int]]]:
    """(n, all below it, those of the nearest lower grade), by scanning."""
    valid = [i for i in range(len(where[b])) if where[b, i]]
    result = []
    for n in valid:
        below = [i for i in valid if grades[b, i, m] < grades[b, n, m]]
        if grades[b, n, m] > 0 and below:
            nearest = max(int(grades[b, i, m]) for i in below)
            result.append((n, below, [i for i in below if grades[b, i, m] == nearest]))
    return result


def test_mse_by_hand() -> None:
    expected = ((0.5 - 3) ** 2 + (2 - 1) ** 2 + (-1 - 0) ** 2 + (1 - 1) ** 2) / 4
    assert intel_mse_loss(SCORES, GRADES).item() == pytest.approx(expected)


def test_bpr_by_hand() -> None:
    of_3 = (softplus(2 - 0.5) + softplus(1 - 0.5)) / 2  # against the two of grade 1
    of_1 = softplus(-1 - 2), softplus(-1 - 1)  # against the one of grade 0
    assert intel_bpr_loss(SCORES, GRADES).item() == pytest.approx((of_3 + sum(of_1)) / 3, rel=1e-6)


def test_pl_by_hand() -> None:
    of_3 = math.log(1 + math.exp(2 - 0.5) + math.exp(-1 - 0.5) + math.exp(1 - 0.5))
    of_1 = math.log(1 + math.exp(-1 - 2)), math.log(1 + math.exp(-1 - 1))
    assert intel_pl_loss(SCORES, GRADES).item() == pytest.approx((of_3 + sum(of_1)) / 3, rel=1e-6)


@pytest.mark.parametrize("loss", [intel_bpr_loss, intel_pl_loss])
def test_the_lowest_grade_is_no_positive_even_above_0(loss) -> None:  # type: ignore[no-untyped-def]
    torch.testing.assert_close(loss(SCORES, GRADES + 1), loss(SCORES, GRADES * 2))


@pytest.mark.parametrize("loss", [intel_bpr_loss, intel_pl_loss])
def test_only_grades_above_0_are_positive(loss) -> None:  # type: ignore[no-untyped-def]
    """With a dislike below 0, what was merely seen stays no positive."""
    of_2 = loss(SCORES, torch.tensor([[2.0], [0.0], [-1.0], [0.0]]))
    nearest = softplus(2 - 0.5) + softplus(1 - 0.5)
    everyone = math.log(1 + math.exp(2 - 0.5) + math.exp(-1 - 0.5) + math.exp(1 - 0.5))
    assert of_2.item() == pytest.approx(nearest / 2 if loss is intel_bpr_loss else everyone, rel=1e-6)


def test_equal_brute_force_in_value_and_gradient() -> None:
    s, grades, where = example()
    rows = {"bpr": [], "pl": []}
    for b, m in itertools.product(range(3), range(2)):
        who = positives(grades, where, b, m)
        bpr = [
            torch.stack([torch.log1p(torch.exp(s[b, i] - s[b, n])) for i in nearest]).mean() for n, _, nearest in who
        ]
        pl = [torch.log1p(torch.stack([torch.exp(s[b, i] - s[b, n]) for i in below]).sum()) for n, below, _ in who]
        rows["bpr"].append(torch.stack(bpr).mean())
        rows["pl"].append(torch.stack(pl).mean())
    for name, loss in (("bpr", intel_bpr_loss), ("pl", intel_pl_loss)):
        oracle = torch.stack(rows[name]).view(3, 2)
        ours = loss(s, grades, where=where, reduction="per_objective")
        torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-14)
        (ours_gradient,) = torch.autograd.grad(ours.sum(), s)
        (oracle_gradient,) = torch.autograd.grad(oracle.sum(), s)
        torch.testing.assert_close(ours_gradient, oracle_gradient, rtol=1e-11, atol=1e-14)


def test_opponents_are_of_the_nearest_lower_grade_and_all_of_them_are_drawn() -> None:
    _, grades, where = example()
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_opponents(grades, where, g) for _ in range(300)])
    for b, m in itertools.product(range(3), range(2)):
        own = set(range(8))
        for n, _, nearest in positives(grades, where, b, m):
            assert set(drawn[:, b, n, m].tolist()) == set(nearest)
            own.discard(n)
        for n in own:
            assert (drawn[:, b, n, m] == n).all()


def test_drawn_bpr_is_unbiased() -> None:
    s, grades, where = example()
    many = 20_000
    wide = grades.expand(many, 3, 8, 2), where.expand(many, 3, 8)
    opponents = draw_opponents(*wide, generator=torch.Generator().manual_seed(0))
    drawn = intel_bpr_loss(s.expand(many, 3, 8), wide[0], where=wide[1], opponents=opponents, reduction="per_objective")
    expected = intel_bpr_loss(s, grades, where=where, reduction="per_objective")
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0, atol=0.03)


def test_drawn_bpr_by_hand() -> None:
    opponents = torch.tensor([[3], [2], [2], [2]])
    expected = (softplus(1 - 0.5) + softplus(-1 - 2) + softplus(-1 - 1)) / 3
    assert intel_bpr_loss(SCORES, GRADES, opponents=opponents).item() == pytest.approx(expected, rel=1e-6)
