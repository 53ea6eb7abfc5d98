from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from emer.losses.urem import urem_similarity_loss

Scope = Literal["batch", "request"]


def example(N: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(3, N, generator=g, dtype=torch.float64)
    t = torch.rand(3, N, 2, generator=g, dtype=torch.float64)
    where = torch.rand(3, N, generator=g) < 0.8
    where[:, :3] = True
    return s.requires_grad_(), t, where


def standardised(x: Tensor, where: Tensor, scope: str) -> Tensor:
    """(B, N), with constants for mean and sd."""
    result = torch.zeros_like(x)
    for b in range(len(x)):
        members = x.detach()[where] if scope == "batch" else x.detach()[b, where[b]]
        result[b] = (x[b] - members.mean()) / members.std(correction=0)
    return result


def brute_force(s: Tensor, t: Tensor, where: Tensor, scope: str) -> Tensor:
    z = standardised(s, where, scope)
    rows = []
    for b, k in itertools.product(range(len(s)), range(t.shape[-1])):
        p = standardised(t[..., k], where, scope)
        valid = [i for i in range(s.shape[1]) if where[b, i]]
        terms = [
            torch.tanh((z[b, i] - z[b, j]) / 2) * torch.tanh((p[b, i] - p[b, j]) / 2)
            for i, j in itertools.combinations(valid, 2)
        ]
        rows.append(-torch.stack(terms).mean())
    return torch.stack(rows).view(len(s), -1)


def test_value_by_hand() -> None:
    scores = torch.tensor([0.0, 4.0])  # mean 2, sd 2: -1 and 1
    targets = torch.tensor([[0.3], [0.1]])  # 1 and -1
    assert urem_similarity_loss(scores, targets).item() == pytest.approx(math.tanh(1) ** 2, rel=1e-6)


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_equals_brute_force_in_value_and_gradient(scope: Scope) -> None:
    """The gradient also shows that mean and sd are constants: the oracle detaches them."""
    s, t, where = example()
    ours = urem_similarity_loss(s, t, where=where, scope=scope, reduction="per_objective")
    oracle = brute_force(s, t, where, scope)
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-14)
    weight = torch.rand(ours.shape, dtype=torch.float64)
    (ours_gradient,) = torch.autograd.grad((ours * weight).sum(), s)
    (oracle_gradient,) = torch.autograd.grad((oracle * weight).sum(), s)
    torch.testing.assert_close(ours_gradient, oracle_gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("pairs", ["all", 400])
def test_the_pxtr_itself_as_the_score(pairs: Literal["all"] | int) -> None:
    _, t, where = example(30)
    t = t[..., :1]

    def loss(sign: float) -> float:
        generator = torch.Generator().manual_seed(0)
        scores = sign * (5 * t[..., 0] + 2)
        return urem_similarity_loss(scores, t, where=where, pairs=pairs, generator=generator).item()

    p = standardised(t[..., 0], where, "batch")
    squares = [torch.tanh((p[b, where[b]].unsqueeze(1) - p[b, where[b]]) / 2).square() for b in range(3)]
    n = where.sum(-1).tolist()
    exact = -sum(x.sum().item() / (m * (m - 1)) for x, m in zip(squares, n, strict=True)) / 3
    assert loss(1) == pytest.approx(exact, rel=1e-6 if pairs == "all" else 0.1)
    assert loss(1) < 0
    assert loss(-1) == pytest.approx(-loss(1), rel=1e-6)


def test_it_stays_within_one() -> None:
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)) * 1e4
    loss = urem_similarity_loss(scores, scores.sign().unsqueeze(-1) * 1e6, reduction="per_objective")
    assert (loss.abs() <= 1).all()


def test_drawn_pairs_are_unbiased_and_never_padding() -> None:
    s, t, where = example()
    # Were a masked place drawn, its NaN would show; were it standardised as 0, the mean would be off.
    scores = s.detach().masked_fill(~where, torch.nan)
    targets = t.masked_fill(~where.unsqueeze(-1), torch.nan)
    generator = torch.Generator().manual_seed(0)
    drawn = urem_similarity_loss(
        scores, targets, where=where, pairs=100_000, generator=generator, reduction="per_objective"
    )
    every = urem_similarity_loss(scores, targets, where=where, reduction="per_objective")
    # Four standard errors of a mean of terms within 1.
    torch.testing.assert_close(drawn, every, rtol=0, atol=4 / math.sqrt(100_000))


def test_a_pair_is_two_different_candidates() -> None:
    scores = torch.tensor([[0.0, 1.0]])
    drawn = urem_similarity_loss(
        scores, scores.unsqueeze(-1), pairs=50, generator=torch.Generator().manual_seed(0)
    ).item()
    assert drawn == pytest.approx(-(math.tanh(1) ** 2), rel=1e-6)


def test_gradient_of_drawn_pairs() -> None:
    s, t, where = example()

    def gradient(pairs: Literal["all"] | int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        loss = urem_similarity_loss(s, t, where=where, pairs=pairs, generator=generator)
        return torch.autograd.grad(loss, s)[0]

    torch.testing.assert_close(gradient(100_000), gradient("all"), rtol=0, atol=2e-3)


def test_no_gradient_reaches_targets() -> None:
    s, t, _ = example()
    t.requires_grad_()
    urem_similarity_loss(s, t).backward()
    assert t.grad is None


def test_equal_scores_still_learn() -> None:
    s = torch.full((2, 5), 0.1, requires_grad=True)
    loss = urem_similarity_loss(s, torch.rand(2, 5, 1))
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert 0 < s.grad.abs().max() < 10


def test_equal_pxtrs_give_nothing() -> None:
    s = torch.randn(2, 5, requires_grad=True)
    loss = urem_similarity_loss(s, torch.full((2, 5, 1), 0.1))
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert not s.grad.any()


def test_wrong_options_are_refused() -> None:
    s, t, _ = example()
    with pytest.raises(ValueError, match="scope"):
        urem_similarity_loss(s, t, scope="list")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pairs"):
        urem_similarity_loss(s, t, pairs=0)
    with pytest.raises(ValueError, match="pairs"):
        urem_similarity_loss(s, t, pairs="some")  # type: ignore[arg-type]
