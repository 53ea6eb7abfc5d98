from __future__ import annotations

import math

import pytest
import torch

from emer.errors import EmerError
from emer.objectives.umre import UmreObjective
from emer.requests import RequestBatch, Schema


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=5, seed=2)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(5, 9, generator=torch.Generator().manual_seed(5))


def built(schema: Schema, **options) -> UmreObjective:
    objective = UmreObjective(**options)
    objective.build(schema)
    return objective


def gaucs(
    click: float | None, long_view: float | None, like: float | None, requests: tuple[int, int, int] = (50, 50, 50)
) -> dict[str, float]:
    named = {"click": click, "long_view": long_view, "like": like}
    known = {f"val/label_gauc/{name}": value for name, value in named.items() if value is not None}
    groups = {f"val/groups/label_gauc/{name}": count for name, count in zip(named, requests, strict=True)}
    return known | groups | {"val/loss": 1.0, "val/label_gauc/mean": 0.9, "val/pxtr_gauc/pctr": 0.7}


def test_squared_error_against_the_weighted_labels_row_by_row(schema, batch, scores) -> None:
    objective = built(schema, label_weights={"like": 2.0, "click": 0.5})
    mean = (0.5 + 1 + 2) / 3
    omega = [0.5 / mean, 1 / mean, 2 / mean]
    assert objective.omega.tolist() == pytest.approx(omega)
    losses = []
    for b, i in batch.exposed.nonzero().tolist():
        target = sum(w * y for w, y in zip(omega, batch.label[b, i].tolist(), strict=True))
        losses.append((scores[b, i].item() - target) ** 2)
    output = objective(scores, batch)
    assert output.loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert output.counts["mse"].item() == len(losses)
    assert tuple(output.terms) == objective.term_names(schema)
    assert objective.total(output.terms).item() == pytest.approx(output.loss.item())
    assert output.weight_names == ("click", "long_view", "like")
    torch.testing.assert_close(output.weights, torch.tensor([omega] * 5))


def test_request_scope_lets_requests_count_alike(schema, batch, scores) -> None:
    output = built(schema, scope="request")(scores, batch)
    of_requests = [
        (scores[b][shown] - batch.label[b][shown].sum(dim=-1)).square().mean()
        for b in range(5)
        if (shown := batch.exposed[b]).any()
    ]
    torch.testing.assert_close(output.loss, torch.stack(of_requests).mean())


def test_a_label_that_got_worse_weighs_more_by_the_rule(schema, batch, scores) -> None:
    objective = built(schema)
    objective.after_validation(gaucs(0.6, 0.7, 0.5))
    assert objective.omega.tolist() == [1, 1, 1]
    objective.after_validation(gaucs(0.62, 0.7, 0.46))
    raw = [math.exp(-5 * 0.02), 1.0, math.exp(5 * 0.04)]
    expected = [3 * x / sum(raw) for x in raw]
    assert objective.omega.tolist() == pytest.approx(expected)
    # Again, from where they are; the change is that since the last epoch.
    objective.after_validation(gaucs(0.62, 0.6, 0.5))
    raw = [expected[0], expected[1] * math.exp(5 * 0.1), expected[2] * math.exp(-5 * 0.04)]
    expected = [3 * x / sum(raw) for x in raw]
    assert objective.omega.tolist() == pytest.approx(expected)
    target = (batch.label * torch.tensor(expected)).sum(dim=-1)
    shown = batch.exposed
    torch.testing.assert_close(objective(scores, batch).loss, (scores - target)[shown].square().mean())


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_labels_without_a_gauc_keep_their_weight(schema, unknown) -> None:
    objective = built(schema, label_weights={"like": 4.0})
    objective.after_validation(gaucs(0.6, 0.7, unknown))
    objective.after_validation(gaucs(0.5, 0.8, 0.9))
    # like, 4 of 6 in all, was not known before. The others share their 2 of 6.
    raw = [0.5 * math.exp(5 * 0.1), 0.5 * math.exp(-5 * 0.1)]
    assert objective.omega.tolist() == pytest.approx([raw[0] / sum(raw), raw[1] / sum(raw), 2.0])
    assert objective.omega.mean().item() == pytest.approx(1)
    before = objective.omega.clone()
    # Unknown for once: the next change is since 0.6, not since NaN, and nothing moves meanwhile.
    objective = built(schema)
    for now in (0.6, unknown, 0.5):
        objective.after_validation(gaucs(now, 0.7, 0.5))
    assert objective.omega[0].item() == pytest.approx(3 * math.exp(0.5) / (math.exp(0.5) + 2))
    assert before.isfinite().all()


