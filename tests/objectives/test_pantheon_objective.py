"""Pantheon's loss: hand arithmetic, the weights, and what a model without towers gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emer.errors import EmerError
from emer.models.pantheon import Pantheon
from emer.models.ranker import EmerRanker
from emer.objectives.base import details_needed
from emer.objectives.pantheon import PantheonObjective


def objective_of(schema, **options) -> PantheonObjective:
    objective = PantheonObjective(**options)
    objective.build(schema)
    return objective


def bce(z: float, y: float) -> float:
    p = 1 / (1 + torch.tensor(-z, dtype=torch.float64).exp())
    return float(-(y * p.log() + (1 - y) * (1 - p).log()))


def case(batch_of, M: int = 3):
    batch = batch_of()
    g = torch.Generator().manual_seed(5)
    return batch, torch.randn(3, 9, generator=g), torch.randn(3, 9, M, generator=g)


def expected_of(batch, scores, logits, scope: str) -> tuple[list[float], list[float]]:
    """Means over the exposed rows, or over requests of such means."""
    score, tower = [], []
    for m in range(3):
        means = []
        for b in range(3):
            rows = [i for i in range(9) if batch.exposed[b, i]]
            means += [
                [
                    (bce(float(scores[b, i]), y), bce(float(logits[b, i, m]), y))
                    for i in rows
                    for y in [float(batch.label[b, i, m])]
                ]
            ]
        if scope == "batch":
            means = [[pair for rows in means for pair in rows]]
        means = [rows for rows in means if rows]
        for into, column in ((score, 0), (tower, 1)):
            into.append(sum(sum(pair[column] for pair in rows) / len(rows) for rows in means) / len(means))
    return score, tower


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_the_loss_by_hand(batch_of, schema, scope) -> None:
    batch, scores, logits = case(batch_of)
    objective = objective_of(schema, scope=scope, tower_weight=0.7, label_weights={"like": 3.0})
    score, tower = expected_of(batch, scores, logits, scope)
    output = objective(scores, batch, None, {"tower_logits": logits})
    assert float(output.loss) == pytest.approx(score[0] + score[1] + 3 * score[2] + 0.7 * sum(tower), rel=1e-5)
    assert [float(v) for v in output.terms.values()] == pytest.approx(score + tower, rel=1e-5)
    assert tuple(output.terms) == objective.term_names(schema) == tuple(output.counts)
    assert float(objective.total(output.terms)) == pytest.approx(float(output.loss), rel=1e-5)
    rows = int(batch.exposed.sum()) if scope == "batch" else int(batch.exposed.any(dim=1).sum())
    assert [int(c) for c in output.counts.values()] == [rows] * 6


def test_moved_weights_train_and_the_first_ones_validate(batch_of, schema) -> None:
    batch, scores, logits = case(batch_of)
    objective = objective_of(schema)
    objective.w.copy_(torch.tensor([1.0, 1.5, 4.0]))
    score, tower = expected_of(batch, scores, logits, "batch")
    trained = objective(scores, batch, None, {"tower_logits": logits}).loss
    assert float(trained) == pytest.approx(score[0] + 1.5 * score[1] + 4 * score[2] + sum(tower), rel=1e-5)
    objective.eval()
    output = objective(scores, batch, None, {"tower_logits": logits})
    assert float(output.loss) == pytest.approx(sum(score) + sum(tower), rel=1e-5)
    assert float(objective.total(output.terms)) == pytest.approx(float(output.loss), rel=1e-5)


def test_the_weights_are_a_buffer_and_travel_in_the_state(schema) -> None:
    objective, other = objective_of(schema), objective_of(schema)
    assert list(objective.parameters()) == []
    objective.w.mul_(2)
    other.load_state_dict(objective.state_dict())
    assert other.w.tolist() == [2.0, 2.0, 2.0]
    assert other.start.tolist() == [1.0, 1.0, 1.0]


def test_scaling_the_weights_leaves_the_direction_of_the_gradient(batch_of, schema) -> None:
    batch, scores, logits = case(batch_of)
    scores.requires_grad_()
    found = []
    for factor in (1.0, 5.0):
        objective = objective_of(schema)
        objective.w.copy_(torch.tensor([1.0, 2.0, 0.5]) * factor)
        (gradient,) = torch.autograd.grad(objective(scores, batch, None, {"tower_logits": logits}).loss, scores)
        found.append(gradient)
    assert found[0][batch.exposed].abs().min() > 0
    torch.testing.assert_close(found[1], 5 * found[0])


def test_a_model_without_towers_has_the_same_terms(batch_of, schema) -> None:
    batch, scores, _ = case(batch_of)
    objective = objective_of(schema)
    output = objective(scores, batch, None, {"tower_logits": scores.new_zeros(3, 9, 0)})
    score, _ = expected_of(batch, scores, scores.new_zeros(3, 9, 3), "batch")
    assert float(output.loss) == pytest.approx(sum(score), rel=1e-5)
    assert tuple(output.terms) == objective.term_names(schema)
    assert [float(output.terms[f"tower/{name}"]) for name in schema.feedback_names] == [0, 0, 0]
    assert [int(output.counts[f"tower/{name}"]) for name in schema.feedback_names] == [0, 0, 0]


def test_nothing_but_exposed_candidates_is_read(batch_of, schema) -> None:
    batch, scores, logits = case(batch_of)
    objective = objective_of(schema)
    before = objective(scores, batch, None, {"tower_logits": logits}).loss
    hidden = ~batch.exposed
    scores[hidden], logits[hidden] = torch.nan, torch.nan
    assert torch.equal(objective(scores, batch, None, {"tower_logits": logits}).loss, before)


def test_nothing_exposed_is_no_loss(batch_of, schema) -> None:
    batch, scores, logits = case(batch_of)
    mute = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    for scope in ("batch", "request"):
        output = objective_of(schema, scope=scope)(scores, mute, None, {"tower_logits": logits})
        assert float(output.loss) == 0 and not any(output.counts.values())


def test_it_is_refused_with_models_that_have_no_towers(schema) -> None:
    with pytest.raises(EmerError, match=r"needs tower_logits .* EmerRanker does not give; choose method=pantheon"):
        details_needed(PantheonObjective(), EmerRanker(schema, width=8, heads=2))
    assert details_needed(PantheonObjective(), Pantheon(schema)) == ("tower_logits",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tower_weight": 0.0}, "method.objective.tower_weight is 0.0; it must be a number > 0"),
        ({"tower_weight": float("nan")}, "method.objective.tower_weight is nan"),
        ({"label_weights": {"like": 0.0}}, "method.objective.label_weights.like is 0; the weights"),
        ({"label_weights": {"like": -1.0}}, "method.objective.label_weights.like is -1.0"),
        ({"label_weights": {"likes": 1.0}}, "names likes; the labels are"),
        ({"scope": "user"}, "method.objective.scope is 'user'"),
    ],
)
def test_wrong_options_are_explained(schema, options, message) -> None:
    with pytest.raises(EmerError, match=message):
        objective_of(schema, **options)


def test_wrong_towers_are_explained(batch_of, schema) -> None:
    batch, scores, logits = case(batch_of)
    with pytest.raises(EmerError, match=r"needs tower_logits \(B, N, 3\)"):
        objective_of(schema)(scores, batch, None, {"tower_logits": logits[..., :2]})
    with pytest.raises(EmerError, match="not None"):
        objective_of(schema)(scores, batch)
    with pytest.raises(EmerError, match=r"call build\(schema\)"):
        PantheonObjective()(scores, batch, None, {"tower_logits": logits})
