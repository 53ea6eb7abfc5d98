from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from emer.errors import EmerError
from emer.objectives.exposure_bce import ExposureBce, ExposureBceConfig
from emer.requests import RequestBatch

S = (0.0, math.log(3.0), -math.log(3.0))
"""Logits of the probabilities 1/2, 3/4 and 1/4."""


@pytest.fixture
def three(batch_of) -> RequestBatch:
    """Three requests: (click), (click, like), not shown; (like), padding, padding; three that were not shown."""
    base = batch_of(B=3, N=3, full=True)
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1, 1:] = False
    exposed = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    label = torch.zeros(3, 3, 3)
    label[0, 0, 0] = label[0, 1, 0] = label[0, 1, 2] = label[1, 0, 2] = 1
    return replace(base, mask=mask, exposed=exposed, label=label, watch_time=None, negative=None)


@pytest.fixture
def scores() -> torch.Tensor:
    """Not a number where there is no candidate."""
    return torch.tensor([[S[0], S[1], S[2]], [S[2], torch.nan, torch.nan], [S[0], S[1], S[1]]], dtype=torch.float64)


def test_exposure_by_hand(three, scores) -> None:
    log = math.log
    of_request = (-(log(1 / 2) + log(3 / 4) + log(3 / 4)) / 3, -log(1 / 4), -(log(1 / 2) + 2 * log(1 / 4)) / 3)
    output = ExposureBce()(scores, three)
    assert output.loss.item() == pytest.approx(sum(of_request) / 3)
    assert output.terms["exposure"].item() == pytest.approx(sum(of_request) / 3)
    assert output.counts["exposure"].item() == 3


def test_a_target_is_read_of_the_exposed_only(three, scores) -> None:
    """Like: 0 and 1 in the first request, 1 in the second; nothing in the third, which does not count."""
    log = math.log
    expected = (-(log(1 / 2) + log(3 / 4)) / 2 - log(1 / 4)) / 2
    output = ExposureBce(target="like")(scores, three)
    assert output.loss.item() == pytest.approx(expected)
    assert output.counts["exposure"].item() == 2


def test_among_leaves_only_those_with_the_label(three, scores) -> None:
    """Like among the clicked: the two of the first request."""
    log = math.log
    output = ExposureBce(target="like", among="click")(scores, three)
    assert output.loss.item() == pytest.approx(-(log(1 / 2) + log(3 / 4)) / 2)
    assert output.counts["exposure"].item() == 1


def test_label_factor_weighs_candidates_by_their_labels(three, scores) -> None:
    """One click, click and like, none; one like; none. A click is no positive label, and so does not count."""
    log = math.log
    of_request = (
        -(log(1 / 2) + (1 + 2 * 1) * log(3 / 4) + log(3 / 4)) / 3,
        -3 * log(1 / 4),
        -(log(1 / 2) + 2 * log(1 / 4)) / 3,
    )
    output = ExposureBce(label_factor=2.0)(scores, three)
    assert output.loss.item() == pytest.approx(sum(of_request) / 3)


def test_gradient_is_weight_times_probability_minus_target(three, scores) -> None:
    s = scores.requires_grad_()
    ExposureBce(label_factor=1.0)(s, three).loss.backward()
    assert s.grad is not None
    expected = [
        [(1 / 2 - 1) / 9, 2 * (3 / 4 - 1) / 9, (1 / 4 - 0) / 9],
        [2 * (1 / 4 - 1) / 3, 0, 0],
        [(1 / 2 - 0) / 9, (3 / 4 - 0) / 9, (3 / 4 - 0) / 9],
    ]
    torch.testing.assert_close(s.grad, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"target": "like"}, {"target": "like", "among": "click"}])
def test_terms_total_and_order_are_the_same_for_every_batch(options, three, scores, batch_of) -> None:
    objective = ExposureBce(**options)
    output = objective(scores, three)
    assert tuple(output.terms) == objective.term_names(three.schema) == ("exposure",)
    assert torch.equal(objective.total(output.terms), output.loss.detach())
    assert not output.terms["exposure"].requires_grad
    assert not objective.needs_previous


def test_nobody_left_and_extreme_scores_are_finite(three) -> None:
    s = torch.full((3, 3), -1e30, requires_grad=True)
    nobody = ExposureBce(target="like", among="long_view")(s, three)
    nobody.loss.backward()
    assert nobody.loss.item() == 0
    assert nobody.counts["exposure"].item() == 0
    assert s.grad is not None
    assert not s.grad.any()
    s.grad = None
    output = ExposureBce()(s, three)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(s.grad).all()


def test_padding_candidates_and_their_order_do_not_matter(batch_of) -> None:
    batch = batch_of(B=4, N=7)
    s = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    mixed = {name: getattr(batch, name)[:, order] for name in ("mask", "exposed", "label")}
    for options in ({}, {"target": "click"}, {"label_factor": 1.0}):
        objective = ExposureBce(**options)
        loss = objective(s, batch).loss
        torch.testing.assert_close(objective(s[:, order], replace(batch, **mixed)).loss, loss)
        torch.testing.assert_close(objective(s.masked_fill(~batch.mask, torch.nan), batch).loss, loss)


def test_under_autocast_it_is_the_same(three, scores) -> None:
    s = scores.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ExposureBce(label_factor=1.0)(s, three).loss
    assert torch.equal(loss, ExposureBce(label_factor=1.0)(s, three).loss)


@pytest.mark.parametrize("options", [{"target": "gift"}, {"target": "click", "among": "gift"}])
def test_a_label_that_the_log_lacks_is_refused(options, three, scores) -> None:
    key = list(options)[-1]
    with pytest.raises(EmerError, match=rf"method\.objective\.{key} is 'gift'.*click, long_view, like"):
        ExposureBce(**options)(scores, three)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"label_factor": -1.0}, "label_factor"),
        ({"label_factor": math.nan}, "label_factor"),
        ({"label_factor": math.inf}, "label_factor"),
        ({"among": "click"}, "among"),
    ],
)
def test_wrong_options_are_refused_by_their_key(options, key) -> None:
    with pytest.raises(EmerError, match=rf"method\.objective\.{key}"):
        ExposureBce(**options)


def test_the_config_has_every_argument() -> None:
    arguments = ExposureBce.__init__.__kwdefaults__
    assert {f.name for f in fields(ExposureBceConfig)} - {"_target_"} == set(arguments)
