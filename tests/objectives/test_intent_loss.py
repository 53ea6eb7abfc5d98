from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from emer.objectives.intent_loss import intent_counts, intent_loss


def test_counts_by_scanning(batch_of) -> None:
    batch = batch_of(B=5, N=9, seed=2)
    group = batch.item_categories[..., 0]
    # Labels of unexposed candidates must not be read; these are there to be.
    noisy = replace(batch, label=torch.where(batch.exposed.unsqueeze(-1), batch.label, 1.0))
    expected = torch.zeros(5, 2 * 7)
    for b in range(5):
        for n in range(9):
            for p, column in enumerate((1, 2)):  # long_view and like; click does not count
                if batch.exposed[b, n] and batch.label[b, n, column]:
                    expected[b, p * 7 + int(group[b, n])] += 1
    assert torch.equal(intent_counts(noisy, group, 14), expected)
    assert expected.sum() > 10
    labels = intent_counts(noisy, torch.zeros_like(group), 2)
    assert torch.equal(labels, expected.view(5, 2, 7).sum(dim=2))


def test_cells_must_fit_the_labels(batch_of) -> None:
    batch = batch_of()
    with pytest.raises(ValueError, match="7 cells"):
        intent_counts(batch, torch.zeros(3, 9, dtype=torch.int64), 7)


def test_loss_by_hand() -> None:
    p = [0.5, 0.2, 0.3]
    t = [3 / 4, 1 / 4, 0.0]
    smooth = [0.9 * x + 0.1 / 3 for x in t]
    ce = -(3 / 4 * math.log(0.5) + 1 / 4 * math.log(0.2)) - math.log(1 - 0.3)
    kl = sum(x * math.log(x / y) for x, y in zip(smooth, p, strict=True))
    loss = intent_loss(torch.tensor([p]).log(), torch.tensor([[3.0, 1.0, 0.0]]), smoothing=0.1)
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(0.5 * ce + 0.5 * 4 * kl, rel=1e-5)


def test_requests_without_counts_are_0_without_gradient() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    counts = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [2.0, 0, 1, 0]])
    loss = intent_loss(logits.log_softmax(-1), counts)
    loss.sum().backward()
    assert loss[1] == 0
    assert loss[0] > 0
    assert not logits.grad[1].any()
    assert logits.grad[0].abs().min() > 0


def test_learning_it_finds_the_target() -> None:
    counts = torch.tensor([[6.0, 3.0, 1.0, 0.0]])
    logits = torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        intent_loss(logits.log_softmax(-1), counts).sum().backward()
        optimizer.step()
    torch.testing.assert_close(logits.softmax(-1), counts / 10, rtol=0, atol=0.02)


def test_a_certain_mistake_and_a_single_cell_are_finite() -> None:
    logits = torch.tensor([[0.0, 200.0], [200.0, 0.0]], requires_grad=True)
    counts = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = intent_loss(logits.log_softmax(-1), counts)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()
    assert loss[0] > 100
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
    one = torch.zeros(1, 1, requires_grad=True)
    only = intent_loss(one.log_softmax(-1), torch.tensor([[2.0]]))
    only.sum().backward()
    assert only.item() == pytest.approx(0, abs=1e-6)
    assert not one.grad.any()
