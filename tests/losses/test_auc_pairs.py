"""Positive-negative pairs against all pairs in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from emer.losses import auc_pairs
from emer.losses.auc_pairs import Method, auc_pair_loss

METHODS: tuple[Method, ...] = ("kernel", "near_linear", "compact", "torch")


def all_pairs(s: Tensor, y: Tensor, where: Tensor) -> Tensor:
    """(M,) for one list, differentiable, in float64. F.softplus would round its derivative at large differences."""
    losses = []
    for m in range(y.shape[1]):
        positive, negative = s[where & y[:, m]].double(), s[where & ~y[:, m]].double()
        d = negative.unsqueeze(1) - positive
        value = torch.nn.functional.softplus(d, threshold=700)
        losses.append(value.mean() if value.numel() else s.sum() * 0)
    return torch.stack(losses)


def example(scale: float, N: int = 90, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of which one is common, two are rare, one is never and one always positive; some equal scores."""
    g = torch.Generator().manual_seed(seed)
    s = scale * torch.randn(2, N, generator=g, dtype=torch.float64)
    tied = N // 5
    s[:, :tied] = s[:, tied : 2 * tied]
    y = torch.rand(2, N, 5, generator=g) < torch.tensor([0.5, 0.1, 0.03, 0.0, 1.0])
    return s, y, torch.rand(2, N, generator=g) < 0.9


def test_value_by_hand() -> None:
    s = torch.tensor([2.0, 0.0, 1.0])
    y = torch.tensor([[1.0], [0.0], [1.0]])
    expected = (math.log1p(math.exp(0 - 2)) + math.log1p(math.exp(0 - 1))) / 2
    for method in METHODS:
        assert auc_pair_loss(s, y, method=method).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0, 1e4])
def test_equals_all_pairs(scale: float, method: Method) -> None:
    s, y, where = example(scale)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 3e-7)):
        x = s.to(dtype).requires_grad_()
        exact = x.detach().double().requires_grad_()
        oracle = torch.stack([all_pairs(exact[b], y[b], where[b]) for b in range(2)])
        ours = auc_pair_loss(x, y, where=where, reduction="per_objective", method=method)
        torch.testing.assert_close(ours.double(), oracle, rtol=rtol, atol=0)
        assert (ours[:, 3:] == 0).all()
        (wanted,) = torch.autograd.grad((oracle * weights).mean(), exact)
        # Each way to a gradient: through the objectives, and the one that comes with the weighted mean.
        (found,) = torch.autograd.grad((ours * weights).mean(), x)
        loss = auc_pair_loss(x, y, weights=weights, where=where, method=method)
        (together,) = torch.autograd.grad(loss, x)
        largest = wanted.abs().max().item()
        torch.testing.assert_close(loss.double(), (oracle * weights).mean(), rtol=rtol, atol=0)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=rtol * largest)
        torch.testing.assert_close(together.double(), wanted, rtol=0, atol=rtol * largest)


@pytest.mark.parametrize("method", METHODS)
def test_rare_positives_that_are_well_placed_keep_their_digits(method: Method) -> None:
    """One positive far above 499 close negatives: their pairs must not be a difference of larger sums."""
    s = torch.linspace(0, 1, 500, dtype=torch.float64)
    s[0] = 45.0
    y = torch.zeros(500, 1, dtype=torch.bool)
    y[0] = True
    expected = torch.log1p(torch.exp(s[1:] - 45)).mean()
    assert expected < 1e-18
    ours = auc_pair_loss(s, y, method=method)
    torch.testing.assert_close(ours, expected, rtol=1e-6 if method in ("compact", "torch") else 1e-11, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck(method: Method) -> None:
    s, y, where = example(1.0, N=9)
    weights = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    s.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: auc_pair_loss(x, y, weights=w, where=where, reduction="none", method=method), (s, weights)
    )


def test_one_list_of_the_batch_or_one_each() -> None:
    s, y, where = example(1.0)
    lists = auc_pair_loss(s, y, where=where, reduction="none")
    each = torch.stack([auc_pair_loss(s[b], y[b], where=where[b]) for b in range(2)])
    torch.testing.assert_close(lists, each)
    batch = auc_pair_loss(s.flatten(), y.flatten(0, 1), where=where.flatten(), reduction="per_objective")
    oracle = all_pairs(s.flatten(), y.flatten(0, 1), where.flatten())
    torch.testing.assert_close(batch, oracle, rtol=1e-10, atol=0)


def test_torch_takes_pairs_while_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    s, y, where = example(1.0)
    chosen = []
    monkeypatch.setattr(auc_pairs, "_compact", lambda *a: chosen.append("compact") or auc_pairs._kernel(*a))
    monkeypatch.setattr(auc_pairs, "_near_linear", lambda *a: chosen.append("near_linear") or auc_pairs._kernel(*a))
    auc_pair_loss(s, y, where=where, method="torch")
    monkeypatch.setattr(auc_pairs, "COMPACT_PAIRS", 1)
    auc_pair_loss(s, y, where=where, method="torch")
    assert chosen == ["compact", "near_linear"]


def test_memory_of_the_compact_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    s, y, where = example(1.0)
    whole = auc_pair_loss(s, y, where=where, method="compact")
    monkeypatch.setattr(auc_pairs, "_PAIRS_AT_A_TIME", 100)
    torch.testing.assert_close(auc_pair_loss(s, y, where=where, method="compact"), whole, rtol=1e-13, atol=0)


def test_wrong_arguments_are_refused() -> None:
    s, y, _ = example(1.0)
    with pytest.raises(ValueError, match="labels has shape"):
        auc_pair_loss(s, y[:, :-1])
    with pytest.raises(ValueError, match="method must be one of auto, kernel"):
        auc_pair_loss(s, y, method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runs on the CPU"):
        auc_pair_loss(s.to("meta"), y.to("meta"), method="kernel")
    with pytest.raises(RuntimeError, match="once_differentiable"):
        x = s.clone().requires_grad_()
        (g,) = torch.autograd.grad(auc_pair_loss(x, y).square(), x, create_graph=True)
        g.sum().backward()
