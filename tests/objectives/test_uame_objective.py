from __future__ import annotations

import math

import pytest
import torch

from emer.errors import EmerError
from emer.models.harmonrank import HarmonRank
from emer.models.uame import UameRanker
from emer.objectives.advantage import advantage_weights
from emer.objectives.base import details_needed
from emer.objectives.emer import EmerObjective
from emer.objectives.satisfaction import satisfaction_level
from emer.objectives.uame import UameObjective
from emer.requests import RequestBatch


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=5, seed=2)


@pytest.fixture
def mu() -> torch.Tensor:
    return torch.randn(5, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture
def details() -> dict[str, torch.Tensor]:
    return {"log_variance": torch.randn(5, 9, generator=torch.Generator().manual_seed(6), dtype=torch.float64)}


def weight_of(details, b, i) -> float:
    return 1 / (1 + math.exp(details["log_variance"][b, i].item()))


def weighted_mean(mu, details, pairs, weighted: bool) -> float:
    """``pairs`` of (request of i, i, request of j, j)."""
    total = amount = 0.0
    for b, i, c, j in pairs:
        v = details["log_variance"]
        z = ((mu[b, i] - mu[c, j]) / (v[b, i].exp() + v[c, j].exp()).sqrt()).item()
        a = weight_of(details, b, i) * weight_of(details, c, j) if weighted else 1.0
        total -= a * math.log((1 + math.erf(z / math.sqrt(2))) / 2)
        amount += a
    return total / amount


@pytest.mark.parametrize("weighted", [True, False])
def test_both_terms_by_brute_force(batch, mu, details, weighted) -> None:
    objective = UameObjective(uncertainty_weight=weighted, evolve=False, posterior_weight=0.7)
    output = objective(mu, batch, None, details)
    level, target = satisfaction_level(batch), batch.iput_pxtr()
    posterior, prior = [], []
    for b in range(5):
        shown = [i for i in range(9) if batch.exposed[b, i]]
        valid = [i for i in range(9) if batch.mask[b, i]]
        pairs = [(b, i, b, j) for i in shown for j in shown if level[b, i] > level[b, j]]
        if pairs:
            posterior.append(weighted_mean(mu, details, pairs, weighted))
        for k in range(4):
            pairs = [(b, i, b, j) for i in valid for j in valid if target[b, i, k] > target[b, j, k]]
            prior.append(weighted_mean(mu, details, pairs, weighted))
    assert output.terms["posterior"].item() == pytest.approx(sum(posterior) / len(posterior), rel=1e-5)
    assert output.terms["prior"].item() == pytest.approx(sum(prior) / len(prior), rel=1e-5)
    assert output.counts["posterior"].item() == len(posterior)
    assert output.loss.item() == pytest.approx(
        0.7 * output.terms["posterior"].item() + output.terms["prior"].item(), rel=1e-5
    )
    assert tuple(output.terms) == objective.term_names(batch.schema)
    assert tuple(output.terms) == EmerObjective().term_names(batch.schema)


def test_session_scope_by_brute_force(batch, mu, details) -> None:
    output = UameObjective(prior=False, posterior_scope="session", session_minutes=2.5)(mu, batch, None, details)
    level = satisfaction_level(batch)
    shown = batch.exposed.nonzero().tolist()
    pairs = [
        (b, i, c, j)
        for b, i in shown
        for c, j in shown
        if b % 2 == c % 2 and abs(b - c) <= 2 and level[b, i] > level[c, j]
    ]
    assert output.loss.item() == pytest.approx(weighted_mean(mu, details, pairs, True), rel=1e-5)
    assert output.counts["posterior"].item() == len(pairs)
    assert any(b != c for b, _, c, _ in pairs)


def test_evolving_weights_multiply_the_objectives(batch, mu, details) -> None:
    previous = torch.randn(5, 9, generator=torch.Generator().manual_seed(9))
    output = UameObjective(posterior=False)(mu, batch, previous, details)
    w = advantage_weights(mu.float(), previous, batch.iput_pxtr(), where=batch.mask)
    assert output.weights is not None
    torch.testing.assert_close(output.weights, w)
    one_by_one = []
    for b in range(5):
        part = UameObjective(posterior=False, evolve=False)(
            mu[b : b + 1], batch.select(torch.tensor([b])), None, {"log_variance": details["log_variance"][b : b + 1]}
        )
        named = [value.item() for name, value in part.terms.items() if name.startswith("prior/")]
        one_by_one.append(sum(x * y for x, y in zip(named, w[b].tolist(), strict=True)) / 4)
    assert output.loss.item() == pytest.approx(sum(one_by_one) / 5, rel=1e-5)


def test_ties_and_levels_reach_the_terms(batch, mu, details) -> None:
    batch.rank_gap.zero_()
    batch.iput_rank_gap.zero_()
    assert UameObjective(posterior=False)(mu, batch, None, details).loss.item() == 0
    assert UameObjective(posterior=False, ties="half")(mu, batch, None, details).loss.item() > math.log(2) - 1e-9
    levels = ("three_level", "net_count")
    one, other = (UameObjective(prior=False, level=x)(mu, batch, None, details).loss for x in levels)
    assert one != other


def test_the_weights_have_no_gradient_and_validation_has_no_weights(batch, mu, details) -> None:
    """At equal means every pair costs log 2, whatever it weighs: no gradient to the variances."""
    v = details["log_variance"].clone().requires_grad_()
    objective = UameObjective()
    objective(torch.zeros_like(mu), batch, None, {"log_variance": v}).loss.backward()
    torch.testing.assert_close(v.grad, torch.zeros_like(v))
    weighted = objective(mu, batch, None, details).loss
    plain = UameObjective(uncertainty_weight=False)(mu, batch, None, details).loss
    assert abs(weighted - plain) > 1e-3
    torch.testing.assert_close(objective.eval()(mu, batch, None, details).loss, plain)


def test_nothing_exposed_is_zero_and_finite(batch, mu, details) -> None:
    batch.exposed.zero_()
    for scope in ("request", "session"):
        m = mu.clone().requires_grad_()
        loss = UameObjective(prior=False, posterior_scope=scope)(m, batch, None, details).loss
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(m.grad, torch.zeros_like(m))


def test_needs_a_model_with_variances(schema, batch, mu) -> None:
    assert details_needed(UameObjective(), UameRanker(schema)) == ("log_variance",)
    with pytest.raises(EmerError, match=r"UameObjective needs log_variance.*HarmonRank.*method=uame"):
        details_needed(UameObjective(), HarmonRank(schema))
    for details in (None, {}):
        with pytest.raises(EmerError, match="needs log_variance"):
            UameObjective()(mu, batch, None, details)
    with pytest.raises(EmerError, match="neither posterior nor prior"):
        UameObjective(posterior=False, prior=False)


def test_every_setting_of_emer_arrives() -> None:
    """All away from their defaults."""
    settings = dict(
        iput_mode="append",
        posterior_weight=0.3,
        prior_weight=0.6,
        ties="half",
        level="net_count",
        posterior_scope="session",
        session_minutes=7.0,
        static_weights={"pctr": 2.0},
        evaluator_metric="mean",
        evaluator_k=4,
        weight_clip=3.0,
        weight_normalise="mean1",
        weight_scope="batch_mean",
    )
    for switches in ({}, {"posterior": False}, {"prior": False}, {"evolve": False}, {"iput": False}):
        ours, emers = (vars(kind(**settings, **switches)) for kind in (UameObjective, EmerObjective))
        assert {name: ours[name] for name in emers} == emers
