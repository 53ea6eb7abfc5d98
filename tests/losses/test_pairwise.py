from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emer.losses.pairwise import Method, pair_count, pairwise_logistic_loss, pairwise_logistic_terms
from emer.ranking import rank_gap

METHODS: tuple[Method, ...] = ("kernel", "near_linear", "tiled", "dense")


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", ["exclude", "half"])
def test_equals_brute_force_in_value_and_gradient(ties: str, method: Method) -> None:
    s, t, where = example()
    ours = pairwise_logistic_loss(
        s,
        t,
        where=where,
        ties=ties,  # type: ignore[arg-type]
        reduction="per_objective",
        method=method,
    )
    oracle = brute_force(s, t, where, ties)
    torch.testing.assert_close(ours, oracle, rtol=1e-11, atol=1e-14)
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


@pytest.mark.parametrize("method", METHODS)
def test_tied_targets_give_no_gradient(method: Method) -> None:
    s = torch.randn(2, 6, requires_grad=True)
    loss = pairwise_logistic_loss(s, torch.full((2, 6, 3), 0.25), method=method)
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("filler", [1e30, math.inf, -math.inf, math.nan])
def test_what_stands_on_padding_is_not_read(filler: float, method: Method) -> None:
    s, t, where = example()
    before = pairwise_logistic_loss(s, t, where=where, method=method)
    noisy = torch.where(where, s, filler).detach().requires_grad_()
    after = pairwise_logistic_loss(noisy, torch.where(where.unsqueeze(-1), t, filler), where=where, method=method)
    torch.testing.assert_close(before, after)
    (gradient,) = torch.autograd.grad(before, s)
    (noisy_gradient,) = torch.autograd.grad(after, noisy)
    torch.testing.assert_close(gradient, noisy_gradient)
    assert (noisy_gradient[~where] == 0).all()


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kept", [0, 1])
def test_a_request_without_a_pair_is_zero(kept: int, method: Method) -> None:
    s = torch.randn(1, 5, requires_grad=True)
    where = torch.arange(5).unsqueeze(0) < kept
    loss = pairwise_logistic_loss(s, torch.rand(1, 5, 2), where=where, method=method)
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", ["exclude", "half"])
@pytest.mark.parametrize("tied_scores", [False, True])
def test_gradcheck(method: Method, ties: str, tied_scores: bool) -> None:
    """Tied scores too: their value is where a kernel without psi(0) = 1/2 would have a kink."""
    s, t, where = example(B=2, N=7)
    if tied_scores:
        s = s.detach().round().requires_grad_()
    weights = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        both = pairwise_logistic_terms(x, t, weights=w, where=where, ties=ties, method=method)  # type: ignore[arg-type]
        return both.loss, both.per_objective

    assert torch.autograd.gradcheck(loss, (s, weights))


def test_loss_and_objectives_from_one_pass() -> None:
    s, t, where = example()
    weights = torch.rand(3, 4, dtype=torch.float64)
    loss, per_objective = pairwise_logistic_terms(s, t, weights=weights, where=where)
    torch.testing.assert_close(per_objective, pairwise_logistic_loss(s, t, where=where, reduction="per_objective"))
    torch.testing.assert_close(loss, (weights * per_objective).mean(dim=1))


def test_differentiating_twice_raises() -> None:
    s, t, _ = example()
    (gradient,) = torch.autograd.grad(pairwise_logistic_loss(s, t).square(), s, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_ranks_that_are_none_are_refused() -> None:
    s, t, where = example()
    ranks = rank_gap(t, where)
    for method in METHODS:
        with pytest.raises(ValueError, match="ranks of request 1 are not rank gaps over its valid candidates"):
            pairwise_logistic_loss(s, None, ranks=ranks * torch.tensor([1, 3, 1]).view(-1, 1, 1), method=method)
    with pytest.raises(ValueError, match="rank gaps are integers"):
        pairwise_logistic_loss(s, None, ranks=ranks.float())


def test_the_number_of_threads_changes_nothing() -> None:
    g = torch.Generator().manual_seed(3)
    s, t = torch.randn(64, 400, generator=g), torch.rand(64, 400, 3, generator=g)
    results = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        x = s.clone().requires_grad_()
        loss = pairwise_logistic_loss(x, t)
        loss.backward()
        assert x.grad is not None
        results.append((loss.detach(), x.grad))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.slow  # imports the compiler
def test_under_torch_compile() -> None:
    t = torch.rand(2, 30, 3)
    layer = torch.nn.Linear(4, 1)
    x = torch.randn(2, 30, 4)

    def step(x: Tensor) -> Tensor:
        return 2 * pairwise_logistic_loss(layer(x).squeeze(-1).tanh(), t)

    expected = step(x)
    (wanted,) = torch.autograd.grad(expected, layer.weight)
    compiled = torch.compile(step, backend="aot_eager")(x)
    (found,) = torch.autograd.grad(compiled, layer.weight)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(found, wanted)


def test_autocast_computes_in_float32() -> None:
    s, t, _ = example()
    s32 = s.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for method in METHODS:
            loss = pairwise_logistic_loss(s32, t.float(), method=method)
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, pairwise_logistic_loss(s, t).detach().float())


def test_wrong_options_are_refused() -> None:
    s = torch.randn(1, 3)
    with pytest.raises(ValueError, match="ties"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), ties="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="targets or their ranks"):
        pairwise_logistic_loss(s, None)
    with pytest.raises(ValueError, match="method must be one of auto, kernel"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runs on the CPU"):
        pairwise_logistic_loss(s.to("meta"), None, ranks=torch.zeros(1, 3, 1, dtype=torch.int32), method="kernel")
    with pytest.raises(ValueError, match="where must be bool"):
        pairwise_logistic_loss(s, torch.rand(1, 3, 1), where=torch.ones(1, 3))


def test_pair_count_by_hand() -> None:
    targets = torch.tensor([[[1.0], [1.0], [2.0], [9.0]]])
    where = torch.tensor([[True, True, True, False]])
    assert pair_count(rank_gap(targets, where), where).item() == 2
