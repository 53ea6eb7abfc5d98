from __future__ import annotations

import math

import pytest
import torch

from emer.metrics.topk import dcg_at_k, hit_rate_at_k, mean_at_k, ndcg_at_k
from emer.objectives.advantage import advantage_weights

WHERE = torch.ones(1, 3, dtype=torch.bool)
TARGETS = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]])


def test_dcg_ratio_by_hand() -> None:
    previous, current = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    discounts = [1 / math.log2(r + 1) for r in (1, 2)]
    best = 0.9 * discounts[0] + 0.5 * discounts[1]
    worst = 0.1 * discounts[0] + 0.5 * discounts[1]
    weights = advantage_weights(current, previous, TARGETS, where=WHERE, k=2)
    assert weights[0].tolist() == pytest.approx([best / worst, worst / best], rel=1e-4)


@pytest.mark.parametrize("metric", ["dcg", "mean", "hit_rate"])
@pytest.mark.parametrize("scope", ["request", "batch_mean"])
def test_exactly_one_when_nothing_changed(metric, scope, batch_of) -> None:
    batch = batch_of(B=4)
    s = torch.randn(4, 9)
    weights = advantage_weights(s, s * 2 + 1, batch.pxtr, where=batch.mask, metric=metric, scope=scope)
    assert torch.equal(weights, torch.ones(4, 4))


@pytest.mark.parametrize("metric", ["dcg", "mean", "hit_rate"])
def test_above_one_for_the_objective_that_was_made_worse(metric) -> None:
    previous, current = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    weights = advantage_weights(current, previous, TARGETS, where=WHERE, metric=metric, k=1)
    assert weights[0, 0] > 1 > weights[0, 1] > 0


def test_empty_overlap_is_finite() -> None:
    """HitRate 0 on one side stays positive and finite (A17: delta = 1/K)."""
    current = torch.tensor([[1.0, 2.0, 3.0]])
    weights = advantage_weights(current, current.flip(1), TARGETS, where=WHERE, metric="hit_rate", k=1)
    # Objective 0: previous hits (1 + 1) / (0 + 1); objective 1 the other way round.
    assert weights[0].tolist() == pytest.approx([2.0, 0.5])


def test_a_hit_rate_of_nothing_before_and_now_weighs_one() -> None:
    current = torch.tensor([[1.0, 2.0, 3.0]])
    wanted = torch.tensor([[[0.1], [0.9], [0.1]]])
    weights = advantage_weights(current, current.flip(1), wanted, where=WHERE, metric="hit_rate", k=1)
    assert weights.tolist() == [[1.0]]


def test_all_zero_targets_are_finite() -> None:
    s = torch.tensor([[1.0, 2.0, 3.0]])
    weights = advantage_weights(s, s.flip(1), torch.zeros(1, 3, 2), where=WHERE)
    assert weights.tolist() == [[1.0, 1.0]]


def test_dcg_and_ndcg_give_the_same_weights(batch_of) -> None:
    """The ideal cancels, so rescaling an objective (seconds to milliseconds) changes nothing."""
    batch = batch_of(B=5)
    s, p = torch.randn(5, 9), torch.randn(5, 9)
    raw = advantage_weights(s, p, batch.pxtr, where=batch.mask)
    scaled = advantage_weights(s, p, batch.pxtr * 1000, where=batch.mask)
    torch.testing.assert_close(raw, scaled)


def test_rare_pxtrs_get_the_ratio_of_ndcgs(batch_of) -> None:
    """A DCG of 1e-8 must not drown in a constant that keeps the ratio finite."""
    batch = batch_of(B=5)
    s, p = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(1))
    rare = batch.pxtr * 1e-8
    before, now = (ndcg_at_k(x, rare, 3, where=batch.mask) for x in (p, s))
    weights = advantage_weights(s, p, rare, where=batch.mask, k=3)
    torch.testing.assert_close(weights, before / now, rtol=1e-4, atol=0)
    assert (weights - 1).abs().max() > 0.3


def test_padding_is_not_read(batch_of) -> None:
    batch = batch_of(B=5)
    s, p = torch.randn(5, 9), torch.randn(5, 9)
    noisy = torch.where(batch.mask, s, 99.0)
    torch.testing.assert_close(
        advantage_weights(s, p, batch.pxtr, where=batch.mask),
        advantage_weights(noisy, p, batch.pxtr, where=batch.mask),
    )


def test_clip_and_normalise() -> None:
    previous, current = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    clipped = advantage_weights(current, previous, TARGETS, where=WHERE, k=1, clip=2.0)
    assert clipped[0].tolist() == pytest.approx([2.0, 0.5])
    normal = advantage_weights(current, previous, TARGETS, where=WHERE, k=1, normalise="mean1")
    assert normal.mean().item() == pytest.approx(1.0)


def test_batch_mean_is_one_weight_per_objective(batch_of) -> None:
    batch = batch_of(B=5)
    weights = advantage_weights(torch.randn(5, 9), torch.randn(5, 9), batch.pxtr, where=batch.mask, scope="batch_mean")
    assert torch.equal(weights, weights[:1].expand(5, -1))
    assert not torch.equal(weights, torch.ones(5, 4))


@pytest.mark.parametrize("option", [{"metric": "auc"}, {"scope": "user"}, {"normalise": "sum"}])
def test_unknown_options_are_refused(option) -> None:
    s = torch.randn(1, 3)
    with pytest.raises(ValueError, match="must be"):
        advantage_weights(s, s, TARGETS, where=WHERE, **option)


@pytest.mark.parametrize(("metric", "function"), [("dcg", dcg_at_k), ("mean", mean_at_k), ("hit_rate", hit_rate_at_k)])
def test_weights_are_the_ratio_of_the_public_metrics(metric, function, batch_of) -> None:
    """Bit for bit, one metric call per model and, for the ideal, per objective; scores and targets with ties."""
    batch = batch_of(B=6, N=30)
    targets = (batch.pxtr * 5).round()
    s, p = torch.randn(6, 30).round(), torch.randn(6, 30).round()
    current, previous = (function(x, targets, 4, where=batch.mask) for x in (s, p))
    if metric == "hit_rate":
        delta = torch.full_like(current, 1 / 4)
    else:
        columns = targets.split(1, dim=-1)
        ideal = torch.cat([function(c.squeeze(-1), c, 4, where=batch.mask) for c in columns], dim=-1)
        delta = (1e-6 * ideal).clamp(min=torch.finfo(torch.float32).tiny)
    weights = advantage_weights(s, p, targets, where=batch.mask, metric=metric, k=4)
    assert torch.equal(weights, (previous + delta) / (current + delta))
