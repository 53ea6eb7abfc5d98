from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from emer.errors import EmerError
from emer.objectives.rank_sum import RankSumObjective
from emer.requests import RequestBatch

HARD = 1e-3
"""Strength at which soft ranks are the ranks."""

TERMS = (
    "rank_sum/click", "rank_sum/long_view", "rank_sum/like",
    "positives/click", "positives/long_view", "positives/like", "skipped",
)  # fmt: skip


def with_labels(batch: RequestBatch, exposed: list[list[int]], *labels: list[list[int]]) -> RequestBatch:
    """The batch with these exposures, and these values of click, long_view and like."""
    columns = [torch.tensor(label, dtype=torch.float32) for label in labels]
    return replace(batch, exposed=torch.tensor(exposed, dtype=torch.bool), label=torch.stack(columns, dim=-1))


@pytest.fixture
def hand(batch_of) -> RequestBatch:
    """Two requests of four candidates, of which the last of the second was not shown."""
    return with_labels(
        batch_of(B=2, N=4, full=True),
        [[1, 1, 1, 1], [1, 1, 1, 0]],
        [[1, 0, 1, 0], [0, 1, 0, 0]],
        [[0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    )


SCORES = torch.tensor([[0.4, 0.3, 0.2, 0.1], [-0.5, -0.4, -0.3, 9.0]])


def test_request_scope_by_hand(hand) -> None:
    output = RankSumObjective(scope="request", strength=HARD)(SCORES, hand)
    # Clicks of the first request beat the others in 3 of 4 pairs, that of the second in 1 of 2.
    click = ((1 - 3 / 4) + (1 - 1 / 2)) / 2
    # Long view has both classes in the first request alone, where it is last; like has them nowhere.
    long_view = 1 - 0 / 3
    assert output.loss.item() == pytest.approx(click + long_view + 0, abs=1e-6)
    expected = [click, long_view, 0, (2 + 1) / 2, (1 + 0) / 2, 0, (1 + 2) / 2]
    assert list(output.terms) == list(TERMS)
    assert [v.item() for v in output.terms.values()] == pytest.approx(expected, abs=1e-6)
    assert {k: int(v) for k, v in output.counts.items()} == dict(zip(TERMS, [2, 1, 0], strict=False))


def test_batch_scope_by_hand(hand) -> None:
    output = RankSumObjective(strength=HARD)(SCORES, hand)
    # Order: 0.4 click, 0.3, 0.2 click, 0.1 long view, -0.3, -0.4 click, -0.5. Clicks beat 4 + 3 + 1 of 3 * 4.
    click, long_view = 1 - (4 + 3 + 1) / (3 * 4), 1 - 3 / 6
    assert output.loss.item() == pytest.approx(click + long_view + 0, abs=1e-6)
    assert [v.item() for v in output.terms.values()] == pytest.approx([click, long_view, 0, 3, 1, 0, 1], abs=1e-6)
    assert {k: int(v) for k, v in output.counts.items()} == dict(zip(TERMS, [3 * 4, 1 * 6, 0], strict=False))


def test_two_candidates_at_a_large_strength_by_hand(batch_of) -> None:
    batch = with_labels(batch_of(B=1, N=2, full=True), [[1, 1]], [[1, 0]], [[0, 1]], [[0, 0]])
    scores = torch.tensor([[0.3, 0.1]])
    # sd = gap / 2 and epsilon = 8 * sd / 2 = 2 gap: one block, ranks 1.5 +- (gap / 2) / epsilon = 1.5 +- 1 / 4.
    output = RankSumObjective(strength=8.0)(scores, batch)
    assert output.terms["rank_sum/click"].item() == pytest.approx(1 - (1.75 - 1) / 1, rel=1e-5)
    assert output.terms["rank_sum/long_view"].item() == pytest.approx(1 - (1.25 - 1) / 1, rel=1e-5)
    literal = RankSumObjective(strength=8.0, normalise=False)(scores, batch)
    assert literal.loss.item() == pytest.approx(-1.75 - 1.25, rel=1e-5)


def by_one_block(t: Tensor, y: Tensor, strength: float) -> float:
    """1 - AUC with ranks that are affine in t, in float64."""
    t, y = t.double().numpy(), y.double().numpy()
    n, positive = len(t), y.sum()
    r = (n + 1) / 2 + (t - t.mean()) / (strength * t.std() / n)
    return 1 - (r @ y - positive * (positive + 1) / 2) / (positive * (n - positive))


@pytest.mark.parametrize("sigmoid", [True, False])
def test_ranks_are_of_the_sigmoid_or_of_the_score(batch_of, sigmoid) -> None:
    batch = batch_of(B=4, N=12, seed=3)
    scores = 3 * torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    output = RankSumObjective(strength=50.0, sigmoid=sigmoid)(scores, batch)
    s = scores[batch.exposed]
    t = torch.sigmoid(s) if sigmoid else s
    expected = sum(by_one_block(t, batch.label[batch.exposed][:, m], 50.0) for m in range(3))
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_hard_ranks_are_the_auc_of_scikit_learn_with_ties(batch_of) -> None:
    batch = batch_of(B=6, N=15, seed=3)
    scores = torch.randn(6, 15, generator=torch.Generator().manual_seed(1)).mul(2).round() / 2
    label, s = batch.label[batch.exposed].numpy(), scores[batch.exposed].numpy()
    whole = [1 - roc_auc_score(label[:, m], s) for m in range(3)]
    assert RankSumObjective(strength=HARD)(scores, batch).loss.item() == pytest.approx(sum(whole), abs=1e-5)
    total = 0.0
    for m in range(3):
        lists = [(batch.label[b, e, m].numpy(), scores[b, e].numpy()) for b, e in enumerate(batch.exposed)]
        total += np.mean([1 - roc_auc_score(y, s) for y, s in lists if 0 < y.sum() < len(y)])
    request = RankSumObjective(scope="request", strength=HARD)(scores, batch)
    assert request.loss.item() == pytest.approx(total, abs=1e-5)
    assert abs(total - sum(whole)) > 0.01


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_only_exposed_candidates_are_read(batch_of, scope) -> None:
    batch = batch_of(B=5, N=9, seed=2)
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(5), requires_grad=True)
    objective = RankSumObjective(scope=scope)
    output = objective(scores, batch)
    other = torch.where(batch.exposed, scores, torch.nan)
    torch.testing.assert_close(objective(other, batch).loss, output.loss, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(output.loss, scores)
    assert torch.equal(gradient[~batch.exposed], torch.zeros(int((~batch.exposed).sum())))
    assert gradient[batch.exposed].abs().max() > 1e-3


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_a_step_along_the_gradient_raises_the_auc(batch_of, scope) -> None:
    batch = batch_of(B=5, N=9, seed=2)
    scores = torch.zeros(5, 9).normal_(generator=torch.Generator().manual_seed(5)).requires_grad_()
    objective, hard = RankSumObjective(scope=scope), RankSumObjective(scope=scope, strength=HARD)
    (gradient,) = torch.autograd.grad(objective(scores, batch).loss, scores)
    stepped = scores - 2 * gradient / gradient.abs().max()
    assert hard(stepped, batch).loss < hard(scores, batch).loss - 0.05


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_the_order_of_requests_and_candidates_does_not_matter(batch_of, scope) -> None:
    batch = batch_of(B=5, N=9, seed=2)
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(5))
    columns, rows = torch.randperm(9), torch.randperm(5)
    moved = replace(
        batch.select(rows),
        exposed=batch.exposed[rows][:, columns],
        label=batch.label[rows][:, columns],
        mask=batch.mask[rows][:, columns],
    )
    objective = RankSumObjective(scope=scope)
    torch.testing.assert_close(objective(scores[rows][:, columns], moved).loss, objective(scores, batch).loss)


@pytest.mark.parametrize("scope", ["batch", "request"])
@pytest.mark.parametrize("normalise", [True, False])
def test_without_exposures_the_loss_is_zero(batch_of, scope, normalise) -> None:
    batch = batch_of(B=2, N=4)
    empty = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    scores = torch.randn(2, 4, requires_grad=True)
    output = RankSumObjective(scope=scope, normalise=normalise)(scores, empty)
    output.loss.backward()
    assert output.loss.item() == 0
    assert torch.equal(scores.grad, torch.zeros(2, 4))
    assert tuple(output.terms) == TERMS
    assert output.terms["skipped"].item() == 3
    assert all(int(count) == 0 for count in output.counts.values())


def test_weights_and_total(hand) -> None:
    plain = RankSumObjective(scope="request")(SCORES, hand).terms
    objective = RankSumObjective(scope="request", label_weights={"click": 3.0, "like": 0.0})
    output = objective(SCORES, hand)
    expected = 3 * plain["rank_sum/click"] + plain["rank_sum/long_view"]
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(objective.total(output.terms), output.loss)
    assert not objective.needs_previous


def test_term_names_are_those_of_every_batch(hand, schema, batch_of) -> None:
    objective = RankSumObjective()
    assert objective.term_names(schema) == TERMS
    assert tuple(objective(SCORES, hand).terms) == TERMS
    assert not any(value.requires_grad for value in objective(SCORES.requires_grad_(), hand).terms.values())


def test_equal_scores_give_half_and_a_finite_gradient(hand) -> None:
    scores = torch.zeros(2, 4, requires_grad=True)
    output = RankSumObjective()(scores, hand)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(0.5 + 0.5)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("scope", {"scope": "session"}),
        ("strength", {"strength": 0.0}),
        ("strength", {"strength": float("nan")}),
        ("strength", {"strength": float("inf")}),
        ("label_weights.click", {"label_weights": {"click": -1.0}}),
        ("label_weights.click", {"label_weights": {"click": float("nan")}}),
    ],
)
def test_bad_options_are_refused(key, options) -> None:
    with pytest.raises(EmerError, match=f"method.objective.{key}"):
        RankSumObjective(**options)


def test_labels_that_do_not_exist_are_refused(hand, schema) -> None:
    with pytest.raises(EmerError, match="names gift; the labels are click, long_view, like"):
        RankSumObjective(label_weights={"gift": 1.0})(SCORES, hand)
    nothing = RankSumObjective(label_weights=dict.fromkeys(schema.feedback_names, 0.0))
    with pytest.raises(EmerError, match="are all 0: nothing is left to train on"):
        nothing(SCORES, hand)
    bare = replace(schema, objectives=(schema.objectives[1],), feedback=())
    unlabelled = replace(hand, schema=bare, label=hand.label[..., :0])
    with pytest.raises(EmerError, match="learns from feedback labels, and this log has none"):
        RankSumObjective()(SCORES, unlabelled)
