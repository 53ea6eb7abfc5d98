from __future__ import annotations

import math

import pytest
import torch

from emer.losses import gaussian_pairs
from emer.losses.gaussian_pairs import gaussian_pair_losses, gaussian_pairwise_terms
from emer.ranking import rank_gap

B, N, K = 3, 7, 2


def case(seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, B, N, generator=g, dtype=torch.float64)
    a = torch.rand(B, N, generator=g, dtype=torch.float64)
    # Half of the targets are tied, and the last request has nothing but ties in objective 0.
    targets = torch.randint(3, (B, N, K), generator=g).float()
    targets[2, :, 0] = 1
    where = torch.arange(N) < torch.tensor([[7], [4], [5]])
    return mean, log_variance, a, targets, where


def brute_force(mean, log_variance, a, targets, where, b, k, ties):
    total = amount = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        for j in range(N):
            if i == j or not (where[b, i] and where[b, j]):
                continue
            label = 1.0 if targets[b, i, k] > targets[b, j, k] else 0.0
            if ties == "half" and targets[b, i, k] == targets[b, j, k]:
                label = 0.5
            z = (mean[b, i] - mean[b, j]) / (log_variance[b, i].exp() + log_variance[b, j].exp()).sqrt()
            total = total - label * a[b, i] * a[b, j] * torch.log((1 + torch.erf(z / math.sqrt(2))) / 2)
            amount = amount + label * a[b, i] * a[b, j]
    return total / amount if amount > 0 else total


@pytest.mark.parametrize("ties", ["exclude", "half"])
@pytest.mark.parametrize("tile", [None, 5, 20])
def test_equals_the_double_loop_with_its_gradient(monkeypatch, ties, tile) -> None:
    if tile is not None:
        monkeypatch.setattr(gaussian_pairs, "TILE", tile)
    mean, log_variance, a, targets, where = case()
    weights = torch.rand(B, K, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.5
    ranks = rank_gap(targets, where)
    leaves = [x.clone().requires_grad_() for x in (mean, log_variance)]
    loss, per_objective = gaussian_pairwise_terms(*leaves, ranks, a, weights=weights, where=where, ties=ties)
    twins = [x.clone().requires_grad_() for x in (mean, log_variance)]
    expected = torch.stack(
        [torch.stack([brute_force(*twins, a, targets, where, b, k, ties) for k in range(K)]) for b in range(B)]
    )
    torch.testing.assert_close(per_objective, expected.detach())
    torch.testing.assert_close(loss, (weights * expected).mean(dim=1))
    factor = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (loss * factor).sum().backward()
    ((weights * expected).mean(dim=1) * factor).sum().backward()
    for leaf, twin in zip(leaves, twins, strict=True):
        torch.testing.assert_close(leaf.grad, twin.grad)
        assert torch.equal(leaf.grad[~where], torch.zeros(int((~where).sum()), dtype=torch.float64))
    assert (per_objective[2, 0].item() == 0) is (ties == "exclude")


def test_two_candidates_by_hand() -> None:
    """mu 1 and 0 with variances 1 and 3: z = 1 / 2."""
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(3)]])
    ranks = torch.tensor([[[1], [-1]]])
    loss, _ = gaussian_pairwise_terms(mean, log_variance, ranks, torch.ones(1, 2))
    expected = -math.log((1 + math.erf(0.5 / math.sqrt(2))) / 2)
    assert loss.item() == pytest.approx(expected)
    assert gaussian_pair_losses(mean[0, :1], mean[0, 1:], log_variance[0, :1], log_variance[0, 1:]).item() == (
        pytest.approx(expected)
    )


@pytest.mark.parametrize("gap", [40.0, 1e4, 1e6])
def test_far_tails_are_finite_and_pull(gap) -> None:
    """-log Phi(z) is z^2 / 2 + log(-z sqrt(2 pi)) far down, and its slope -z - 1 / z."""
    for sign in (1.0, -1.0):
        mean = torch.tensor([[sign * gap, 0.0]], requires_grad=True)
        log_variance = torch.full((1, 2), -math.log(2)).requires_grad_()
        loss, _ = gaussian_pairwise_terms(mean, log_variance, torch.tensor([[[1], [-1]]]), torch.ones(1, 2))
        loss.sum().backward()
        expected, slope = (0.0, 0.0) if sign > 0 else (gap**2 / 2 + math.log(gap * math.sqrt(2 * math.pi)), -gap)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert mean.grad[0].tolist() == pytest.approx([slope, -slope], rel=1e-2)
        # A wrong pair is less wrong if it is less certain: half of dz/dv each.
        assert log_variance.grad[0].tolist() == pytest.approx([slope * gap / 4] * 2, rel=1e-2)


def test_a_nan_outside_is_not_read_and_one_inside_is_not_hidden() -> None:
    mean, log_variance, a, targets, where = case()
    ranks = rank_gap(targets, where)
    clean = gaussian_pairwise_terms(mean, log_variance, ranks, a, where=where).loss
    dirty = [x.masked_fill(~where, torch.nan) for x in (mean, log_variance, a)]
    assert torch.equal(gaussian_pairwise_terms(dirty[0], dirty[1], ranks, dirty[2], where=where).loss, clean)
    mean[1, 0] = torch.nan
    loss = gaussian_pairwise_terms(mean, log_variance, ranks, a, where=where).loss
    assert loss.isnan().tolist() == [False, True, False]


def test_500_candidates_take_little_memory_and_int16_ranks() -> None:
    mean = torch.randn(1, 500, requires_grad=True)
    ranks = rank_gap(mean.detach().unsqueeze(-1), torch.ones(1, 500, dtype=torch.bool)).to(torch.int16)
    loss, _ = gaussian_pairwise_terms(mean, torch.zeros(1, 500), ranks, torch.ones(1, 500))
    loss.sum().backward()
    assert 0 < loss.item() < math.log(2)
    assert mean.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_extremes_of_int16_are_compared_not_subtracted() -> None:
    ranks = torch.tensor([[[32767], [-32767]]], dtype=torch.int16)
    _, per_objective = gaussian_pairwise_terms(torch.tensor([[9.0, 0.0]]), torch.zeros(1, 2), ranks, torch.ones(1, 2))
    assert 0 < per_objective.item() < 1e-6


def test_misfits_are_refused() -> None:
    mean, log_variance, a, targets, where = case()
    ranks = rank_gap(targets, where)
    with pytest.raises(ValueError, match="ties"):
        gaussian_pairwise_terms(mean, log_variance, ranks, a, ties="never")
    with pytest.raises(ValueError, match="log_variance has shape"):
        gaussian_pairwise_terms(mean, log_variance[:, :3], ranks, a)
    with pytest.raises(ValueError, match="candidate_weights has shape"):
        gaussian_pairwise_terms(mean, log_variance, ranks, a[:1])
    with pytest.raises(ValueError, match="integers"):
        gaussian_pairwise_terms(mean, log_variance, targets, a)
