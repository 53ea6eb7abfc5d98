"""What holds for every objective of exposed candidates: lists, terms, counts, weights, and what must not matter."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from emer.errors import EmerError
from emer.objectives.auc_surrogates import PairwiseLogistic, PairwiseSquare
from emer.objectives.aucm import Aucm
from emer.objectives.draws import Draws
from emer.objectives.exposed import exposed_lists
from emer.objectives.pointwise import LabelAggregation, MultiObjectiveBce
from emer.objectives.policy_gradient import PolicyGradient
from emer.requests import Objective, RequestBatch, Schema

B, N = 6, 9
OBJECTIVES = {
    "bce": MultiObjectiveBce,
    "label_aggregation": LabelAggregation,
    "label_aggregation_stochastic": partial(LabelAggregation, stochastic=True),
    "pairwise_logistic": PairwiseLogistic,
    "pairwise_square": PairwiseSquare,
    "aucm": Aucm,
    "aucm_min_max": partial(Aucm, mode="min_max"),
    "policy_gradient": PolicyGradient,
}
EACH = pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)
EACH_SCOPE = pytest.mark.parametrize("scope", ["batch", "request"])


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=B, N=N, seed=4)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(B, N, generator=torch.Generator().manual_seed(7))


def built(objective, schema: Schema):
    if isinstance(objective, Aucm):
        objective.build(schema)
    return objective


def loss_and_gradient(objective, scores, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a copy, so that objectives that draw draw the same each time."""
    s = scores.clone().requires_grad_()
    output = copy.deepcopy(objective)(s, batch)
    output.loss.backward()
    assert s.grad is not None
    return output.loss.detach(), s.grad


def test_batch_scope_is_one_list_of_all_exposed_and_request_scope_one_each(batch, scores) -> None:
    whole = exposed_lists(scores, batch, "batch")
    assert whole.where.shape == (1, int(batch.exposed.sum()))
    assert whole.where.all()
    rows = [(b, i) for b in range(B) for i in range(N) if batch.exposed[b, i]]
    assert whole.scores[0].tolist() == [scores[b, i].item() for b, i in rows]
    assert whole.labels[0].tolist() == [(batch.label[b, i] == 1).tolist() for b, i in rows]
    each = exposed_lists(scores, batch, "request")
    assert torch.equal(each.where, batch.exposed)
    assert torch.equal(each.scores, scores)
    for lists in (whole, each):
        positives = [(lists.labels[r][lists.where[r]]).sum(dim=0) for r in range(len(lists.where))]
        negatives = [(~lists.labels[r][lists.where[r]]).sum(dim=0) for r in range(len(lists.where))]
        assert torch.equal(lists.pairs(), torch.stack(positives) * torch.stack(negatives))
        assert torch.equal(lists.rows(), torch.stack(positives) + torch.stack(negatives))


@EACH
@EACH_SCOPE
def test_terms_are_named_and_add_up_to_the_loss(make, scope, batch, scores, schema) -> None:
    objective = built(make(scope=scope, label_weights={"click": 0.5, "like": 3}), schema)
    assert not objective.needs_previous
    output = objective(scores, batch)
    assert tuple(output.terms) == tuple(output.counts) == objective.term_names(schema)
    torch.testing.assert_close(objective.total(output.terms), output.loss.detach())
    if not isinstance(objective, LabelAggregation):
        prefix = objective.term
        assert objective.term_names(schema) == (f"{prefix}/click", f"{prefix}/long_view", f"{prefix}/like")
        click, long_view, like = output.terms.values()
        torch.testing.assert_close(output.loss.detach(), 0.5 * click + long_view + 3 * like)
    assert all(not count.is_floating_point() and count.dim() == 0 for count in output.counts.values())
    assert all(term.dim() == 0 and not term.requires_grad for term in output.terms.values())


@EACH
@EACH_SCOPE
def test_what_was_not_shown_is_not_read(make, scope, batch, scores, schema) -> None:
    objective = built(make(scope=scope), schema)
    loss, gradient = loss_and_gradient(objective, scores, batch)
    hostile = scores.masked_fill(~batch.exposed, torch.nan)
    other_loss, other_gradient = loss_and_gradient(objective, hostile, batch)
    assert torch.equal(loss, other_loss)
    assert torch.equal(gradient, other_gradient)
    assert torch.equal(gradient[~batch.exposed], torch.zeros(int((~batch.exposed).sum())))
    assert (gradient[batch.exposed] != 0).any()


