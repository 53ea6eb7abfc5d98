from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.pairwise import pair_count, pairwise_logistic_loss
from emer.ranking import rank_gap


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def brute_force(s: Tensor, t: Tensor, where: Tensor, ties: str) -> Tensor:
    """(B, K) by the printed definition, pair by pair, in float64."""
    B, N, K = t.shape
    rows = []
    for b, k in itertools.product(range(B), range(K)):
        losses = []
        for i, j in itertools.combinations([i for i in range(N) if where[b, i]], 2):
            d = (s[b, i] - s[b, j]).double()
            if t[b, i, k] == t[b, j, k]:
                if ties == "half":
                    losses.append((F.softplus(d) + F.softplus(-d)) / 2)
            else:
                losses.append(F.softplus(-d if t[b, i, k] > t[b, j, k] else d))
        rows.append(torch.stack(losses).mean() if losses else s[b, 0].double() * 0)
    return torch.stack(rows).view(B, K)


def example(B: int = 3, N: int = 8, K: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(B, N, generator=g, dtype=torch.float64).requires_grad_()
    t = torch.randint(0, 4, (B, N, K), generator=g).double()
    t[..., 0] = torch.rand(B, N, generator=g)
    where = torch.rand(B, N, generator=g) < 0.7
    where[:, :2] = True
    return s, t, where


def test_value_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0, 1.0]])
    targets = torch.tensor([[[0.9], [0.5], [0.1]]])
    # 0 above 1, 0 above 2, 1 above 2.
    expected = (softplus(-(2 - 0)) + softplus(-(2 - 1)) + softplus(-(0 - 1))) / 3
    assert pairwise_logistic_loss(scores, targets).item() == pytest.approx(expected, rel=1e-6)


def test_ties_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0]])
    targets = torch.tensor([[[0.5], [0.5], [0.1]]])
    ordered = softplus(-(1 - 0)) + softplus(-(0 - 0))
    tied = (softplus(1.0) + softplus(-1.0)) / 2
    assert pairwise_logistic_loss(scores, targets).item() == pytest.approx(ordered / 2, rel=1e-6)
    half = pairwise_logistic_loss(scores, targets, ties="half").item()
    assert half == pytest.approx((ordered + tied) / 3, rel=1e-6)


@pytest.mark.parametrize("ties", ["exclude", "half"])
def test_equals_brute_force_in_value_and_gradient(ties: str) -> None:
    s, t, where = example()
    ours = pairwise_logistic_loss(s, t, where=where, ties=ties, reduction="per_objective")  # type: ignore[arg-type]
    oracle = brute_force(s, t, where, ties)
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-12)
    weight = torch.rand(ours.shape, dtype=torch.float64)
    (ours_gradient,) = torch.autograd.grad((ours * weight).sum(), s)
    (oracle_gradient,) = torch.autograd.grad((oracle * weight).sum(), s)
    torch.testing.assert_close(ours_gradient, oracle_gradient, rtol=1e-10, atol=1e-12)


def test_soft_vote_form_equals_the_sum_over_objectives() -> None:
    """Methods 1.5: one matrix W, T of weighted votes gives the same loss as K losses (App. A, EMER b)."""
    s, t, where = example()
    weights = torch.rand(3, 4, dtype=torch.float64) + 0.5
    total = pairwise_logistic_loss(s, t, where=where, weights=weights, reduction="none")
    pairs = pair_count(rank_gap(t, where), where).clamp(min=1)
    both = where.unsqueeze(2) & where.unsqueeze(1)
    valid = (t.unsqueeze(2) != t.unsqueeze(1)) & both.unsqueeze(-1)
    share = (weights / pairs / 4).view(3, 1, 1, 4)
    W = (share * valid).sum(-1)
    T = (share * valid * (t.unsqueeze(2) > t.unsqueeze(1))).sum(-1)
    d = s.unsqueeze(2) - s.unsqueeze(1)
    vote = (W * F.softplus(d) - T * d).sum(dim=(1, 2)) / 2
    torch.testing.assert_close(total, vote)


