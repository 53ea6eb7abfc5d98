from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import ndcg_score
from torch import Tensor

from emer.losses import weighted_pairs
from emer.losses.listwise import lambdarank_loss, listnet_loss


def example(N: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(3, N, generator=g, dtype=torch.float64)
    t = torch.randint(0, 4, (3, N, 2), generator=g).double()
    where = torch.rand(3, N, generator=g) < 0.8
    return s.requires_grad_(), t, where


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_listnet_by_hand() -> None:
    scores = torch.tensor([0.0, math.log(3)])  # shares 1/4 and 3/4
    targets = torch.tensor([[math.log(2)], [0.0]])  # 2/3 and 1/3
    expected = -2 / 3 * math.log(1 / 4) - 1 / 3 * math.log(3 / 4)
    assert listnet_loss(scores, targets).item() == pytest.approx(expected, rel=1e-6)


def test_listnet_equals_scipy() -> None:
    s, t, where = example()
    ours = listnet_loss(s, t, where=where, reduction="per_objective").detach().numpy()
    for b, k in itertools.product(range(3), range(2)):
        kept = where[b].numpy()
        share = softmax(t[b, :, k].numpy()[kept])
        assert ours[b, k] == pytest.approx(-(share * log_softmax(s.detach()[b].numpy()[kept])).sum(), rel=1e-12)


def test_listnet_is_lowest_where_score_and_target_agree_up_to_a_constant() -> None:
    _, t, _ = example()
    s = (t[..., 0] + 7).requires_grad_()
    (gradient,) = torch.autograd.grad(listnet_loss(s, t[..., :1]), s)
    torch.testing.assert_close(gradient, torch.zeros_like(s), rtol=0, atol=1e-12)


def test_lambda_by_hand() -> None:
    scores = torch.tensor([1.0, 3.0, 2.0])  # places 3, 1, 2
    targets = torch.tensor([[2.0], [0.0], [1.0]])
    first, second, third = 1.0, 1 / math.log2(3), 1 / 2
    ideal = 2 * first + 1 * second
    # 0 above 1, 0 above 2, 2 above 1.
    expected = (
        (2 - 0) * (first - third) * softplus(3 - 1)
        + (2 - 1) * (second - third) * softplus(2 - 1)
        + (1 - 0) * (first - second) * softplus(3 - 2)
    ) / ideal
    assert lambdarank_loss(scores, targets).item() == pytest.approx(expected, rel=1e-6)
    # With k = 1 only swaps with place 1 count.
    at_1 = ((2 - 0) * first * softplus(3 - 1) + (1 - 0) * first * softplus(3 - 2)) / (2 * first)
    assert lambdarank_loss(scores, targets, k=1).item() == pytest.approx(at_1, rel=1e-6)


@pytest.mark.parametrize("k", [None, 3])
def test_pair_weights_are_the_change_of_scikit_learns_ndcg(k: int | None) -> None:
    g = torch.Generator().manual_seed(1)
    s = torch.randn(6, generator=g, dtype=torch.float64)
    t = torch.randint(0, 4, (6,), generator=g).double()
    places, gains = s.numpy(), t.numpy()

    def ndcg(scores: np.ndarray) -> float:
        return ndcg_score(gains[None], scores[None], k=k)

    expected = 0.0
    for i, j in itertools.product(range(6), range(6)):
        if gains[i] > gains[j]:
            swapped = places.copy()
            swapped[[i, j]] = swapped[[j, i]]
            expected += abs(ndcg(places) - ndcg(swapped)) * softplus(places[j] - places[i])
    assert lambdarank_loss(s, t.unsqueeze(-1), k=k).item() == pytest.approx(expected, rel=1e-9)


def test_lambda_gradient_is_the_lambda_of_the_paper() -> None:
    s, t, _ = example()
    (gradient,) = torch.autograd.grad(lambdarank_loss(s[0], t[0, :, :1]), s)
    step = 1e-6
    for i in range(6):
        up = s.detach()[0].clone()
        up[i] += step
        down = s.detach()[0].clone()
        down[i] -= step
        slope = (lambdarank_loss(up, t[0, :, :1]) - lambdarank_loss(down, t[0, :, :1])) / (2 * step)
        assert gradient[0, i].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-9)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    s, t, where = example(N=11)

    def result() -> tuple[Tensor, Tensor]:
        loss = lambdarank_loss(s, t, where=where, reduction="per_objective")
        return loss, torch.autograd.grad(loss.sum(), s)[0]

    whole = result()
    for tile in (40, 130, 250):  # four first candidates at a time; one request; two requests
        monkeypatch.setattr(weighted_pairs, "TILE", tile)
        torch.testing.assert_close(result(), whole, rtol=1e-12, atol=1e-14)


def test_wrong_arguments_are_refused() -> None:
    s, t, _ = example()
    with pytest.raises(ValueError, match="negative"):
        lambdarank_loss(s, t - 1)
    with pytest.raises(ValueError, match="k is 0"):
        lambdarank_loss(s, t, k=0)
