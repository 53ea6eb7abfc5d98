from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from emer.objectives.pointwise import LabelAggregation, MultiObjectiveBce
from emer.requests import RequestBatch

S = (0.0, math.log(3.0), -math.log(3.0))
"""Logits of the probabilities 1/2, 3/4 and 1/4."""


@pytest.fixture
def three(batch_of) -> RequestBatch:
    """Requests of 2 and 1 exposed candidates: (click), (click, like), ()."""
    base = batch_of(B=2, N=3, full=True)
    exposed = torch.tensor([[True, True, False], [True, False, False]])
    label = torch.zeros(2, 3, 3)
    label[0, 0, 0] = label[0, 1, 0] = label[0, 1, 2] = 1
    return replace(base, exposed=exposed, label=label, watch_time=None, negative=None).validate()


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.tensor([[S[0], S[1], 9.0], [S[2], 9.0, 9.0]])


def test_bce_by_hand(three, scores) -> None:
    """p = 1/2, 3/4, 1/4."""
    log = math.log
    click = -(log(1 / 2) + log(3 / 4) + log(3 / 4)) / 3
    long_view = -(log(1 / 2) + log(1 / 4) + log(3 / 4)) / 3
    like = -(log(1 / 2) + log(3 / 4) + log(3 / 4)) / 3
    output = MultiObjectiveBce(label_weights={"like": 2.0})(scores, three)
    assert [x.item() for x in output.terms.values()] == pytest.approx([click, long_view, like])
    assert output.loss.item() == pytest.approx(click + long_view + 2 * like)
    assert [x.item() for x in output.counts.values()] == [3, 3, 3]


def test_bce_gradient_is_probability_minus_label(three, scores) -> None:
    """d/ds_i = sum_m lambda_m (p_i - y_im) / n."""
    s = scores.clone().requires_grad_()
    MultiObjectiveBce(label_weights={"like": 2.0})(s, three).loss.backward()
    assert s.grad is not None
    expected = [
        ((1 / 2 - 1) + (1 / 2 - 0) + 2 * (1 / 2 - 0)) / 3,
        ((3 / 4 - 1) + (3 / 4 - 0) + 2 * (3 / 4 - 1)) / 3,
        ((1 / 4 - 0) + (1 / 4 - 0) + 2 * (1 / 4 - 0)) / 3,
    ]
    assert s.grad[three.exposed].tolist() == pytest.approx(expected)


def test_bce_request_scope_by_hand(three, scores) -> None:
    log = math.log
    click = (-(log(1 / 2) + log(3 / 4)) / 2 - log(3 / 4)) / 2
    output = MultiObjectiveBce(scope="request")(scores, three)
    assert output.terms["bce/click"].item() == pytest.approx(click)
    assert output.counts["bce/click"].item() == 2


def test_label_aggregation_by_hand(three, scores) -> None:
    """Targets 1, 1 + 5 and 0: the sum of the weighted labels, not divided by their number."""
    expected = ((S[0] - 1) ** 2 + (S[1] - 6) ** 2 + (S[2] - 0) ** 2) / 3
    output = LabelAggregation(label_weights={"like": 5.0})(scores, three)
    assert output.loss.item() == pytest.approx(expected)
    assert {name: x.item() for name, x in output.terms.items()} == pytest.approx({"label_aggregation": expected})
    assert output.counts["label_aggregation"].item() == 3
    by_request = LabelAggregation(scope="request", label_weights={"like": 5.0})(scores, three)
    expected = (((S[0] - 1) ** 2 + (S[1] - 6) ** 2) / 2 + (S[2] - 0) ** 2) / 2
    assert by_request.loss.item() == pytest.approx(expected)
    assert by_request.counts["label_aggregation"].item() == 2


def test_stochastic_validation_is_the_expectation_of_training(three, scores) -> None:
    """With probabilities 1/8, 1/8 and 6/8 for (click, long_view, like)."""
    objective = LabelAggregation(stochastic=True, label_weights={"like": 6.0})
    click, long_view, like = 1 / 8, 1 / 8, 6 / 8
    first = click * (S[0] - 1) ** 2 + (long_view + like) * S[0] ** 2
    second = (click + like) * (S[1] - 1) ** 2 + long_view * S[1] ** 2
    expected = (first + second + S[2] ** 2) / 3
    drawn = torch.tensor([objective(scores, three).loss.item() for _ in range(1000)])
    assert len(drawn.unique()) > 1
    assert drawn.mean().item() == pytest.approx(expected, abs=5 * drawn.std().item() / math.sqrt(1000))
    objective.eval()
    assert objective(scores, three).loss.item() == pytest.approx(expected)
    assert objective(scores, three).loss.item() == objective(scores, three).loss.item()
    assert LabelAggregation(label_weights={"like": 6.0})(scores, three).loss.item() != pytest.approx(expected)


def test_stochastic_draws_are_reproducible_and_resume(batch_of) -> None:
    batch = batch_of(B=6, N=9)
    scores = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))

    def losses(objective: LabelAggregation, steps: int) -> list[float]:
        return [objective(scores, batch).loss.item() for _ in range(steps)]

    one = LabelAggregation(stochastic=True, seed=3)
    first = losses(one, 2)
    saved = copy.deepcopy(one.state_dict())
    torch.manual_seed(11)
    one.eval()
    losses(one, 3)  # validation in between draws nothing
    one.train()
    rest = losses(one, 3)
    assert len(set(first + rest)) == 5
    assert losses(LabelAggregation(stochastic=True, seed=3), 5) == first + rest
    resumed = LabelAggregation(stochastic=True, seed=3)
    resumed.load_state_dict(saved)
    assert losses(resumed, 3) == rest
    assert losses(LabelAggregation(stochastic=True, seed=4), 5) != first + rest
