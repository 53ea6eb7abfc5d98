from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from emer.errors import EmerError
from emer.losses.aucm import aucm_min_max_loss
from emer.objectives.auc_surrogates import PairwiseSquare
from emer.objectives.aucm import Aucm
from emer.requests import RequestBatch


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=6, N=9, seed=8)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(3))


def min_max(batch, *, margin: float = 1.0, **more) -> Aucm:
    objective = Aucm(mode="min_max", margin=margin, **more)
    objective.build(batch.schema)
    return objective


def inner_solution(scores, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """E+ h and E- h (M,) over the exposed candidates of the batch."""
    h, y = scores.sigmoid()[batch.exposed], batch.label[batch.exposed]
    return (
        torch.stack([h[y[:, m] == 1].mean() for m in range(y.shape[1])]),
        torch.stack([h[y[:, m] == 0].mean() for m in range(y.shape[1])]),
    )


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_closed_is_the_square_loss_while_the_margin_is_violated(scope, batch, scores) -> None:
    s, t = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    closed, square = Aucm(scope=scope)(s, batch), PairwiseSquare(scope=scope)(t, batch)
    torch.testing.assert_close(list(closed.terms.values()), list(square.terms.values()))
    assert list(closed.counts.values()) == list(square.counts.values())
    closed.loss.backward()
    square.loss.backward()
    torch.testing.assert_close(s.grad, t.grad)


def test_closed_differs_once_the_margin_is_kept(batch) -> None:
    """Scores that separate: Var+ + Var- is left, and the square loss goes on pulling."""
    liked = batch.label[..., 2] == 1
    h = torch.where(liked, 0.8, 0.2) + 0.05 * torch.rand(6, 9, generator=torch.Generator().manual_seed(0))
    output = Aucm(margin=0.3)(h.logit(), batch)
    positive, negative = h[liked], h[batch.exposed & ~liked]
    expected = positive.var(correction=0) + negative.var(correction=0)
    torch.testing.assert_close(output.terms["aucm/like"], expected)
    assert PairwiseSquare(margin=0.3)(h.logit(), batch).terms["pairwise_square/like"] > 2 * expected


def test_min_max_by_hand_at_the_start(batch, scores) -> None:
    """a = b = 1/2, alpha = margin."""
    margin = 0.7
    output = min_max(batch, margin=margin)(scores, batch)
    h, y = scores.sigmoid()[batch.exposed], batch.label[batch.exposed]
    for m, name in enumerate(batch.schema.feedback_names):
        p, n = h[y[:, m] == 1], h[y[:, m] == 0]
        expected = ((p - 0.5) ** 2).mean() + ((n - 0.5) ** 2).mean()
        expected = expected + 2 * margin * (margin + n.mean() - p.mean()) - margin**2
        torch.testing.assert_close(output.terms[f"aucm/{name}"], expected)
        assert output.counts[f"aucm/{name}"] == len(p) * len(n)


def test_the_gradients_are_those_of_the_loss_but_alphas_is_negated(batch, scores) -> None:
    objective = min_max(batch, label_weights={"like": 3.0})
    with torch.no_grad():
        objective.a.copy_(torch.tensor([0.6, 0.7, 0.8]))
        objective.b.copy_(torch.tensor([0.3, 0.2, 0.1]))
        objective.alpha.copy_(torch.tensor([0.5, 0.9, 0.1]))
    s = scores.clone().requires_grad_()
    objective(s, batch).loss.backward()
    t, a, b, alpha = (x.detach().clone().requires_grad_() for x in (s, objective.a, objective.b, objective.alpha))
    plain = aucm_min_max_loss(
        t[batch.exposed], batch.label[batch.exposed], a, b, alpha, reduction="per_objective"
    )  # fmt: skip
    (plain * torch.tensor([1.0, 1.0, 3.0])).sum().backward()
    torch.testing.assert_close(s.grad, t.grad)
    torch.testing.assert_close(objective.a.grad, a.grad)
    torch.testing.assert_close(objective.b.grad, b.grad)
    torch.testing.assert_close(objective.alpha.grad, -alpha.grad)
    assert (alpha.grad != 0).all()


@pytest.mark.parametrize(("optimiser", "lr"), [(torch.optim.SGD, 0.1), (torch.optim.Adam, 0.02)])
def test_any_optimiser_finds_the_inner_solution(optimiser, lr, batch, scores) -> None:
    """Of a copy: nothing that makes alpha ascend may get lost."""
    objective = copy.deepcopy(min_max(batch))
    steps = optimiser(objective.parameters(), lr=lr)
    for _ in range(200):
        steps.zero_grad()
        objective(scores, batch).loss.backward()
        steps.step()
    positive, negative = inner_solution(scores, batch)
    torch.testing.assert_close(objective.a.detach(), positive, rtol=0, atol=2e-3)
    torch.testing.assert_close(objective.b.detach(), negative, rtol=0, atol=2e-3)
    torch.testing.assert_close(objective.alpha.detach(), 1 - (positive - negative), rtol=0, atol=2e-3)
    closed = Aucm()(scores, batch).loss
    torch.testing.assert_close(objective(scores, batch).loss.detach(), closed, rtol=1e-3, atol=0)


def test_alpha_stays_at_zero_where_the_margin_is_kept(batch) -> None:
    """A single label; [margin - (E+ h - E- h)]_+ = 0. Without the projection alpha would go to -0.3 or so."""
    liked = batch.label[..., 2] == 1
    scores = torch.where(liked, 0.8, 0.2).logit()
    objective = min_max(batch, margin=0.3, label_weights={"click": 0, "long_view": 0})
    steps = torch.optim.SGD(objective.parameters(), lr=0.1)
    for _ in range(100):
        steps.zero_grad()
        output = objective(scores, batch)
        assert (objective.alpha >= 0).all()
        output.loss.backward()
        steps.step()
    assert output.terms["aucm/like"].item() == pytest.approx(0, abs=1e-4)
    assert objective.alpha[0].item() == pytest.approx(0.3), "labels of weight 0 do not move"
    # Once the scores no longer separate, alpha comes back.
    for _ in range(100):
        steps.zero_grad()
        objective(torch.zeros_like(scores), batch).loss.backward()
        steps.step()
    assert objective.alpha[2].item() == pytest.approx(0.3, abs=1e-3)


def test_a_label_without_both_classes_moves_no_parameter(batch, scores) -> None:
    label = batch.label.clone()
    label[..., 1] = 0
    objective = min_max(batch)
    objective(scores, replace(batch, label=label)).loss.backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1] == 0
        assert (parameter.grad[[0, 2]] != 0).all()


