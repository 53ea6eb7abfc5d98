from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emer.losses.candidate_weighted import candidate_weighted_pairwise_loss
from emer.losses.pairwise import pairwise_logistic_loss


def all_pairs(s: Tensor, t: Tensor, a: Tensor, where: Tensor) -> Tensor:
    """(B, K) by the definition, differentiable."""
    d = s.unsqueeze(2) - s.unsqueeze(1)
    value = -torch.nn.functional.logsigmoid(d)
    both = where.unsqueeze(2) & where.unsqueeze(1)
    losses = []
    for k in range(t.shape[2]):
        pair = (t[:, :, None, k] > t[:, None, :, k]) & both
        weight = torch.where(pair, a.unsqueeze(2) * a.unsqueeze(1), 0)
        total = weight.sum(dim=(1, 2))
        losses.append((weight * value.masked_fill(~pair, 0)).sum(dim=(1, 2)) / total.masked_fill(total == 0, 1))
    return torch.stack(losses, dim=1)


def example(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = scale * torch.randn(4, 30, generator=g, dtype=torch.float64)
    t = torch.randint(0, 4, (4, 30, 3), generator=g).double()
    t[..., 0] = torch.rand(4, 30, generator=g)
    t[2, :, 1] = 7.0
    a = torch.rand(4, 30, generator=g, dtype=torch.float64) * 5
    a[1, :5] = 0
    where = torch.rand(4, 30, generator=g) < 0.8
    return s.requires_grad_(), t, a, where


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
def test_equals_all_pairs(scale: float) -> None:
    s, t, a, where = example(scale)
    weights = torch.rand(4, 3, dtype=torch.float64)
    ours = candidate_weighted_pairwise_loss(s, t, a, where=where, reduction="per_objective")
    oracle = all_pairs(s, t, a, where)
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-14)
    assert ours[2, 1] == 0
    (wanted,) = torch.autograd.grad((oracle * weights).mean(), s)
    (found,) = torch.autograd.grad(candidate_weighted_pairwise_loss(s, t, a, weights=weights, where=where), s)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_equal_weights_are_no_weights() -> None:
    s, t, a, where = example()
    same = candidate_weighted_pairwise_loss(s, t, torch.full_like(a, 0.3), where=where, reduction="none")
    torch.testing.assert_close(same, pairwise_logistic_loss(s, t, where=where, reduction="none"), rtol=1e-11, atol=0)


def test_a_candidate_of_weight_2_is_two_candidates() -> None:
    """Between them the two are tied in their targets, so that they make no pair."""
    s, t, _, _ = example()
    a = torch.ones(4, 30)
    a[:, 3] = 2
    copied = torch.cat([torch.arange(30), torch.tensor([3])])
    torch.testing.assert_close(
        candidate_weighted_pairwise_loss(s, t, a, reduction="per_objective"),
        pairwise_logistic_loss(s[:, copied], t[:, copied], reduction="per_objective"),
    )


def test_wrong_weights_are_refused() -> None:
    s, t, a, _ = example()
    with pytest.raises(ValueError, match="candidate_weights have shape"):
        candidate_weighted_pairwise_loss(s, t, a[:, :2])
    for wrong in (-1.0, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="finite and not negative"):
            candidate_weighted_pairwise_loss(s, t, a.index_fill(1, torch.tensor([1]), wrong))
