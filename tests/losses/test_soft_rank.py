from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import Tensor

from emer.losses.soft_rank import SPREAD_FLOOR, Method, rank_sum_auc_loss, soft_rank

METHODS: list[Method] = ["kernel", "torch"]
STRENGTHS = [0.05, 0.5, 2.0, 20.0]


def example(B: int = 4, N: int = 12, seed: int = 0, ties: bool = True) -> tuple[Tensor, Tensor]:
    """Scores in float64, every second row with ties, and a mask that leaves three candidates or more."""
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(B, N, generator=g, dtype=torch.float64)
    if ties:
        s[1::2] = (s[1::2] * 2).round() / 2
    where = torch.rand(B, N, generator=g) < 0.75
    where[:, :3] = True
    return s, where


def minimax(s: np.ndarray, epsilon: float) -> np.ndarray:
    """Soft ranks of one list by the minimax formula of isotonic regression: no blocks, no pooling, O(n^3)."""
    order = np.argsort(s, kind="stable")
    y = s[order] / epsilon - np.arange(1, len(s) + 1)
    n = len(s)
    fit = [max(min(y[a : c + 1].mean() for c in range(i, n)) for a in range(i + 1)) for i in range(n)]
    rank = np.empty(n)
    rank[order] = s[order] / epsilon - np.array(fit)
    return rank


def by_scipy(s: np.ndarray, epsilon: float) -> np.ndarray:
    """Soft ranks of one list by SciPy's isotonic regression, in float64."""
    order = np.argsort(s, kind="stable")
    u = s[order].astype(float)
    rank = np.empty(len(s))
    rank[order] = (u - isotonic_regression(u - epsilon * np.arange(1, len(s) + 1)).x) / epsilon
    return rank


def gradient(s: Tensor, where: Tensor | None, method: Method, strength: float = 2.0) -> Tensor:
    """Derivative of a sum of ranks with fixed uneven factors."""
    s = s.detach().requires_grad_()
    factor = torch.linspace(-1, 2, s.shape[-1], dtype=s.dtype) ** 3
    (soft_rank(s, where=where, method=method, strength=strength) * factor).sum().backward()
    assert s.grad is not None
    return s.grad


@pytest.mark.parametrize("method", METHODS)
def test_value_by_hand(method: Method) -> None:
    s = torch.tensor([10.0, 0.0, 1.0, 20.0])
    # 0 and 1 are closer than epsilon = 2 and share ranks 1 and 2; the others are alone.
    expected = [3, (1 + 2) / 2 + (0 - 0.5) / 2, (1 + 2) / 2 + (1 - 0.5) / 2, 4]
    assert soft_rank(s, epsilon=2.0, method=method).tolist() == expected
    # sd = 2, n = 2, so epsilon = 3 * 2 / 2 = 3 and a gap of 4 separates the two; at 5 * 2 / 2 = 5 it does not.
    s = torch.tensor([1.0, 5.0])
    assert soft_rank(s, strength=3.0, method=method).tolist() == [1, 2]
    torch.testing.assert_close(soft_rank(s, strength=5.0, method=method), torch.tensor([1.5 - 2 / 5, 1.5 + 2 / 5]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.4, 1.0, 5.0])