@EACH
@EACH_SCOPE
def test_padding_changes_nothing(make, scope, batch, scores, schema) -> None:
    objective = built(make(scope=scope), schema)
    loss, gradient = loss_and_gradient(objective, scores, batch)
    pad = {"label": (0, 0, 0, 4), "exposed": (0, 4), "mask": (0, 4)}
    longer = replace(batch, **{name: F.pad(getattr(batch, name), size) for name, size in pad.items()})
    other_loss, other_gradient = loss_and_gradient(objective, F.pad(scores, (0, 4), value=50.0), longer)
    torch.testing.assert_close(other_loss, loss)
    torch.testing.assert_close(other_gradient, F.pad(gradient, (0, 4)))


@EACH
@EACH_SCOPE
def test_the_order_of_candidates_does_not_matter(make, scope, batch, scores, schema) -> None:
    """Outside training where a candidate's part is drawn."""
    objective = built(make(scope=scope), schema)
    objective.train(not hasattr(objective, "draws"))
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved = replace(batch, label=batch.label[:, order], exposed=batch.exposed[:, order], mask=batch.mask[:, order])
    torch.testing.assert_close(objective(scores[:, order], moved).loss, objective(scores, batch).loss)
    if not isinstance(objective, PolicyGradient):  # it has no gradient outside training
        _, gradient = loss_and_gradient(objective, scores, batch)
        _, other_gradient = loss_and_gradient(objective, scores[:, order], moved)
        torch.testing.assert_close(other_gradient, gradient[:, order])


@EACH
@EACH_SCOPE
def test_a_label_that_nobody_gave_contributes_nothing(make, scope, batch, scores, schema) -> None:
    """Also to the gradient: it is that of weight 0. The pointwise losses do learn from such a label."""
    objective = built(make(scope=scope), schema)
    label = batch.label.clone()
    label[..., 2] = 0
    without = replace(batch, label=label)
    output = objective(scores, without)
    if isinstance(objective, MultiObjectiveBce | LabelAggregation):
        assert all(term > 0 for term in output.terms.values())
        return
    assert output.terms[f"{objective.term}/like"].item() == 0
    assert output.counts[f"{objective.term}/like"].item() == 0
    assert output.terms[f"{objective.term}/click"].item() > 0
    fresh = [built(make(scope=scope, label_weights=weights), schema) for weights in ({}, {"like": 0.0})]
    (loss, gradient), (other_loss, other_gradient) = (loss_and_gradient(o, scores, without) for o in fresh)
    torch.testing.assert_close(loss, other_loss)
    torch.testing.assert_close(gradient, other_gradient)


@EACH
@EACH_SCOPE
def test_nothing_exposed_is_a_loss_of_zero(make, scope, batch, scores, schema) -> None:
    nothing = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    objective = built(make(scope=scope), schema)
    loss, gradient = loss_and_gradient(objective, scores, nothing)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(scores))
    output = objective(scores, nothing)
    assert all(count.item() == 0 for count in output.counts.values())
    assert tuple(output.terms) == objective.term_names(schema)


@EACH
@EACH_SCOPE
def test_a_score_that_is_not_a_number_makes_the_loss_none(make, scope, batch, scores, schema) -> None:
    s = scores.clone()
    s[0, int(batch.exposed[0].nonzero()[0])] = torch.nan
    assert built(make(scope=scope), schema)(s, batch).loss.isnan()


@EACH
@EACH_SCOPE
def test_autocast_does_not_round(make, scope, batch, scores, schema) -> None:
    objective = built(make(scope=scope, label_weights={"click": 0.3}), schema)
    for mode in (True, False):
        objective.train(mode)
        plain = copy.deepcopy(objective)(scores, batch).loss
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(copy.deepcopy(objective)(scores, batch).loss, plain)


def test_counts_make_validation_a_mean_over_rows_or_pairs(batch, scores) -> None:
    """As the trainer averages: sum of term * count / sum of count, over batches of 2 and 4 requests."""
    parts = [torch.tensor([0, 1]), torch.tensor([2, 3, 4, 5])]
    bce, pl = MultiObjectiveBce(), PairwiseLogistic()
    for m, name in enumerate(batch.schema.feedback_names):
        weighted = {}
        for objective in (bce, pl):
            outputs = [objective(scores[part], batch.select(part)) for part in parts]
            key = f"{objective.term}/{name}"
            assert outputs[0].counts[key] != outputs[1].counts[key]
            total = sum(o.terms[key] * o.counts[key] for o in outputs)
            weighted[objective.term] = total / sum(o.counts[key] for o in outputs)
        shown, label = scores[batch.exposed], batch.label[..., m][batch.exposed]
        torch.testing.assert_close(weighted["bce"], F.binary_cross_entropy_with_logits(shown, label))
        pairs = []
        for part in parts:
            where, y = batch.exposed[part], batch.label[part][..., m]
            pairs += [F.softplus(n - p) for p in scores[part][where & (y == 1)] for n in scores[part][where & (y == 0)]]
        torch.testing.assert_close(weighted["pairwise_logistic"], torch.stack(pairs).mean())


