"""Every engine against exact pairs in float64, on scores of every kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from emer.losses.pairwise import Method, pairwise_logistic_loss
from emer.ranking import rank_gap

METHODS: tuple[Method, ...] = ("kernel", "near_linear", "tiled", "dense")
SCORES = (
    "normal",
    "30 normal",
    "cauchy",
    "lognormal",
    "all equal",
    "half tied",
    "three clusters",
    "1e4 normal",
    "1000 + normal",
    "5 normal",
)


def scores_of(kind: str, B: int, N: int, g: torch.Generator) -> Tensor:
    z = torch.randn(B, N, generator=g)
    return {
        "normal": z,
        "30 normal": 30 * z,
        "cauchy": z / torch.randn(B, N, generator=g),
        "lognormal": torch.exp(2 * z),
        "all equal": torch.full_like(z, 0.3),
        "half tied": torch.where(torch.rand(B, N, generator=g) < 0.5, 0.25, z),
        "three clusters": z + 50 * torch.randint(0, 3, (B, N), generator=g),
        "1e4 normal": 1e4 * z,
        "1000 + normal": 1000 + z,
        "5 normal": 5 * z,
    }[kind]


def targets_of(scores: Tensor, K: int, aligned: bool, tied: bool, g: torch.Generator) -> Tensor:
    B, N = scores.shape
    targets = scores.unsqueeze(-1).expand(B, N, K) if aligned else torch.rand(B, N, K, generator=g)
    if tied:
        # Ten levels of about equal size, and one objective with a few ties only.
        gap = rank_gap(targets, torch.ones(B, N, dtype=torch.bool))
        levels = torch.div(gap + N, max(1, N // 5), rounding_mode="floor").float()
        targets = torch.cat([levels[..., :-1], targets[..., -1:].masked_fill(gap[..., -1:] > N - 8, 2e5)], dim=-1)
    return targets


def exact(s: Tensor, t: Tensor, where: Tensor, weights: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """Weighted loss (B,) and its gradient (B, N), pair by pair in float64.

    softplus(-d) = max(-d, 0) + log1p(e^-|d|) keeps the digits of tiny values; its derivative is -sigmoid(-d).
    """
    B, N, K = t.shape
    d = s.double().unsqueeze(2) - s.double().unsqueeze(1)
    value = (-d).clamp(min=0) + torch.log1p(torch.exp(-d.abs()))
    slope = -torch.sigmoid(-d)
    both = where.unsqueeze(2) & where.unsqueeze(1) & ~torch.eye(N, dtype=torch.bool)
    loss, gradient = torch.zeros(B, dtype=torch.float64), torch.zeros(B, N, dtype=torch.float64)
    for k in range(K):
        above = t[:, :, None, k] > t[:, None, :, k]
        tied = t[:, :, None, k] == t[:, None, :, k]
        share = (above + tied * (0.5 if half else 0.0)) * both
        share = share * (weights[:, k] / K / share.sum(dim=(1, 2)).clamp(min=0.5)).view(-1, 1, 1)
        loss += (share * value).sum(dim=(1, 2))
        gradient += (share * slope).sum(dim=2) - (share * slope).sum(dim=1)
    return loss, gradient


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SCORES)
def test_exact_on_any_scores(kind: str, method: Method) -> None:
    """float32: the rounding of the result, that is 1e-7 of the loss and 5e-7 of the largest slope; float64: 1e-10."""
    g = torch.Generator().manual_seed(SCORES.index(kind))
    B, N, K = 3, 120, 4
    weights = torch.rand(B, K, generator=g, dtype=torch.float64) + 0.5
    for aligned in (False, True):
        for tied in (False, True):
            scores = scores_of(kind, B, N, g)
            t = targets_of(scores, K, aligned, tied, g)
            where = torch.rand(B, N, generator=g) < 0.9
            for half in (False, True):
                loss, slope = exact(scores, t, where, weights, half)
                for dtype, of_loss, of_slope in ((torch.float32, 1e-7, 5e-7), (torch.float64, 1e-10, 1e-10)):
                    s = scores.to(dtype).requires_grad_()
                    ours = pairwise_logistic_loss(
                        s,
                        t,
                        weights=weights,
                        where=where,
                        ties="half" if half else "exclude",
                        reduction="none",
                        method=method,
                    )
                    (gradient,) = torch.autograd.grad(ours.sum(), s)
                    torch.testing.assert_close(ours.double(), loss, rtol=of_loss, atol=1e-30)
                    # Where symmetry makes the true slope vanish, only rounding is left.
                    bound = max(of_slope * slope.abs().max().item(), 1e-15)
                    assert (gradient.double() - slope).abs().max().item() <= bound, (aligned, tied, half, dtype)


@pytest.mark.parametrize("method", METHODS)
def test_tiny_losses_keep_their_digits(method: Method) -> None:
    """Far apart and in the right order: nothing may cancel, ties or not."""
    s = torch.tensor([[0.0, 25.0, 50.0, 75.0]], dtype=torch.float64)
    t = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [2.0, 1.0], [3.0, 2.0]]], dtype=torch.float64)
    loss, _ = exact(s, t, torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 2, dtype=torch.float64), half=False)
    assert loss.item() < 1e-10
    ours = pairwise_logistic_loss(s, t, reduction="none", method=method)
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["kernel", "near_linear"])
def test_long_and_many_requests(method: Method) -> None:
    """More than one tile, and requests of which some fill several."""
    g = torch.Generator().manual_seed(0)
    for B, N in ((700, 40), (2, 12_000)):
        s = torch.randn(B, N, generator=g, dtype=torch.float64)
        t = torch.randint(0, 50, (B, N, 2), generator=g).double()
        t[..., 0] = torch.rand(B, N, generator=g, dtype=torch.float64)
        where = torch.rand(B, N, generator=g) < 0.9
        results = []
        for chosen in (method, "tiled"):
            x = s[:, :2000].clone() if chosen == "tiled" and N > 2000 else s.clone()
            x.requires_grad_()
            n = x.shape[1]
            m = where & (torch.arange(N) < 2000) if N > 2000 else where
            loss = pairwise_logistic_loss(x, t[:, :n], where=m[:, :n], reduction="none", method=chosen)
            results.append((loss, torch.autograd.grad(loss.sum(), x)[0][:, :2000]))
        for ours, exact_value in zip(*results, strict=True):
            torch.testing.assert_close(ours, exact_value, rtol=1e-10, atol=1e-14)


def test_largest_request_that_the_rank_type_allows() -> None:
    n = 32_768
    t = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double()
    ranks = rank_gap(t.view(1, n, 1), torch.ones(1, n, dtype=torch.bool)).to(torch.int16)
    s = torch.randn(1, n, generator=torch.Generator().manual_seed(1))
    a, b = (pairwise_logistic_loss(s, None, ranks=ranks, method=m).item() for m in ("kernel", "near_linear"))
    assert a == pytest.approx(b, rel=1e-7)
    # Random order: each pair costs E softplus(sqrt(2) z), z a normal number.
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    expected = (weight * np.log1p(np.exp(math.sqrt(2) * z))).sum() / math.sqrt(2 * math.pi)
    assert a == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_not_finite_spoils_its_request_only(wrong: float, dtype: torch.dtype, method: Method) -> None:
    s = torch.tensor([[0.0, wrong, 1.0, 5.0], [0.0, 2.0, 1.0, wrong]], dtype=dtype).requires_grad_()
    where = torch.tensor([[True, True, True, False]] * 2)
    t = torch.tensor([[[1.0], [2.0], [3.0], [0.0]]] * 2)
    loss = pairwise_logistic_loss(s, t, where=where, reduction="none", method=method)
    assert loss.isnan().tolist() == [True, False]
    (gradient,) = torch.autograd.grad(loss[1], s)
    assert gradient[1].isfinite().all() and gradient[1, 3] == 0


@pytest.mark.parametrize("method", ["kernel", "near_linear"])
def test_more_candidates_than_squares_are_exact_for(method: Method) -> None:
    n = 700_000
    t = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double().unsqueeze(-1)
    loss = pairwise_logistic_loss(torch.zeros(n), t, method=method)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_one_rank_out_of_range_is_refused(method: Method) -> None:
    """Although the gaps and their squares have possible sums."""
    s = torch.randn(1, 100)
    g = torch.zeros(1, 100, 1, dtype=torch.int32)
    g[0, 3] = 150
    g[0, 4] = -150
    with pytest.raises(ValueError, match="not rank gaps over its valid candidates"):
        pairwise_logistic_loss(s, None, ranks=g, method=method)
    with pytest.raises(ValueError, match="does not hold the rank gaps of 200 candidates"):
        pairwise_logistic_loss(torch.randn(1, 200), None, ranks=torch.zeros(1, 200, 1, dtype=torch.int8), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_ranks_on_masked_places_are_not_read(method: Method) -> None:
    g = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 20, generator=g), torch.randint(0, 4, (2, 20, 2), generator=g).float()
    where = torch.rand(2, 20, generator=g) < 0.7
    ranks = rank_gap(t, where)
    dirty = ranks.masked_fill(~where.unsqueeze(-1), 30_000)
    clean, other = (pairwise_logistic_loss(s, None, ranks=r, where=where, method=method) for r in (ranks, dirty))
    assert torch.equal(clean, other)


def test_a_batch_changed_before_backward_is_an_error() -> None:
    s = torch.randn(1, 9, requires_grad=True)
    ranks = rank_gap(torch.rand(1, 9, 2), torch.ones(1, 9, dtype=torch.bool))
    loss = pairwise_logistic_loss(s, None, ranks=ranks, reduction="per_objective")
    ranks.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.mean().backward()
