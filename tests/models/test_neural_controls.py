"""Linear, pointwise and mean-pool scorers: what each can see, and how large it is."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.neural_controls import LinearScorer, MeanPoolBlock, MeanPoolEncoder, PointwiseMlp
from emer.models.ranker import AttentionBlock, EmerRanker
from emer.ranking import rank_gap
from emer.requests import Category, Objective, Schema, Unit

NETWORKS = {
    "linear": lambda schema, **options: LinearScorer(schema, **options),
    "pointwise": lambda schema, **options: PointwiseMlp(schema, width=8, hidden=16, **options),
    "mean_pool": lambda schema, **options: MeanPoolEncoder(schema, width=8, hidden=16, head_width=8, **options),
}

WIDE = Schema(
    objectives=(Objective("pvtr", unit=Unit.SECONDS), *(Objective(f"p{i}") for i in range(7))),
    user_categories=tuple(Category(f"user_{i}", 50) for i in range(6)),
    item_categories=tuple(Category(f"item_{i}", 90) for i in range(5)),
    item_numbers=("duration", "age", "bitrate"),
)


@pytest.fixture(params=NETWORKS)
def network(request, schema):
    torch.manual_seed(0)
    return NETWORKS[request.param](schema).eval()


def per_candidate(batch):
    shared = ("user_categories", "context_categories")
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor) and value.dim() >= 2 and field.name not in shared:
            yield field.name, value


def permuted(batch, order):
    return replace(batch, **{name: value[:, order] for name, value in per_candidate(batch)})


def padded(batch, extra):
    """With ``extra`` columns of padding that hold what must not be read."""
    fill = {"pxtr": 0.9, "item_numbers": 30.0, "item_categories": 1, "rank_gap": 3}
    changed = {}
    for name, value in per_candidate(batch):
        filler = torch.full((len(value), extra, *value.shape[2:]), fill.get(name, 0), dtype=value.dtype)
        changed[name] = torch.cat([value, filler], dim=1)
    return replace(batch, **changed)


def with_pxtr(batch, pxtr):
    return replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))


def n_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_permuting_candidates_permutes_scores(network, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(network(permuted(batch, order)), network(batch)[:, order], rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(network, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    scores = network(batch)
    more = network(padded(batch, 5))
    assert scores[batch.mask].std() > 1e-3
    torch.testing.assert_close(more[:, :9], scores, rtol=1e-4, atol=1e-6)
    assert torch.equal(more[:, 9:], torch.zeros(4, 5))
    assert (scores[~batch.mask] == 0).all() and not batch.mask.all()


def test_requests_do_not_see_each_other(network, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    alone = network(batch.select(torch.tensor([2])))
    torch.testing.assert_close(alone, network(batch)[2:3], rtol=1e-4, atol=1e-6)


def test_a_gradient_reaches_every_parameter(network, batch_of) -> None:
    network.train()
    network(batch_of(B=8, N=9)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("name", "options", "sees"),
    [
        ("linear", {"use_rank": False}, False),
        ("linear", {"use_pxtr": False}, True),
        ("pointwise", {}, False),
        ("mean_pool", {"use_rank": False}, True),
    ],
)
def test_who_sees_the_other_candidates(name, options, sees, schema, batch_of) -> None:
    """Raising one candidate to the top moves the others only where they see it."""
    batch = batch_of(B=1, N=6, full=True)
    pxtr = batch.pxtr.clone()
    pxtr[0, 0] = torch.tensor([0.0, 0.0, 0.0, 0.0])
    low = with_pxtr(batch, pxtr)
    pxtr = pxtr.clone()
    pxtr[0, 0] = torch.tensor([0.99, 99.0, 0.99, 0.99])
    high = with_pxtr(batch, pxtr)
    torch.manual_seed(0)
    model = NETWORKS[name](schema, **options).eval()
    moved = (model(high) - model(low)).abs()[0]
    assert moved[0] > 1e-4
    assert (moved[1:].min() > 1e-6) if sees else (moved[1:] == 0).all()


def test_the_context_is_the_mean_of_the_valid_candidates() -> None:
    """The block by hand, in float64, one request and one candidate at a time."""
    torch.manual_seed(0)
    block = MeanPoolBlock(4, 6, 0.0).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    out = block(x, mask)
    for b in range(2):
        z = [block.norm(x[b, i]) for i in range(5)]
        valid = [i for i in range(5) if mask[b, i]]
        mean = sum(z[i] for i in valid) / len(valid)
        for i in valid:
            hidden = nn.functional.gelu(block.layers[0](torch.cat([z[i], mean])))
            torch.testing.assert_close(out[b, i], x[b, i] + block.layers[3](hidden), rtol=1e-12, atol=1e-12)


def test_mean_pooling_cannot_tell_how_often_the_same_list_is_repeated(schema, batch_of) -> None:
    """A mean is one; a sum over the candidates would move. Ranks do move, so they are left out."""
    batch = batch_of(B=2, N=5, full=True)
    torch.manual_seed(0)
    model = MeanPoolEncoder(schema, width=8, hidden=16, head_width=8, use_rank=False).eval()
    twice = permuted(batch, torch.arange(10) % 5)
    torch.testing.assert_close(model(twice), model(batch).repeat(1, 2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log", ["small", "wide"])
def test_defaults_have_the_budget_of_emers(log, schema) -> None:
    columns = schema if log == "small" else WIDE
    emer, alone = EmerRanker(columns), EmerRanker(columns, comparison=False)
    pool = MeanPoolEncoder(columns)
    assert n_parameters(pool) == pytest.approx(n_parameters(emer), rel=1e-3)
    assert n_parameters(PointwiseMlp(columns)) == pytest.approx(n_parameters(alone), rel=1e-2)
    # Block by block, and all around the blocks the same, so that the blocks alone can differ.
    assert not any(isinstance(m, AttentionBlock) for m in pool.modules())
    assert n_parameters(pool) - n_parameters(pool.blocks) == n_parameters(emer) - n_parameters(emer.blocks)
    assert pool.features.width == emer.features.width
    assert PointwiseMlp(columns).features.width == alone.features.width


def test_layers_add_layers(schema) -> None:
    sizes = [n_parameters(MeanPoolEncoder(schema, layers=n)) for n in (1, 2, 3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == n_parameters(MeanPoolBlock(64, 258, 0.0))
    sizes = [n_parameters(PointwiseMlp(schema, layers=n)) for n in (1, 2, 3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == 288 * 288 + 288


def test_the_linear_scorer_has_one_weight_per_feature(schema, batch_of) -> None:
    batch = batch_of(B=3, N=5)
    model = LinearScorer(schema, embedding_width=3)
    K = 4
    assert model.out.weight.shape == (1, 2 * K + 1 + 3 * 3)
    expected = (model.features(batch) * model.out.weight).sum(dim=-1) + model.out.bias
    torch.testing.assert_close(model(batch), expected.masked_fill(~batch.mask, 0.0), rtol=1e-5, atol=1e-6)
    # User and context features move a whole request, not the order in it.
    other = replace(batch, user_categories=(batch.user_categories + 1) % 5)
    shift = (model(other) - model(batch))[0, : int(batch.lengths[0])]
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), rtol=1e-4, atol=1e-6)
    assert shift[0].abs() > 1e-4


def test_scores_keep_full_precision_under_autocast(network, batch_of) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = network(batch_of(B=2, N=9))
    assert scores.dtype == torch.float32 and torch.isfinite(scores).all()


def test_dropout_acts_in_training_only(schema, batch_of) -> None:
    batch = batch_of(B=2, N=9)
    for name in ("pointwise", "mean_pool"):
        model = NETWORKS[name](schema, dropout=0.5)
        assert not torch.equal(model(batch), model(batch))
        model.eval()
        assert torch.equal(model(batch), model(batch))


def test_one_candidate_and_extreme_pxtrs_are_finite(network, schema, batch_of) -> None:
    assert torch.isfinite(network(batch_of(B=2, N=1, full=True))).all()
    batch = batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, :2] = 1.0
    pxtr[:, 0, schema.watch_index] = 1e6
    assert torch.isfinite(network(with_pxtr(batch, pxtr))).all()


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (LinearScorer, ["embedding_width"]),
        (PointwiseMlp, ["width", "hidden", "layers", "embedding_width"]),
        (MeanPoolEncoder, ["width", "layers", "hidden", "head_width", "embedding_width"]),
    ],
)
def test_bad_sizes_are_refused(model, sizes, schema) -> None:
    for name in sizes:
        with pytest.raises(EmerError, match=rf"method\.model\.{name} is 0; it must be at least 1"):
            model(schema, **{name: 0})
    if model is not LinearScorer:
        for dropout in (-0.1, 1.0, float("nan")):
            with pytest.raises(EmerError, match=r"method\.model\.dropout is"):
                model(schema, dropout=dropout)