def test_swapping_a_misordered_pair_lowers_the_loss() -> None:
    """The sign of eq. 5 (resolution A1)."""
    targets = torch.tensor([[[3.0], [2.0], [1.0]]])
    wrong = pairwise_logistic_loss(torch.tensor([[1.0, 2.0, 0.0]]), targets)
    right = pairwise_logistic_loss(torch.tensor([[2.0, 1.0, 0.0]]), targets)
    assert right < wrong


def test_tied_targets_give_no_gradient() -> None:
    s = torch.randn(2, 6, requires_grad=True)
    loss = pairwise_logistic_loss(s, torch.full((2, 6, 3), 0.25))
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


@pytest.mark.parametrize("ties", ["exclude", "half"])
def test_mask_is_deletion(ties: str) -> None:
    s, t, where = example(B=1)
    masked = pairwise_logistic_loss(s, t, where=where, ties=ties)  # type: ignore[arg-type]
    kept = where[0]
    deleted = pairwise_logistic_loss(s[:, kept], t[:, kept], ties=ties)  # type: ignore[arg-type]
    torch.testing.assert_close(masked, deleted)


def test_what_stands_on_padding_is_not_read() -> None:
    s, t, where = example()
    before = pairwise_logistic_loss(s, t, where=where)
    noisy = torch.where(where, s, 1e30)
    after = pairwise_logistic_loss(noisy, torch.where(where.unsqueeze(-1), t, -5.0), where=where)
    torch.testing.assert_close(before, after)


def test_permutation_and_repetition() -> None:
    s, t, where = example()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    base = pairwise_logistic_loss(s, t, where=where)
    torch.testing.assert_close(pairwise_logistic_loss(s[:, order], t[:, order], where=where[:, order]), base)
    twice = pairwise_logistic_loss(s.repeat(2, 1), t.repeat(2, 1, 1), where=where.repeat(2, 1))
    torch.testing.assert_close(twice, base)


def test_stored_ranks_stand_for_targets() -> None:
    s, t, where = example()
    ranks = rank_gap(t, where).to(torch.int16)
    torch.testing.assert_close(
        pairwise_logistic_loss(s, None, ranks=ranks, where=where), pairwise_logistic_loss(s, t, where=where)
    )


@pytest.mark.parametrize("kept", [0, 1])
def test_a_request_without_a_pair_is_zero(kept: int) -> None:
    s = torch.randn(1, 5, requires_grad=True)
    where = torch.arange(5).unsqueeze(0) < kept
    loss = pairwise_logistic_loss(s, torch.rand(1, 5, 2), where=where)
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


@pytest.mark.parametrize("scores", [torch.zeros(1, 50), 1e4 * torch.randn(1, 50), 1e3 + torch.randn(1, 50)])
def test_float32_is_accurate_for_any_scores(scores: Tensor) -> None:
    t = torch.rand(1, 50, 3)
    where = torch.ones(1, 50, dtype=torch.bool)
    ours = pairwise_logistic_loss(scores, t, reduction="per_objective")
    oracle = brute_force(scores, t, where, "exclude")
    torch.testing.assert_close(ours.double(), oracle, rtol=1e-5, atol=1e-6)


def test_agreeing_scores_at_a_large_scale_do_not_cancel() -> None:
    t = torch.rand(1, 200, 1)
    scores = (t[..., 0].argsort().argsort() * 50.0).float()
    assert pairwise_logistic_loss(scores, t).item() == pytest.approx(0, abs=1e-6)


def test_bfloat16_scores_are_computed_in_float32() -> None:
    s = torch.randn(2, 9).bfloat16()
    t = torch.rand(2, 9, 2)
    loss = pairwise_logistic_loss(s, t)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, pairwise_logistic_loss(s.float(), t))


def test_gradcheck() -> None:
    s, t, where = example(B=2, N=5)
    assert torch.autograd.gradcheck(lambda x: pairwise_logistic_loss(x, t, where=where, reduction="none"), s)


def test_wrong_options_are_refused() -> None:
    s = torch.randn(1, 3)
    with pytest.raises(ValueError, match="ties"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), ties="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="targets or their ranks"):
        pairwise_logistic_loss(s, None)


def test_pair_count_by_hand() -> None:
    targets = torch.tensor([[[1.0], [1.0], [2.0], [9.0]]])
    where = torch.tensor([[True, True, True, False]])
    assert pair_count(rank_gap(targets, where), where).item() == 2