def test_equals_the_minimax_formula(method: Method, epsilon: float) -> None:
    s, _ = example()
    ours = soft_rank(s, epsilon=epsilon, method=method).numpy()
    for b in range(len(s)):
        np.testing.assert_allclose(ours[b], minimax(s[b].numpy(), epsilon), rtol=0, atol=1e-11 / epsilon)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_is_the_projection_onto_the_permutahedron(method: Method, strength: float) -> None:
    """<z - r, t - r> <= 0 for all t in P characterises the projection r of z; over P, <x, t> is largest at a vertex."""
    s, _ = example()
    n = s.shape[1]
    r = soft_rank(s, strength=strength, method=method)
    z = s / (strength * s.std(dim=1, correction=0, keepdim=True) / n)
    ascending = r.sort(dim=1).values.cumsum(dim=1)
    assert (ascending >= torch.arange(1, n + 1).double().cumsum(0) - 1e-9).all()  # r is in P, by majorisation
    best = ((z - r).sort(dim=1).values * torch.arange(1, n + 1)).sum(dim=1)
    assert (best - ((z - r) * r).sum(dim=1)).max() < 1e-9 * z.abs().max() * n


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("N", [500, 10_240, 100_000])
def test_float32_error_stays_that_of_rounding(method: Method, N: int) -> None:
    g = torch.Generator().manual_seed(N)
    for offset, scale in ((0.0, 1.0), (1000.0, 1.0), (0.0, 1e-4)):
        s = torch.randn(N, generator=g) * scale + offset
        epsilon = 2.0 * s.double().std(correction=0).item() / N
        error = np.abs(soft_rank(s, method=method).numpy() - by_scipy(s.numpy(), epsilon)).max()
        assert error <= N * 2**-24 + 1e-6  # half a unit in the last place of N, and float64 noise


@pytest.mark.parametrize("N", [3, 500, 10_240])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_engines_agree(N: int, strength: float) -> None:
    s, where = example(B=4, N=N, seed=N)
    for scores in (s, s.float()):
        kernel, tensors = (soft_rank(scores, where=where, strength=strength, method=method) for method in METHODS)
        torch.testing.assert_close(kernel, tensors, rtol=1e-6, atol=1e-8)
        kernel, tensors = (gradient(scores, where, method, strength) for method in METHODS)
        torch.testing.assert_close(kernel, tensors, rtol=1e-5, atol=1e-6 * kernel.abs().max().item())
    assert torch.equal(soft_rank(s), soft_rank(s, method="kernel"))


def test_rounds_are_right_for_rows_that_merge_one_by_one() -> None:
    """Gaps that grow slowly: one block swallows a neighbour per round; then the mirror image, and both with noise."""
    n = 1500
    gaps = torch.linspace(0.0, 3.0, n, dtype=torch.float64)
    growing = gaps.cumsum(0)
    noise = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zigzag = (gaps.view(-1, 2).flip(1).flatten() * noise).cumsum(0)
    rows = torch.stack([growing, -growing, zigzag, growing + 40 * noise, torch.exp(growing / 400)])
    for epsilon in (1.0, 1.5):
        ours = soft_rank(rows, epsilon=epsilon, method="torch").numpy()
        for row, rank in zip(rows.numpy(), ours, strict=True):
            np.testing.assert_allclose(rank, by_scipy(row, epsilon), rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [1e-6, *STRENGTHS, 1e6])
