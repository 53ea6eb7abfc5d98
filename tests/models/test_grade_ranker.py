from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from emer.errors import EmerError
from emer.models.grade import GradeRanker


def ranker(schema, **options) -> GradeRanker:
    torch.manual_seed(0)
    return GradeRanker(schema, width=8, head_width=6, embedding_width=4, **options)


def changed(batch, function):
    N = batch.mask.shape[1]
    new = {
        f.name: function(value)
        for f in fields(batch)
        if isinstance(value := getattr(batch, f.name), Tensor)
        and value.dim() >= 2
        and value.shape[1] == N
        and f.name not in ("user_categories", "context_categories")
    }
    return replace(batch, **new)


@pytest.mark.parametrize("values", ["logit", "rank"])
def test_permutation_and_padding(schema, batch_of, values) -> None:
    model, batch = ranker(schema, values=values), batch_of(B=4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(changed(batch, lambda x: x[:, order])), model(batch)[:, order])
    more = changed(batch, lambda x: torch.cat([x, torch.ones_like(x[:, :5])], dim=1))
    scores = model(replace(more, mask=torch.cat([batch.mask, torch.zeros(4, 5, dtype=torch.bool)], dim=1)))
    torch.testing.assert_close(scores[:, :9], model(batch))
    assert torch.equal(scores[:, 9:], torch.zeros(4, 5))
    assert torch.equal(model(batch)[~batch.mask], torch.zeros(int((~batch.mask).sum())))


@pytest.mark.parametrize("values", ["logit", "rank"])
def test_the_score_is_the_mean_weights_times_the_values(schema, batch_of, values) -> None:
    model, batch = ranker(schema, values=values), batch_of(B=4)
    model.features.fit(batch_of(B=20, seed=3))
    scores, details = model.forward_with_details(batch)
    assert tuple(details) == model.gives
    alpha, v = details["concentration"], details["values"]
    assert (alpha > 1).all()
    assert torch.equal(scores, model(batch))
    for b, i in batch.mask.nonzero().tolist():
        expected = sum(alpha[b, k] / alpha[b].sum() * v[b, i, k] for k in range(4))
        assert scores[b, i].item() == pytest.approx(expected.item(), abs=1e-5)


def test_values_are_standardised_logits_or_ranks(schema, batch_of) -> None:
    batch = batch_of(B=20)
    model = ranker(schema)
    model.features.fit(batch)
    v = model.forward_with_details(batch)[1]["values"][batch.mask]
    for k in range(4):
        p = batch.pxtr[batch.mask][:, k].double()
        x = torch.log1p(p) if k == 1 else torch.log(p / (1 - p))
        torch.testing.assert_close(v[:, k].double(), (x - x.mean()) / x.std(correction=0), rtol=1e-3, atol=1e-4)
    v = ranker(schema, values="rank").forward_with_details(batch)[1]["values"]
    for b in range(20):
        n = int(batch.lengths[b])
        for k in range(4):
            place = batch.pxtr[b, :n, k].argsort(descending=True).argsort() + 1
            torch.testing.assert_close(v[b, :n, k], (n + 1 - 2 * place) / n)


def test_the_anchor_is_the_network_at_the_end_of_the_warm_start(schema, batch_of) -> None:
    model, batch = ranker(schema, anchor_after=2), batch_of(B=3)

    def step() -> tuple[Tensor, Tensor]:
        details = model.forward_with_details(batch)[1]
        found = details["concentration"].detach(), details["anchor_concentration"]
        assert not found[1].requires_grad
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        return found

    for _ in range(2):
        now, anchor = step()
        assert torch.equal(now, anchor)
    model.eval()
    now, anchor = step()  # validation is no training step
    assert torch.equal(now, anchor)
    model.train()
    fixed, anchor = step()
    assert torch.equal(fixed, anchor)
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in (True, False):
        model.train(mode)
        now, anchor = step()
        assert torch.equal(anchor, fixed)
        assert not torch.equal(now, anchor)
    resumed = ranker(schema, anchor_after=2)
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.forward_with_details(batch)[1]["anchor_concentration"], fixed)


def test_gradient_reaches_the_policy_and_not_the_anchor(schema, batch_of) -> None:
    model, batch = ranker(schema, anchor_after=0), batch_of(B=30)
    _, details = model.forward_with_details(batch)
    (details["concentration"] * torch.randn(30, 4)).sum().backward()
    for name, parameter in model.policy.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in model.anchor.parameters())


def test_single_candidates_and_extreme_pxtrs_are_finite(schema, batch_of) -> None:
    for values in ("logit", "rank"):
        assert torch.isfinite(ranker(schema, values=values)(batch_of(B=2, N=1, full=True))).all()
    batch = batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, 0, schema.watch_index] = 1e6
    assert torch.isfinite(ranker(schema)(replace(batch, pxtr=pxtr))).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 0), ("head_width", 0), ("embedding_width", 0), ("anchor_after", -1), ("values", "pxtr")],
)
def test_bad_options_are_refused(schema, key, value) -> None:
    with pytest.raises(EmerError, match=f"method.model.{key} is {value!r}"):
        GradeRanker(schema, **{key: value})
