from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from emer.losses.pairwise_square import pairwise_square_loss
from emer.ranking import rank_gap


def brute_force(s: Tensor, t: Tensor, where: Tensor, margin: float) -> Tensor:
    """(B, K) by the definition, pair by pair, in float64."""
    B, N, K = t.shape
    rows = []
    for b, k in itertools.product(range(B), range(K)):
        valid = [i for i in range(N) if where[b, i]]
        pairs = [(i, j) for i, j in itertools.product(valid, valid) if t[b, i, k] > t[b, j, k]]
        terms = [(margin - (s[b, i].double() - s[b, j].double())) ** 2 for i, j in pairs]
        rows.append(torch.stack(terms).mean() if terms else s[b, 0].double() * 0)
    return torch.stack(rows).view(B, K)


def example(N: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Columns: continuous, graded, two classes, one class only."""
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(3, N, generator=g, dtype=torch.float64).requires_grad_()
    t = torch.stack(
        [
            torch.rand(3, N, generator=g),
            torch.randint(0, 4, (3, N), generator=g),
            torch.randint(0, 2, (3, N), generator=g),
            torch.ones(3, N),
        ],
        dim=-1,
    )
    where = torch.rand(3, N, generator=g) < 0.8
    return s, t, where


def test_value_by_hand() -> None:
    scores = torch.tensor([2.0, 0.5, 1.0])
    targets = torch.tensor([[3.0], [1.0], [1.0]])
    # 0 above 1 and 0 above 2; 1 and 2 are tied.
    expected = ((1 - (2 - 0.5)) ** 2 + (1 - (2 - 1)) ** 2) / 2
    assert pairwise_square_loss(scores, targets, squash=False).item() == pytest.approx(expected)


def test_the_sigmoid_comes_first() -> None:
    s = torch.randn(2, 6, dtype=torch.float64)
    t = torch.rand(2, 6, 2)
    torch.testing.assert_close(pairwise_square_loss(s, t), pairwise_square_loss(s.sigmoid(), t, squash=False))


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_equals_brute_force_in_value_and_gradient(margin: float) -> None:
    s, t, where = example()
    ours = pairwise_square_loss(s, t, where=where, margin=margin, squash=False, reduction="per_objective")
    oracle = brute_force(s, t, where, margin)
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-13)
    weight = torch.rand(ours.shape, dtype=torch.float64)
    (ours_gradient,) = torch.autograd.grad((ours * weight).sum(), s)
    (oracle_gradient,) = torch.autograd.grad((oracle * weight).sum(), s)
    torch.testing.assert_close(ours_gradient, oracle_gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e3])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_float32_scores_far_from_zero_lose_nothing(offset: float, scale: float) -> None:
    s, t, where = example(N=30)
    scores = (s.detach() * scale + offset).float()
    ours = pairwise_square_loss(scores, t, where=where, squash=False, reduction="per_objective")
    torch.testing.assert_close(ours.double(), brute_force(scores, t, where, 1.0), rtol=1e-6, atol=0)


def test_a_perfect_score_of_two_classes_has_no_loss_but_rounding() -> None:
    y = torch.rand(1, 1000, 1) < 0.3
    s = y[..., 0].double() + 1e3
    loss = pairwise_square_loss(s, y, squash=False).item()
    assert 0 <= loss < 1e-24


def test_bool_targets_equal_numbers() -> None:
    s, t, where = example()
    y = t[..., 2:] > 0
    loss = pairwise_square_loss(s, y, where=where, reduction="per_objective")
    torch.testing.assert_close(loss, pairwise_square_loss(s, y.float(), where=where, reduction="per_objective"))


def test_stored_ranks_stand_for_targets() -> None:
    s, t, where = example()
    ranks = rank_gap(t, where).to(torch.int16)
    loss = pairwise_square_loss(s, None, ranks=ranks, where=where, reduction="per_objective")
    torch.testing.assert_close(loss, pairwise_square_loss(s, t, where=where, reduction="per_objective"))


def test_only_the_order_of_targets_counts() -> None:
    s, t, where = example()
    torch.testing.assert_close(
        pairwise_square_loss(s, t, where=where), pairwise_square_loss(s, (3 * t).exp(), where=where)
    )


def test_wrong_arguments_are_refused() -> None:
    s = torch.randn(2, 3)
    with pytest.raises(ValueError, match="targets or their ranks"):
        pairwise_square_loss(s, None)
    with pytest.raises(ValueError, match="rank_gap"):
        pairwise_square_loss(s, None, ranks=torch.full((2, 3, 1), 3))
    with pytest.raises(ValueError, match="ranks has shape"):
        pairwise_square_loss(s, None, ranks=torch.zeros(2, 4, 1, dtype=torch.int32))