def test_request_scope_averages_over_the_requests_that_have_something(batch, scores) -> None:
    """A fourth of the requests shows nothing, and some labels have one class only."""
    exposed = batch.exposed.clone()
    exposed[2] = False
    label = batch.label * exposed.unsqueeze(-1)
    label[0, :, 2] = 0
    some = replace(batch, exposed=exposed, label=label)
    bce, pl = MultiObjectiveBce(scope="request")(scores, some), PairwiseLogistic(scope="request")(scores, some)
    for m, name in enumerate(batch.schema.feedback_names):
        rows, pairs = [], []
        for b in range(B):
            s, y = scores[b, exposed[b]], label[b, exposed[b], m]
            if len(s):
                rows.append(F.binary_cross_entropy_with_logits(s, y))
            if 0 < y.sum() < len(y):
                pairs.append(torch.stack([F.softplus(n - p) for p in s[y == 1] for n in s[y == 0]]).mean())
        assert 0 < len(pairs) <= len(rows) == B - 1
        torch.testing.assert_close(bce.terms[f"bce/{name}"], torch.stack(rows).mean())
        torch.testing.assert_close(pl.terms[f"pairwise_logistic/{name}"], torch.stack(pairs).mean())
        assert bce.counts[f"bce/{name}"] == len(rows)
        assert pl.counts[f"pairwise_logistic/{name}"] == len(pairs)


@EACH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "list"}, "method.objective.scope is 'list'; it must be one of batch, request"),
        ({"label_weights": {"like": -1.0}}, "label_weights.like is -1.0; it must be a number >= 0"),
        ({"label_weights": {"like": "much"}}, "label_weights.like is 'much'"),
        ({"label_weights": {"like": float("nan")}}, "label_weights.like is nan"),
    ],
)
def test_bad_settings_are_refused(make, arguments, message) -> None:
    with pytest.raises(EmerError, match=message):
        make(**arguments)


@EACH
def test_weights_that_do_not_fit_the_log_are_refused(make, batch, scores) -> None:
    with pytest.raises(EmerError, match=r"label_weights names pltr, share; the labels are click, long_view, like"):
        built(make(label_weights={"share": 1.0, "pltr": 1.0}), batch.schema)(scores, batch)
    with pytest.raises(EmerError, match="label_weights are all 0"):
        built(make(label_weights={"click": 0, "long_view": 0, "like": 0}), batch.schema)(scores, batch)


@EACH
def test_a_log_without_labels_is_refused(make, batch_of) -> None:
    schema = Schema((Objective("pctr"),))
    batch = batch_of(B=2, N=4, schema=schema)
    with pytest.raises(EmerError, match="this log has none"):
        built(make(), schema)(torch.zeros(2, 4), batch)


def test_draws_differ_by_step_and_seed_and_go_on_from_a_checkpoint() -> None:
    def numbers(draws: Draws) -> list[float]:
        return torch.randn(3, generator=draws.next(torch.device("cpu"))).tolist()

    draws = Draws(5)
    first, second = numbers(draws), numbers(draws)
    saved = copy.deepcopy(draws.state_dict())
    torch.manual_seed(99)
    third = numbers(draws)
    assert len({tuple(x) for x in (first, second, third, numbers(Draws(6)))}) == 4
    assert numbers(Draws(5)) == first
    resumed = Draws(5)
    resumed.load_state_dict(saved)
    assert numbers(resumed) == third
    with pytest.raises(EmerError, match=r"method\.objective\.seed is -1"):
        Draws(-1)


def test_processes_draw_apart(monkeypatch) -> None:
    """And step 1 of the first is not step 0 of the second."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    drawn = set()
    for rank in range(2):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        draws = Draws(0)
        drawn |= {draws.next(torch.device("cpu")).initial_seed() for _ in range(3)}
    assert len(drawn) == 6


def test_others_is_the_weight_of_all_labels_that_are_not_named(batch, scores) -> None:
    named = MultiObjectiveBce(label_weights={"click": 0.0, "long_view": 0.5, "like": 0.5})
    short = MultiObjectiveBce(label_weights={"click": 0.0, "others": 0.5})
    assert short(scores, batch).loss.item() == named(scores, batch).loss.item()
    assert short.weights(batch.schema) == (0.0, 0.5, 0.5)
    terms = {name: torch.tensor(float(i + 1)) for i, name in enumerate(short.term_names(batch.schema))}
    assert short.total(terms).item() == named.total(terms).item() == 2.5
