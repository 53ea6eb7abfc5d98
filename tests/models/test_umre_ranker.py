from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from emer.errors import EmerError
from emer.models.umre import UmreRanker
from emer.requests import Objective, RequestBatch, Schema

SCOPES = ("request", "candidate")


def ranker(schema: Schema, seed: int = 0, **options) -> UmreRanker:
    """Parameters far from the start: with those of the start, t is nearly the standardised score itself."""
    torch.manual_seed(seed)
    model = UmreRanker(schema, width=8, hidden=4, embedding_width=4, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.6)
    return model


def changed(batch: RequestBatch, function) -> RequestBatch:
    """Every tensor with a candidate axis through ``function``."""
    per_request = ("user_categories", "context_categories")
    N = batch.mask.shape[1]
    new = {
        f.name: function(value)
        for f in fields(batch)
        if isinstance(value := getattr(batch, f.name), Tensor)
        and value.dim() >= 2
        and value.shape[1] == N
        and f.name not in per_request
    }
    return replace(batch, **new)


@pytest.mark.parametrize("scope", SCOPES)
def test_permuting_candidates_permutes_scores(schema, batch_of, scope) -> None:
    model, batch = ranker(schema, weight_scope=scope), batch_of(B=4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(changed(batch, lambda x: x[:, order])), model(batch)[:, order])


@pytest.mark.parametrize("scope", SCOPES)
def test_padding_changes_nothing(schema, batch_of, scope) -> None:
    model, batch = ranker(schema, weight_scope=scope), batch_of(B=4)
    more = changed(batch, lambda x: torch.cat([x, torch.ones_like(x[:, :5])], dim=1))
    mask = torch.cat([batch.mask, torch.zeros(4, 5, dtype=torch.bool)], dim=1)
    scores = model(replace(more, mask=mask))
    torch.testing.assert_close(scores[:, :9], model(batch))
    assert torch.equal(scores[:, 9:], torch.zeros(4, 5))
    assert torch.equal(model(batch)[~batch.mask], torch.zeros(int((~batch.mask).sum())))


@pytest.mark.parametrize("scope", SCOPES)
def test_the_score_is_the_weighted_sum(schema, batch_of, scope) -> None:
    model, batch = ranker(schema, weight_scope=scope), batch_of(B=4)
    t, w = model.transformed(batch), model.weights(batch)
    assert w.shape == (4, 1 if scope == "request" else 9, 4)
    assert (w > 0).all()
    torch.testing.assert_close(w.sum(dim=-1), torch.ones(w.shape[:2]))
    expected = (t.double() * w.double()).sum(dim=-1).float()
    torch.testing.assert_close(model(batch), expected.masked_fill(~batch.mask, 0))
    assert model(batch).unique().numel() > 20


@pytest.mark.parametrize("scope", SCOPES)
def test_weights_by_attention_written_out(schema, batch_of, scope) -> None:
    model, batch = ranker(schema, weight_scope=scope), batch_of(B=3)
    features, t = model.features(batch), model.transformed(batch)
    for b in range(3):
        valid = batch.mask[b]
        q = model.user(features[b, valid].mean(dim=0))
        for i in valid.nonzero().flatten().tolist():
            at = t[b, valid].mean(dim=0) if scope == "request" else t[b, i]
            keys = model.key + at.unsqueeze(1) * model.key_slope
            expected = torch.softmax(keys @ q / math.sqrt(8), dim=0)
            torch.testing.assert_close(model.weights(batch)[b, 0 if scope == "request" else i], expected)


def test_each_transformed_score_increases_in_its_pxtr_alone(schema, batch_of) -> None:
    model, batch = ranker(schema), batch_of(B=1, N=6, full=True)
    model.features.fit(batch_of(B=20, seed=5))
    for k, largest in enumerate((1.0, 60.0, 1.0, 1.0)):
        values = []
        for share in (0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 0.999):
            pxtr = batch.pxtr.clone()
            pxtr[0, 2, k] = share * largest
            values.append(model.transformed(replace(batch, pxtr=pxtr)))
        t = torch.stack(values)
        assert (t[1:, 0, 2, k] > t[:-1, 0, 2, k]).all()
        t[:, 0, 2, k] = 0
        assert torch.equal(t, t[:1].expand_as(t))


def test_a_dominating_candidate_is_ranked_above(schema, batch_of) -> None:
    """Same item features, one pxtr a little larger: holds for every request and every parameters."""
    for seed in range(4):
        model, batch = ranker(schema, seed), batch_of(B=30, N=5, full=True, seed=seed)
        k = seed % 4
        batch = changed(batch, lambda x: torch.cat([x[:, :1], x[:, :1], x[:, 2:]], dim=1))
        pxtr = batch.pxtr.clone()
        pxtr[:, 1, k] = pxtr[:, 0, k] * 0.9
        scores = model(replace(batch, pxtr=pxtr))
        assert (scores[:, 0] > scores[:, 1]).all()


def test_weights_come_from_user_context_and_candidates(schema, batch_of) -> None:
    model, batch = ranker(schema), batch_of(B=1, full=True)
    before = model.weights(batch)
    for name in ("user_categories", "context_categories", "item_categories", "item_numbers", "pxtr"):
        value = getattr(batch, name)
        other = (value + 1) % 5 if value.dtype == torch.int64 else value * 0.3
        assert (model.weights(replace(batch, **{name: other})) - before).abs().max() > 1e-4


@pytest.mark.parametrize("scope", SCOPES)
def test_gradient_reaches_every_parameter(schema, batch_of, scope) -> None:
    torch.manual_seed(0)
    model, batch = UmreRanker(schema, weight_scope=scope), batch_of(B=30)
    (model(batch) - torch.randn(30, 9)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_extreme_pxtrs_and_single_candidates_are_finite(schema, batch_of) -> None:
    model, batch = ranker(schema), batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, :2] = 1.0
    pxtr[:, 0, schema.watch_index] = 1e6
    assert torch.isfinite(model(replace(batch, pxtr=pxtr))).all()
    assert torch.isfinite(model(batch_of(B=2, N=1, full=True))).all()


def test_half_precision_does_not_touch_the_scores(schema, batch_of) -> None:
    model, batch = ranker(schema), batch_of()
    expected = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(batch), expected)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_runs_without_any_feature_but_the_pxtrs(batch_of) -> None:
    bare = Schema(objectives=(Objective("pctr"), Objective("pltr")))
    model = ranker(bare)
    assert model(batch_of(schema=bare)).unique().numel() > 10


@pytest.mark.parametrize(
    ("key", "value"), [("width", 0), ("hidden", 0), ("nodes", 1), ("embedding_width", 0), ("weight_scope", "list")]
)
def test_bad_options_are_refused(schema, key, value) -> None:
    with pytest.raises(EmerError, match=f"method.model.{key} is {value!r}"):
        UmreRanker(schema, **{key: value})