def test_sum_and_order(method: Method, strength: float) -> None:
    s, where = example(N=40)
    r = soft_rank(s, where=where, strength=strength, method=method)
    n = where.sum(dim=1)
    torch.testing.assert_close(r.sum(dim=1), (n * (n + 1) / 2).double())
    assert (r[~where] == 0).all()
    for b in range(len(s)):
        rank = r[b][where[b]][s[b][where[b]].argsort()]
        assert (rank.diff() >= -1e-9).all()
        assert (rank >= 1 - 1e-9).all() and (rank <= n[b] + 1e-9).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_regularisation_gives_average_ranks(method: Method, dtype: torch.dtype) -> None:
    s, where = example(N=60)
    s = s.to(dtype)
    for options in ({"strength": 1e-9}, {"epsilon": 1e-15}):
        r = soft_rank(s, where=where, method=method, **options)
        for b in range(len(s)):
            np.testing.assert_allclose(r[b][where[b]], rankdata(s[b][where[b]]), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_large_regularisation_is_affine(method: Method) -> None:
    s, _ = example()
    expected = (s.shape[1] + 1) / 2 + (s - s.mean(dim=1, keepdim=True)) / 1e3
    torch.testing.assert_close(soft_rank(s, epsilon=1e3, method=method), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [0.02, 0.2, 0.6, 4.0])
def test_gradcheck(method: Method, epsilon: float) -> None:
    """With a fixed epsilon, for ``strength`` holds its own constant. Ties are inside a block: no kink."""
    s, where = example(B=4, N=9)
    s = s.masked_fill(~where, torch.nan).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rank(x, where=where, epsilon=epsilon, method=method), s, eps=1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_strength_is_epsilon_held_constant(method: Method, strength: float) -> None:
    s, where = example(B=1)
    s.requires_grad_()
    valid = s[where]
    epsilon = strength * valid.detach().numpy().std() / len(valid)
    one = soft_rank(s, where=where, strength=strength, method=method)
    other = soft_rank(s, where=where, epsilon=epsilon, strength=99.0, method=method)
    torch.testing.assert_close(one, other)
    (of_one,) = torch.autograd.grad(one.square().sum(), s)
    (of_other,) = torch.autograd.grad(other.square().sum(), s)
    torch.testing.assert_close(of_one, of_other)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_sums_to_zero_in_each_block(method: Method) -> None:
    s = torch.tensor([[0.0, 0.1, 5.0, 5.2, 5.3, 9.0]], requires_grad=True)
    factor = torch.tensor([[3.0, 1.0, -2.0, 7.0, 4.0, 100.0]])
    (soft_rank(s, epsilon=0.5, method=method) * factor).sum().backward()
    # Blocks {0, 0.1}, {5, 5.2, 5.3} with means 2 and 3, and {9}.
    expected = [[(3 - 2) / 0.5, (1 - 2) / 0.5, (-2 - 3) / 0.5, (7 - 3) / 0.5, (4 - 3) / 0.5, 0]]
    assert s.grad is not None
    assert s.grad.tolist() == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_mask_equals_deletion(method: Method, dtype: torch.dtype, rubbish: float) -> None:
    s, where = example()
    s = s.to(dtype).masked_fill(~where, rubbish).requires_grad_()
    r = soft_rank(s, where=where, method=method)
    r.square().sum().backward()
    assert s.grad is not None
    assert (s.grad[~where] == 0).all()
    for b in range(len(s)):
        alone = s[b][where[b]].detach().requires_grad_()
        rank = soft_rank(alone, method=method)
        rank.square().sum().backward()
        torch.testing.assert_close(r[b][where[b]], rank)
        torch.testing.assert_close(s.grad[b][where[b]], alone.grad)


@pytest.mark.parametrize("method", METHODS)
def test_permutation_equivariance(method: Method) -> None:
    s, where = example()
    p = torch.randperm(s.shape[1], generator=torch.Generator().manual_seed(0))
    r, permuted = (soft_rank(x, where=w, method=method) for x, w in ((s, where), (s[:, p], where[:, p])))
    torch.testing.assert_close(permuted, r[:, p])


@pytest.mark.parametrize("method", METHODS)
def test_shift_and_scale_invariance(method: Method) -> None:
    s, where = example()
    r, g = soft_rank(s, where=where, method=method), gradient(s, where, method)
    torch.testing.assert_close(soft_rank(s * 7 + 3, where=where, method=method), r)
    torch.testing.assert_close(gradient(s * 7 + 3, where, method), g / 7)
    torch.testing.assert_close(soft_rank(-s, where=where, method=method)[where], (where.sum(1, True) + 1 - r)[where])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("leading", [(), (1,), (2, 2), (4, 1)])
def test_leading_axes(method: Method, leading: tuple[int, ...]) -> None:
    s, where = example()
    rows = 1
    for size in leading:
        rows *= size
    shape = (*leading, s.shape[1])
    r = soft_rank(s[:rows].view(shape), where=where[:rows].view(shape), method=method)
    assert r.shape == shape
    assert torch.equal(r.view(rows, -1), soft_rank(s, where=where, method=method)[:rows])
    strided = soft_rank(s.t().contiguous().t(), where=where.t().contiguous().t(), method=method)
    assert torch.equal(strided, soft_rank(s, where=where, method=method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 0, 5)])