def test_a_gauc_of_too_few_requests_moves_nothing(schema) -> None:
    """Those that the mean leaves out: 29 requests where another label has 30; all of them where none has as many."""
    objective = built(schema)
    objective.after_validation(gaucs(0.6, 0.7, 0.5, (30, 400, 29)))
    objective.after_validation(gaucs(0.5, 0.7, 0.9, (30, 400, 29)))
    raw = [math.exp(5 * 0.1), 1.0]
    expected = [2 * x / sum(raw) for x in raw]
    assert objective.omega.tolist() == pytest.approx([*expected, 1.0])
    # Nor is such a GAUC what a later one is compared with.
    objective.after_validation(gaucs(0.5, 0.7, 0.4, (30, 400, 30)))
    assert objective.omega.tolist() == pytest.approx([*expected, 1.0])
    few = built(schema)
    for now in (0.6, 0.5):
        few.after_validation(gaucs(0.6, 0.7, now, (29, 3, 1)))
    assert few.omega[2].item() == pytest.approx(3 * math.exp(0.5) / (math.exp(0.5) + 2))


def test_numbers_that_cannot_move_the_weights_are_refused(schema) -> None:
    """A hook that is handed the wrong numbers would otherwise leave the weights where they are, in silence."""
    whole = gaucs(0.6, 0.7, 0.5)
    wrong = {name.removeprefix("val/"): value for name, value in whole.items()}
    for numbers in (wrong, {}, gaucs(None, None, None)):
        with pytest.raises(EmerError, match=r"none of val/label_gauc/click, .*method\.objective\.reweight=false"):
            built(schema).after_validation(numbers)
        built(schema, reweight=False).after_validation(numbers)
    uncounted = {name: value for name, value in whole.items() if not name.startswith("val/groups/")}
    with pytest.raises(EmerError, match="needs val/groups/label_gauc/click, the requests"):
        built(schema).after_validation(uncounted)


def test_a_label_of_weight_zero_stays_out(schema) -> None:
    objective = built(schema, label_weights={"like": 0.0})
    objective.after_validation(gaucs(0.6, 0.7, 0.9))
    objective.after_validation(gaucs(0.5, 0.7, 0.1))
    assert objective.omega[2].item() == 0
    assert objective.omega.sum().item() == pytest.approx(3)
    alone = built(schema, label_weights={"like": 0.0, "click": 1.0})
    # Only the label without weight is known: there is nothing to share.
    for now in (0.9, 0.1):
        alone.after_validation(gaucs(None, None, now))
    assert alone.omega.tolist() == pytest.approx([1.5, 1.5, 0])


def test_without_reweighting_nothing_moves(schema) -> None:
    objective = built(schema, reweight=False)
    for now in (0.9, 0.1, 0.5):
        objective.after_validation(gaucs(now, 0.7, 0.9))
    assert objective.omega.tolist() == [1, 1, 1]


def test_validation_keeps_the_weights_of_the_start(schema, batch, scores) -> None:
    objective = built(schema)
    first = objective(scores, batch).loss
    objective.after_validation(gaucs(0.6, 0.7, 0.9))
    objective.after_validation(gaucs(0.2, 0.7, 0.9))
    assert not torch.equal(objective(scores, batch).loss, first)
    objective.eval()
    assert torch.equal(objective(scores, batch).loss, first)


def test_a_checkpoint_holds_weights_and_gaucs(schema) -> None:
    one, other = built(schema), built(schema)
    for now in (0.6, 0.5):
        one.after_validation(gaucs(now, 0.7, 0.9))
    other.load_state_dict(one.state_dict())
    for objective in (one, other):
        objective.after_validation(gaucs(0.4, 0.75, 0.8))
    assert torch.equal(one.omega, other.omega)
    assert one.omega[0] > one.omega[1]


def test_unexposed_candidates_get_no_gradient(schema, batch, scores) -> None:
    s = scores.clone().requires_grad_()
    built(schema)(s, batch).loss.backward()
    assert torch.equal(s.grad != 0, batch.exposed)


def test_nothing_exposed_is_zero_and_finite(schema, batch_of, scores) -> None:
    batch = batch_of(B=5)
    batch.exposed.zero_()
    output = built(schema)(scores, batch)
    assert output.loss.item() == 0
    assert output.counts["mse"].item() == 0


def test_hostile_settings_are_refused(schema, batch, scores) -> None:
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(EmerError, match=f"method.objective.step_size is {value}"):
            UmreObjective(step_size=value)
    with pytest.raises(EmerError, match=r"label_weights names share; the labels are click"):
        UmreObjective(label_weights={"share": 1.0}).build(schema)
    with pytest.raises(EmerError, match=r"built for the labels \(none\).*call build"):
        UmreObjective()(scores, batch)
