from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from emer.errors import EmerError
from emer.metrics.auc import pooled_auc
from emer.objectives.policy_gradient import PolicyGradient
from emer.requests import RequestBatch


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=6, N=9, seed=8)


@pytest.fixture
def scores() -> torch.Tensor:
    """Half-integers, so that there are ties."""
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(3)).mul(2).round() / 2


def pair_batch(batch_of, B: int = 1, second: int | None = None) -> RequestBatch:
    """B requests of two shown candidates: the first is clicked; the second has the label ``second``."""
    base = batch_of(B=B, N=2, full=True)
    label = torch.zeros(B, 2, 3)
    label[:, 0, 0] = 1
    if second is not None:
        label[:, 1, second] = 1
    return replace(base, exposed=torch.ones(B, 2, dtype=torch.bool), label=label).validate()


def gradient_of(objective, scores, batch) -> torch.Tensor:
    s = scores.clone().requires_grad_()
    objective(s, batch).loss.backward()
    assert s.grad is not None
    return s.grad


def closed_form(gap: float, rho: float) -> float:
    """dL/ds of the positive in a list of one positive and one negative, for an endless group.

    R = 1[gap + sigma (xi_p - xi_n) > 0] is 1 with probability P = Phi(gap / (sigma sqrt 2)). By Stein's lemma
    E[R xi_p] = phi(gap / (sigma sqrt 2)) / sqrt 2, and the advantage divides by sd R = sqrt(P (1 - P)).
    """
    sigma = rho * abs(gap) / 2  # the standard deviation of two numbers is half their distance
    x = gap / (sigma * math.sqrt(2))
    P = (1 + math.erf(x / math.sqrt(2))) / 2
    phi = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return -(phi / math.sqrt(2)) / math.sqrt(P * (1 - P)) / (sigma * math.sqrt(2))


@pytest.mark.parametrize(("gap", "rho"), [(1.0, 2.0), (-3.0, 1.0), (0.2, 5.0)])
def test_gradient_of_a_large_group_is_the_closed_form(gap, rho, batch_of) -> None:
    objective = PolicyGradient(group_size=200_000, rho=rho)
    gradient = gradient_of(objective, torch.tensor([[100 + gap, 100.0]]), pair_batch(batch_of))
    expected = closed_form(gap, rho)
    assert gradient[0].tolist() == pytest.approx([expected, -expected], rel=0.03)


def test_request_scope_averages_over_requests_with_a_reward(batch_of) -> None:
    """Two requests with a pair, and two without; sigma is that of each request."""
    batch = pair_batch(batch_of, B=4)
    label, exposed = batch.label.clone(), batch.exposed.clone()
    label[2] = 0
    label[3, 0] = label[3, 1] = 0
    exposed[3, 1] = False
    batch = replace(batch, label=label, exposed=exposed)
    scores = torch.tensor([[1.0, 0.0], [0.0, 4.0], [1.0, 0.0], [1.0, 0.0]])
    objective = PolicyGradient(group_size=200_000, rho=2.0, scope="request")
    gradient = gradient_of(objective, scores, batch)
    first, second = closed_form(1.0, 2.0) / 2, closed_form(-4.0, 2.0) / 2
    assert gradient[0].tolist() == pytest.approx([first, -first], rel=0.03)
    assert gradient[1].tolist() == pytest.approx([second, -second], rel=0.03)
    assert torch.equal(gradient[2:], torch.zeros(2, 2))
    output = objective(scores, batch)
    assert output.terms["auc_loss/click"].item() == pytest.approx((0 + 1) / 2)
    assert output.counts["auc_loss/click"].item() == 2


def test_labels_that_want_the_opposite_cancel(batch_of) -> None:
    """click wants the first above the second, like the reverse: the reward is 1 whatever is done."""
    batch = pair_batch(batch_of, second=2)
    scores = torch.tensor([[0.3, 0.0]])
    torch.testing.assert_close(
        gradient_of(PolicyGradient(rho=2.0), scores, batch), torch.zeros(1, 2), atol=1e-6, rtol=0
    )
    alone = gradient_of(PolicyGradient(rho=2.0, label_weights={"like": 0.0}), scores, batch)
    # R = 3 [first above] + 1 [second above] = 1 + 2 [first above], whose advantages are those of click alone.
    mostly = gradient_of(PolicyGradient(rho=2.0, label_weights={"click": 3.0}), scores, batch)
    reverse = gradient_of(PolicyGradient(rho=2.0, label_weights={"click": 0.0}), scores, batch)
    assert (alone != 0).all()
    torch.testing.assert_close(mostly, alone)
    torch.testing.assert_close(reverse, -alone)