def test_nothing_to_rank(method: Method, shape: tuple[int, ...]) -> None:
    s = torch.zeros(shape, requires_grad=True)
    r = soft_rank(s, method=method)
    r.sum().backward()
    assert r.shape == shape
    assert s.grad is not None and s.grad.shape == shape


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_rows(method: Method) -> None:
    """No candidate; one; constant rows: the average rank, and gradients finite at the floor of the spread."""
    s = torch.tensor([[torch.nan, torch.nan, torch.nan], [4.0, torch.nan, 0.0], [-3.0, -3.0, -3.0]]).requires_grad_()
    where = torch.tensor([[False, False, False], [True, False, False], [True, True, True]])
    r = soft_rank(s, where=where, method=method)
    assert r.tolist() == [[0, 0, 0], [1, 0, 0], [2, 2, 2]]
    (r * torch.tensor([0.0, 1.0, 2.0])).sum().backward()
    assert s.grad is not None
    slope = 1 / (2.0 * SPREAD_FLOOR * 3 / 3)  # epsilon = strength * floor * max |s| / n
    torch.testing.assert_close(s.grad, torch.tensor([[0, 0, 0], [0, 0, 0], [-slope, 0, slope]]))


@pytest.mark.parametrize("method", METHODS)
def test_types(method: Method) -> None:
    s, _ = example()
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        x = s.to(dtype).requires_grad_()
        r = soft_rank(x, method=method)
        r.square().sum().backward()
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert r.dtype == wide and x.grad is not None and x.grad.dtype == dtype
        torch.testing.assert_close(r, soft_rank(x.detach().to(wide), method=method))
    x = s.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(soft_rank(x, method=method), soft_rank(x.clone(), method=method))
        inside = rank_sum_auc_loss(x, (x > 0).float().unsqueeze(-1), method=method)
    assert torch.equal(inside, rank_sum_auc_loss(x, (x > 0).float().unsqueeze(-1), method=method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("options", [{}, {"epsilon": 1.0}])
def test_scores_that_are_not_finite(method: Method, wrong: float, options: dict[str, float]) -> None:
    s, _ = example()
    s[2, 3] = wrong
    for scores in (s, s.float()):
        with pytest.raises(ValueError, match="scores of request 2 are NaN"):
            soft_rank(scores, method=method, **options)
    with pytest.raises(ValueError, match="too large"):
        soft_rank(torch.tensor([1e200, 0.0], dtype=torch.float64), method=method, **options)


def test_wrong_arguments() -> None:
    s = torch.zeros(2, 3)
    for bad in (0.0, -1.0, torch.inf, torch.nan):
        with pytest.raises(ValueError, match="strength must be positive"):
            soft_rank(s, strength=bad)
        with pytest.raises(ValueError, match="epsilon must be positive"):
            soft_rank(s, epsilon=bad)
    with pytest.raises(ValueError, match="method must be one of"):
        soft_rank(s, method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="single number"):
        soft_rank(torch.tensor(1.0))
    with pytest.raises(ValueError, match="where has shape"):
        soft_rank(s, where=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="where must be bool"):
        soft_rank(s, where=torch.full((2, 3), 2))
    with pytest.raises(ValueError, match="runs on the CPU"):
        soft_rank(torch.zeros(2, 3, device="meta"), method="kernel")
    with pytest.raises(ValueError, match="labels has shape"):
        rank_sum_auc_loss(s, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="reduction must be"):
        rank_sum_auc_loss(s, torch.zeros(2, 3, 1), reduction="sum")  # type: ignore[arg-type]
    for bad in (2.0, 0.5, -1.0, torch.nan):
        with pytest.raises(ValueError, match="labels must be 0 or 1"):
            rank_sum_auc_loss(s, torch.full((2, 3, 1), bad))


@pytest.mark.parametrize("method", METHODS)
def test_cannot_be_differentiated_twice(method: Method) -> None:
    s = example()[0].requires_grad_()
    (g,) = torch.autograd.grad(soft_rank(s, method=method).square().sum(), s, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        g.sum().backward()


def test_threads_do_not_change_the_result() -> None:
    s, where = example(B=9, N=4000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        r, g = soft_rank(s, where=where), gradient(s, where, "kernel")
        torch.set_num_threads(2)
        assert torch.equal(soft_rank(s, where=where), r)
        assert torch.equal(gradient(s, where, "kernel"), g)
        s[7, 0] = torch.nan  # in the second thread's rows, which start at 4
        with pytest.raises(ValueError, match="scores of request 7"):
            soft_rank(s)
    finally:
        torch.set_num_threads(before)


def _rank_in_child(s: Tensor, pipe: Connection) -> None:
    pipe.send((soft_rank(s).numpy(), gradient(s, None, "kernel").numpy()))


def test_runs_after_a_fork() -> None:
    """(60, 500) is enough work for two threads, and too little for torch's own, which do not survive a fork."""
    s, _ = example(B=60, N=500)
    before = torch.get_num_threads()
    context = multiprocessing.get_context("fork")
    try:
        torch.set_num_threads(2)
        r, g = soft_rank(s), gradient(s, None, "kernel")
        ours, theirs = context.Pipe()
        child = context.Process(target=_rank_in_child, args=(s, theirs))
        child.start()
        assert ours.poll(timeout=30), "the child hangs"
        rank, slope = ours.recv()
        child.join(timeout=30)
    finally:
        torch.set_num_threads(before)
    assert child.exitcode == 0
    np.testing.assert_array_equal(rank, r)
    np.testing.assert_array_equal(slope, g)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_compiled_caller(method: Method) -> None:
    def loss(s: Tensor, labels: Tensor) -> Tensor:
        return rank_sum_auc_loss(s * 2, labels, method=method) + soft_rank(s + 1, method=method).square().mean()

    s, _ = example()
    labels = (torch.rand(*s.shape, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    results = []
    for function in (loss, torch.compile(loss, backend="aot_eager")):
        x = s.clone().requires_grad_()
        value = function(x, labels)
        value.backward()
        results.append((value.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])


def test_loss_by_hand() -> None:
    s = torch.tensor([3.0, 1.0, 2.0, 0.0])
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]])
    # Ranks 4, 2, 3, 1. Objective 0 has no misordered pair of 4, objective 1 two of 3, objective 2 no pair.
    expected = torch.tensor([1 - (4 + 3 - 3) / 4, 1 - (2 - 1) / 3, 0])
    options = dict(strength=0.1, squash=False)
    loss = rank_sum_auc_loss(s, labels.t(), reduction="per_objective", **options)  # type: ignore[arg-type]
    torch.testing.assert_close(loss, expected)
    assert rank_sum_auc_loss(s, labels.t(), **options).item() == pytest.approx((2 / 3) / 3)  # type: ignore[arg-type]
    literal = rank_sum_auc_loss(s, labels.t(), reduction="per_objective", normalise=False, **options)  # type: ignore[arg-type]
    assert literal.tolist() == [-(4 + 3), -2, 0]
    weights = torch.tensor([5.0, 3.0, 9.0])
    weighted = rank_sum_auc_loss(s, labels.t(), weights=weights, **options)  # type: ignore[arg-type]
    assert weighted.item() == pytest.approx(3 * (2 / 3) / 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("squash", [True, False])
def test_loss_tends_to_one_minus_auc(method: Method, dtype: torch.dtype, squash: bool) -> None:
    """Every label of every request, in a scope with ties; the rarest label has one positive, the last one negative."""
    g = torch.Generator().manual_seed(0)
    s, where = example(B=4, N=200)
    labels = (torch.rand(4, 200, 4, generator=g) < torch.tensor([0.5, 0.1, 0.0, 1.0])).to(dtype)
    labels[:, 1, 2], labels[:, 1, 3] = 1, 0
    loss = rank_sum_auc_loss(
        s.to(dtype), labels, where=where, strength=1e-7, squash=squash, reduction="per_objective", method=method
    )
    assert loss.dtype == dtype
    for b in range(4):
        for m in range(4):
            y, x = labels[b, :, m][where[b]], s[b][where[b]].to(dtype)
            assert loss[b, m].item() == pytest.approx(1 - roc_auc_score(y, x), abs=2e-6)


def test_scopes() -> None:
    """(B, N) ranks inside each request, (N,) over all rows: the same numbers only for one request."""
    s, _ = example(B=3, N=8)
    labels = (torch.rand(3, 8, 2, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    request = rank_sum_auc_loss(s, labels, reduction="per_objective")
    for b in range(3):
        torch.testing.assert_close(rank_sum_auc_loss(s[b], labels[b], reduction="per_objective"), request[b])
    batch = rank_sum_auc_loss(s.flatten(), labels.flatten(0, 1), reduction="per_objective")
    assert batch.shape == (2,)
    assert not torch.allclose(batch, request.mean(dim=0), rtol=1e-2)
    assert rank_sum_auc_loss(s, labels, reduction="none").shape == (3,)
    torch.testing.assert_close(rank_sum_auc_loss(s, labels), request.mean())
    per_request = torch.rand(3, 2, dtype=torch.float64)
    torch.testing.assert_close(rank_sum_auc_loss(s, labels, weights=per_request), (per_request * request).mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("squash", [True, False])
def test_loss_under_a_mask(method: Method, normalise: bool, squash: bool) -> None:
    """Deletion in value and gradient, with NaN scores and labels on padding; a row of padding alone contributes 0."""
    s, where = example(B=5)
    where[4] = False
    labels = (torch.rand(*s.shape, 3, generator=torch.Generator().manual_seed(2)) < 0.4).double()
    labels[..., 2] = 1  # one class only
    labels[~where] = torch.nan
    s = s.masked_fill(~where, torch.nan).requires_grad_()
    options = dict(squash=squash, normalise=normalise, reduction="per_objective", method=method)
    loss = rank_sum_auc_loss(s, labels, where=where, **options)  # type: ignore[arg-type]
    assert (loss[4] == 0).all() and (loss[:, 2] == 0).all()
    loss.sum().backward()
    assert s.grad is not None and (s.grad[~where] == 0).all()
    for b in range(4):
        alone = s[b][where[b]].detach().requires_grad_()
        expected = rank_sum_auc_loss(alone, labels[b][where[b]], **options)  # type: ignore[arg-type]
        expected.sum().backward()
        torch.testing.assert_close(loss[b], expected)
        torch.testing.assert_close(s.grad[b][where[b]], alone.grad)


def test_one_class_has_no_gradient() -> None:
    s = example()[0].requires_grad_()
    labels = torch.stack([torch.zeros_like(s), torch.ones_like(s)], dim=-1).detach()
    for normalise in (True, False):
        loss = rank_sum_auc_loss(s, labels, normalise=normalise)
        (g,) = torch.autograd.grad(loss, s)
        assert loss.item() == 0 and (g == 0).all()


def test_loss_gradcheck_and_direction() -> None:
    """The whole loss at a strength of one block per row (no kink), and it raises positives above negatives."""
    s, _ = example(B=2, N=7, ties=False)
    labels = (torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    labels[:, 0], labels[:, 1] = 1, 0
    s.requires_grad_()
    (g,) = torch.autograd.grad(rank_sum_auc_loss(s, labels[..., :1], strength=50.0, squash=False), s)
    # One block: L = 1/2 - <(s - mean s) / epsilon, y> / (n+ n-), so dL/ds = -(y - mean y) / (epsilon n+ n-).
    y = labels[..., 0]
    epsilon = 50 * s.detach().std(dim=1, correction=0, keepdim=True) / 7
    positive = y.sum(dim=1, keepdim=True)
    expected = -(y - y.mean(dim=1, keepdim=True)) / (epsilon * positive * (7 - positive)) / 2
    torch.testing.assert_close(g, expected)
    assert ((g < 0) == (y == 1)).all()


def test_loss_of_nothing() -> None:
    for shape in ((3, 0), (0,)):
        s = torch.zeros(shape, requires_grad=True)
        loss = rank_sum_auc_loss(s, torch.zeros(*shape, 2))
        loss.backward()
        assert loss.item() == 0
    assert rank_sum_auc_loss(torch.zeros(0, 4), torch.zeros(0, 4, 2), reduction="none").shape == (0,)
