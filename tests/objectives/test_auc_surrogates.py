from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from emer.errors import EmerError
from emer.objectives.auc_surrogates import PairwiseLogistic, PairwiseSquare
from emer.requests import RequestBatch


@pytest.fixture
def two(batch_of) -> RequestBatch:
    """Request 0 shows a liked and a plain candidate, request 1 two plain ones."""
    base = batch_of(B=2, N=2, full=True)
    label = torch.zeros(2, 2, 3)
    label[0, 0, 2] = 1
    return replace(base, exposed=torch.ones(2, 2, dtype=torch.bool), label=label).validate()


@pytest.fixture
def scores() -> torch.Tensor:
    """Logits of the probabilities 3/4; 1/2, 1/4 and 9/10."""
    return torch.tensor([[math.log(3), 0.0], [-math.log(3), math.log(9)]])


def test_logistic_by_hand(two, scores) -> None:
    """softplus(-d) = log(1 + e^-d), on the raw scores: e^(s_n - s_p) = 1/3, 1/9 and 9/3."""
    output = PairwiseLogistic()(scores, two)
    across = (math.log(1 + 1 / 3) + math.log(1 + 1 / 9) + math.log(1 + 9 / 3)) / 3
    assert [x.item() for x in output.terms.values()] == pytest.approx([0, 0, across])
    assert [x.item() for x in output.counts.values()] == [0, 0, 3]
    within = PairwiseLogistic(scope="request")(scores, two)
    assert within.terms["pairwise_logistic/like"].item() == pytest.approx(math.log(1 + 1 / 3))
    assert within.counts["pairwise_logistic/like"].item() == 1


def test_square_by_hand(two, scores) -> None:
    """On the sigmoids, with the margin in their units."""
    output = PairwiseSquare(margin=0.5)(scores, two)
    pairs = [(0.5 - (3 / 4 - h)) ** 2 for h in (1 / 2, 1 / 4, 9 / 10)]
    assert output.terms["pairwise_square/like"].item() == pytest.approx(sum(pairs) / 3)
    within = PairwiseSquare(scope="request")(scores, two)
    assert within.terms["pairwise_square/like"].item() == pytest.approx((1 - (3 / 4 - 1 / 2)) ** 2)


@pytest.mark.parametrize("scope", ["batch", "request"])
@pytest.mark.parametrize("kind", ["logistic", "square"])
def test_loss_and_gradient_by_brute_force(kind, scope, batch_of) -> None:
    """In float64, the pairs one by one; the mean is over the lists that have one."""
    batch = batch_of(B=5, N=8, seed=3)
    s = torch.randn(5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    t = s.detach().clone().requires_grad_()
    weights = {"click": 0.5, "long_view": 1.0, "like": 4.0}
    objective = (PairwiseLogistic if kind == "logistic" else PairwiseSquare)(scope=scope, label_weights=weights)
    objective(s, batch).loss.backward()
    shown = [(b, i) for b, i in itertools.product(range(5), range(8)) if batch.exposed[b, i]]
    lists = [shown] if scope == "batch" else [[row for row in shown if row[0] == b] for b in range(5)]
    loss = torch.zeros((), dtype=torch.float64)
    for m, weight in enumerate(weights.values()):
        means = []
        for rows in lists:
            d = [t[p] - t[n] for p in rows for n in rows if batch.label[(*p, m)] == 1 and batch.label[(*n, m)] == 0]
            h = [
                t[p].sigmoid() - t[n].sigmoid()
                for p in rows
                for n in rows
                if batch.label[(*p, m)] > batch.label[(*n, m)]
            ]
            pair = [F.softplus(-x) for x in d] if kind == "logistic" else [(1 - x) ** 2 for x in h]
            if pair:
                means.append(torch.stack(pair).mean())
        loss = loss + weight * torch.stack(means).mean()
    loss.backward()
    torch.testing.assert_close(objective(t, batch).loss, loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(s.grad, t.grad, rtol=1e-6, atol=1e-9)


def test_a_common_shift_matters_to_the_square_alone(two, scores) -> None:
    """The logistic loss has no sigmoid of its own, the square one has."""
    logistic, square = PairwiseLogistic(), PairwiseSquare()
    torch.testing.assert_close(logistic(scores + 5, two).loss, logistic(scores, two).loss)
    assert not torch.allclose(square(scores + 5, two).loss, square(scores, two).loss)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
def test_a_margin_that_is_not_positive_is_refused(margin) -> None:
    with pytest.raises(EmerError, match=f"method.objective.margin is {margin}; it must be above 0"):
        PairwiseSquare(margin=margin)
