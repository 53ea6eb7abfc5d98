from __future__ import annotations

import pytest
import torch

from emer.losses.label_aggregation import label_aggregation_loss


def test_value_by_hand() -> None:
    scores = torch.tensor([1.0, -2.0])
    labels = torch.tensor([[1, 1], [0, 1]])
    assert label_aggregation_loss(scores, labels).item() == pytest.approx(((1 - 2) ** 2 + (-2 - 1) ** 2) / 2)
    weighted = label_aggregation_loss(scores, labels, weights=torch.tensor([3.0, 0.5]))
    assert weighted.item() == pytest.approx(((1 - 3.5) ** 2 + (-2 - 0.5) ** 2) / 2)


def test_weights_may_differ_by_request() -> None:
    g = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(3, 5, generator=g), torch.rand(3, 5, 2, generator=g)
    weights = torch.rand(3, 2, generator=g)
    ours = label_aggregation_loss(scores, labels, weights=weights, reduction="none")
    one_by_one = [label_aggregation_loss(scores[b], labels[b], weights=weights[b]) for b in range(3)]
    torch.testing.assert_close(ours, torch.stack(one_by_one))


def test_stochastic_draws_labels_of_the_row_in_proportion_to_the_weights() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.tensor([0.0, 1.0, 10.0]).expand(2, 50_000, 3)
    scores = torch.zeros(2, 50_000)
    weights = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
    loss = label_aggregation_loss(scores, labels, weights=weights, stochastic=True, generator=g, reduction="none")
    # Mean of t^2: 3/4 of the rows draw 1; all draw 10. Four standard errors of a share: 4 sqrt(3/16 / 50 000) < 0.008.
    assert loss[0].item() == pytest.approx(3 / 4, abs=0.008)
    assert loss[1].item() == 100


def test_the_expected_gradient_is_that_of_the_mean_label() -> None:
    g = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(4, generator=g).requires_grad_(), torch.rand(4, 3, generator=g)
    weights = torch.tensor([1.0, 2.0, 1.0])
    many = scores.expand(20_000, 4)
    drawn = label_aggregation_loss(many, labels.expand(20_000, 4, 3), weights=weights, stochastic=True, generator=g)
    (ours,) = torch.autograd.grad(drawn, scores)
    (mean,) = torch.autograd.grad(label_aggregation_loss(scores, labels, weights=weights / 4), scores)
    torch.testing.assert_close(ours, mean, rtol=0, atol=0.01)


def test_draws_follow_the_generator() -> None:
    scores, labels = torch.randn(3, 9), torch.rand(3, 9, 4)

    def loss(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return label_aggregation_loss(scores, labels, stochastic=True, generator=generator).item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