def test_two_forward_passes_before_a_backward_pass(batch, scores) -> None:
    """The projection of the second must not spoil what the first has kept."""
    objective = min_max(batch)
    (objective(scores, batch).loss + objective(2 * scores, batch).loss).backward()
    assert (objective.alpha.grad != 0).all()


def test_validation_is_the_closed_value(batch, scores) -> None:
    objective = min_max(batch, margin=0.4)
    assert objective(scores, batch).loss != Aucm(margin=0.4)(scores, batch).loss
    objective.eval()
    assert torch.equal(objective(scores, batch).loss, Aucm(margin=0.4)(scores, batch).loss)


def test_the_state_goes_on_from_a_checkpoint(batch, scores) -> None:
    objective = min_max(batch)
    with torch.no_grad():
        for i, parameter in enumerate(objective.parameters()):
            parameter.fill_(0.1 * (i + 1))
    resumed = min_max(batch)
    resumed.load_state_dict(objective.state_dict())
    assert set(objective.state_dict()) == {"a", "b", "alpha"}
    assert torch.equal(resumed(scores, batch).loss, objective(scores, batch).loss)
    assert not torch.equal(min_max(batch)(scores, batch).loss, objective(scores, batch).loss)


def test_closed_has_no_parameters_and_min_max_must_be_built(batch, scores) -> None:
    closed = Aucm()
    closed.build(batch.schema)
    assert list(closed.parameters()) == []
    with pytest.raises(ValueError, match=r"call build\(schema\) before training"):
        Aucm(mode="min_max")(scores, batch)
    with pytest.raises(EmerError, match="label_weights names share; the labels are click"):
        Aucm(mode="min_max", label_weights={"share": 1.0}).build(batch.schema)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "minmax"}, "method.objective.mode is 'minmax'; it must be one of closed, min_max"),
        ({"margin": 0.0}, "method.objective.margin is 0.0; it must be above 0"),
    ],
)
def test_bad_settings_are_refused(arguments, message) -> None:
    with pytest.raises(EmerError, match=message):
        Aucm(**arguments)