def test_samples_come_in_antithetic_pairs(batch_of) -> None:
    """G = 2: the rewards of +xi and -xi differ only if the noise alone outweighs the gap: sigma |xi_p - xi_n| > gap.

    The difference of the two slopes is then (xi_p - xi_n) / (sigma sqrt 2), so more than gap / (sigma^2 sqrt 2). Two
    independent samples would often give less.
    """
    B, gap, rho = 500, 1.0, 3.0
    objective = PolicyGradient(group_size=2, rho=rho, scope="request")
    scores = torch.tensor([[gap, 0.0]]).repeat(B, 1)
    gradient = gradient_of(objective, scores, pair_batch(batch_of, B=B)) * B
    difference = gradient[:, 1] - gradient[:, 0]
    moved = difference != 0
    assert 100 < moved.sum() < 400
    sigma = rho * gap / 2
    assert (difference[moved] >= gap / (sigma**2 * math.sqrt(2)) * (1 - 1e-5)).all()
    assert difference[moved].min() < 1.2 * gap / (sigma**2 * math.sqrt(2))


def test_the_value_is_one_minus_the_auc(batch, scores) -> None:
    output = PolicyGradient(label_weights={"like": 2.0})(scores, batch)
    auc = pooled_auc(scores[batch.exposed], batch.label[batch.exposed])
    assert [x.item() for x in output.terms.values()] == pytest.approx((1 - auc).tolist())
    assert output.loss.item() == pytest.approx(((1 - auc) * torch.tensor([1.0, 1.0, 2.0])).sum().item())
    y = batch.label[batch.exposed]
    assert [x.item() for x in output.counts.values()] == (y.sum(dim=0) * (1 - y).sum(dim=0)).tolist()


def test_the_noise_is_scaled_to_the_scores(batch, scores) -> None:
    """a + b s has the same orders, so the gradient is that of s, divided by b: dL/ds ~ 1 / sigma."""
    plain = gradient_of(PolicyGradient(), scores, batch)
    moved = gradient_of(PolicyGradient(), 64 * scores + 1024, batch)
    torch.testing.assert_close(64 * moved, plain)


def test_equal_scores_get_a_finite_gradient_and_are_told_apart(batch) -> None:
    gradient = gradient_of(PolicyGradient(), torch.zeros(6, 9), batch)
    assert gradient.isfinite().all()
    assert (gradient[batch.exposed] != 0).all()


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_descent_raises_the_auc_sum(scope, batch) -> None:
    objective = PolicyGradient(scope=scope)
    free = torch.randn(6, 9, generator=torch.Generator().manual_seed(5)).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    first = objective(free, batch).loss.item()
    for _ in range(200):
        optimiser.zero_grad()
        objective(free, batch).loss.backward()
        optimiser.step()
    assert objective(free, batch).loss.item() < 0.6 * first


def test_a_larger_group_has_less_variance(batch, scores) -> None:
    def spread(group_size: int) -> float:
        objective = PolicyGradient(group_size=group_size)
        return torch.stack([gradient_of(objective, scores, batch) for _ in range(60)]).var(dim=0).sum().item()

    assert spread(64) < spread(4) / 8


def test_noise_is_reproducible_and_resumes_and_validation_draws_none(batch, scores) -> None:
    one = PolicyGradient(seed=3)
    first = [gradient_of(one, scores, batch) for _ in range(2)]
    saved = copy.deepcopy(one.state_dict())
    torch.manual_seed(5)
    one.eval()
    value = one(scores, batch).loss
    assert torch.equal(one(scores, batch).loss, value)
    one.train()
    rest = [gradient_of(one, scores, batch) for _ in range(2)]
    again = PolicyGradient(seed=3)
    for expected in first + rest:
        assert torch.equal(gradient_of(again, scores, batch), expected)
    resumed = PolicyGradient(seed=3)
    resumed.load_state_dict(saved)
    for expected in rest:
        assert torch.equal(gradient_of(resumed, scores, batch), expected)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(gradient_of(PolicyGradient(seed=4), scores, batch), first[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_size": 31}, "method.objective.group_size is 31; it must be an even number of at least 2"),
        ({"group_size": 0}, "method.objective.group_size is 0"),
        ({"rho": 0.0}, "method.objective.rho is 0.0; it must be above 0"),
        ({"rho": math.nan}, "method.objective.rho is nan"),
        ({"seed": -2}, "method.objective.seed is -2; it must be 0 or more"),
    ],
)
def test_bad_settings_are_refused(arguments, message) -> None:
    with pytest.raises(EmerError, match=message):
        PolicyGradient(**arguments)
