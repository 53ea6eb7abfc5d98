from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from emer.errors import EmerError
from emer.losses.pairwise import pairwise_logistic_loss
from emer.objectives.advantage import advantage_weights
from emer.objectives.emer import EmerObjective
from emer.objectives.satisfaction import satisfaction_level
from emer.ranking import rank_gap
from emer.requests import Objective, RequestBatch, Role, Schema, Unit


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=5, N=9, seed=2)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(5, 9, generator=torch.Generator().manual_seed(5))


def iput_example() -> RequestBatch:
    """The paper's example: (20 s, 0.8), (10 s, 0.7), (5 s, 0.4)."""
    schema = Schema((Objective("pvtr", Unit.SECONDS), Objective("pltr", role=Role.INTERACTION)))
    pxtr = torch.tensor([[[20.0, 0.8], [10.0, 0.7], [5.0, 0.4]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    draft = dict(
        schema=schema, pxtr=pxtr, rank_gap=rank_gap(pxtr, mask), iput_rank_gap=rank_gap(pxtr, mask), iput_floor=1.0,
        mask=mask, exposed=~mask, label=torch.zeros(1, 3, 0), user_categories=nothing, context_categories=nothing,
        item_categories=torch.zeros(1, 3, 0, dtype=torch.int64), item_numbers=torch.zeros(1, 3, 0),
        item_id=torch.arange(3).view(1, 3), request_id=torch.zeros(1, dtype=torch.int64),
        user_id=torch.zeros(1, dtype=torch.int64), time_ms=torch.zeros(1, dtype=torch.int64),
        row=torch.zeros(1, dtype=torch.int64),
    )  # fmt: skip
    draft["iput_rank_gap"] = rank_gap(RequestBatch(**draft).iput_pxtr(), mask)
    return RequestBatch(**draft)


def test_iput_example_of_the_paper() -> None:
    batch = iput_example()
    assert batch.iput_pxtr()[0, :, 1].tolist() == pytest.approx([0.04, 0.07, 0.08])
    order = batch.iput_pxtr()[0, :, 1].argsort(descending=True).tolist()
    assert order == [2, 1, 0]
    assert batch.iput_rank_gap[0, :, 1].tolist() == [-2, 0, 2]
    assert torch.equal(batch.iput_rank_gap[..., 0], batch.rank_gap[..., 0])


def test_prior_is_the_mean_over_objectives_of_pair_means(batch, scores) -> None:
    output = EmerObjective(posterior=False, evolve=False)(scores, batch)
    expected = pairwise_logistic_loss(scores, batch.iput_pxtr(), where=batch.mask)
    torch.testing.assert_close(output.loss, expected)


def test_posterior_by_brute_force(batch, scores) -> None:
    level = satisfaction_level(batch)
    means = []
    for b in range(5):
        losses = [
            F.softplus(-(scores[b, i] - scores[b, j]))
            for i in range(9)
            for j in range(9)
            if batch.exposed[b, i] and batch.exposed[b, j] and level[b, i] > level[b, j]
        ]
        if losses:
            means.append(torch.stack(losses).mean())
    assert 0 < len(means) <= 5
    output = EmerObjective(prior=False)(scores, batch)
    torch.testing.assert_close(output.loss, torch.stack(means).mean())


def test_total_is_the_weighted_sum_of_both(batch, scores) -> None:
    post = EmerObjective(prior=False)(scores, batch).loss
    prior = EmerObjective(posterior=False, evolve=False)(scores, batch).loss
    both = EmerObjective(evolve=False, posterior_weight=0.5, prior_weight=3.0)(scores, batch).loss
    torch.testing.assert_close(both, 0.5 * post + 3 * prior)


def test_no_exposed_pair_contributes_zero_not_nan(batch, scores) -> None:
    s = scores.clone().requires_grad_()
    nothing = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    loss = EmerObjective(prior=False)(s, nothing).loss
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


def test_requests_without_pairs_do_not_dilute_the_posterior(batch, scores) -> None:
    objective = EmerObjective(prior=False)
    exposed = batch.exposed.clone()
    exposed[1:] = False
    first_only = replace(batch, exposed=exposed, label=batch.label * exposed.unsqueeze(-1))
    alone = batch.select(torch.tensor([0]))
    torch.testing.assert_close(objective(scores, first_only).loss, objective(scores[:1], alone).loss)


def test_evolving_weights_multiply_each_objective(batch, scores) -> None:
    previous = torch.randn(5, 9, generator=torch.Generator().manual_seed(9))
    output = EmerObjective(posterior=False)(scores, batch, previous)
    target = batch.iput_pxtr()
    weights = advantage_weights(scores, previous, target, where=batch.mask)
    per_objective = pairwise_logistic_loss(scores, target, where=batch.mask, reduction="per_objective")
    torch.testing.assert_close(output.loss, (weights * per_objective).mean())
    assert output.weights is not None
    torch.testing.assert_close(output.weights, weights)


def test_previous_equal_to_current_is_no_evolve(batch, scores) -> None:
    same = EmerObjective()(scores, batch, scores).loss
    torch.testing.assert_close(same, EmerObjective(evolve=False)(scores, batch).loss)


def test_no_gradient_through_the_weights(batch, scores) -> None:
    previous = torch.randn(5, 9, generator=torch.Generator().manual_seed(9))
    s = scores.clone().requires_grad_()
    output = EmerObjective(posterior=False)(s, batch, previous)
    output.loss.backward()
    assert output.weights is not None
    t = scores.clone().requires_grad_()
    pairwise_logistic_loss(t, batch.iput_pxtr(), where=batch.mask, weights=output.weights).backward()
    torch.testing.assert_close(s.grad, t.grad)


@pytest.mark.parametrize(
    ("off", "absent", "present"),
    [("posterior", "posterior", "prior"), ("prior", "prior", "posterior")],
)
def test_a_term_that_is_off_is_gone(off, absent, present, batch, scores) -> None:
    output = EmerObjective(**{off: False}, evolve=False)(scores, batch)
    assert absent not in output.terms
    assert present in output.terms
    torch.testing.assert_close(output.loss, output.terms[present])


def test_no_evolve_and_no_prior_need_no_previous_model() -> None:
    assert EmerObjective().needs_previous
    assert not EmerObjective(evolve=False).needs_previous
    assert not EmerObjective(prior=False).needs_previous


def test_no_iput_uses_the_raw_targets(batch, scores) -> None:
    raw = EmerObjective(posterior=False, evolve=False, iput=False)(scores, batch).loss
    torch.testing.assert_close(raw, pairwise_logistic_loss(scores, batch.pxtr, where=batch.mask))
    assert not torch.allclose(raw, EmerObjective(posterior=False, evolve=False)(scores, batch).loss)


def test_append_keeps_raw_and_adds_iput_targets(batch, scores, schema) -> None:
    objective = EmerObjective(posterior=False, evolve=False, iput_mode="append")
    both = torch.cat([batch.pxtr, batch.iput_pxtr()[..., [2, 3]]], dim=-1)
    torch.testing.assert_close(objective(scores, batch).loss, pairwise_logistic_loss(scores, both, where=batch.mask))
    assert objective.target_names(schema) == ("pctr", "pvtr", "pltr", "pcmtr", "pltr_iput", "pcmtr_iput")
    assert objective(scores, batch, scores + 1).loss.isfinite()


def test_static_weights_by_name(batch, scores) -> None:
    objective = EmerObjective(posterior=False, evolve=False, static_weights={"pvtr": 0.0, "pltr_iput": 2.0})
    weights = torch.tensor([[1.0, 0.0, 2.0, 1.0]]).expand(5, -1)
    expected = pairwise_logistic_loss(scores, batch.iput_pxtr(), where=batch.mask, weights=weights)
    torch.testing.assert_close(objective(scores, batch).loss, expected)
    with pytest.raises(EmerError, match=r"static_weights names like; the targets are pctr"):
        EmerObjective(static_weights={"like": 1.0})(scores, batch)


def test_repeating_a_request_changes_nothing(batch, scores) -> None:
    twice = batch.select(torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]))
    objective = EmerObjective(evolve=False)
    torch.testing.assert_close(objective(scores.repeat(2, 1), twice).loss, objective(scores, batch).loss)


def test_session_scope_pairs_across_a_users_requests(batch_of) -> None:
    """Two requests of one user, one exposed item each: no pair in a request, one pair in the session."""
    base = batch_of(B=3, N=3, full=True)
    exposed = torch.zeros(3, 3, dtype=torch.bool)
    exposed[:, 0] = True
    label = torch.zeros(3, 3, 3)
    label[1, 0, 1] = 1  # a long view in request 1; user_id is 0, 1, 0
    batch = replace(
        base, exposed=exposed, label=label, negative=None,
        user_id=torch.tensor([0, 0, 1]), time_ms=torch.tensor([0, 60_000, 60_000]),
    )  # fmt: skip
    scores = torch.zeros(3, 3)
    scores[:, 0] = torch.tensor([1.0, 3.0, -7.0])
    assert EmerObjective(prior=False)(scores, batch).loss.item() == 0
    session = EmerObjective(prior=False, posterior_scope="session", session_minutes=2)
    assert session(scores, batch).loss.item() == pytest.approx(F.softplus(torch.tensor(1.0 - 3.0)).item())
    far = EmerObjective(prior=False, posterior_scope="session", session_minutes=0.5)
    assert far(scores, batch).loss.item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"posterior": False, "prior": False}, "neither posterior nor prior"),
        ({"ties": "drop"}, "method.objective.ties is 'drop'; it must be one of exclude, half"),
        ({"iput_mode": "both"}, "iput_mode"),
        ({"evaluator_k": 0}, "evaluator_k is 0"),
        ({"weight_clip": 0.5}, "weight_clip is 0.5"),
    ],
)
def test_bad_settings_are_refused(arguments, message) -> None:
    with pytest.raises(EmerError, match=message):
        EmerObjective(**arguments)
