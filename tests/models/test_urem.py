from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.inducing import InducingPointAttention
from emer.models.urem import UremRanker, UremRankerConfig
from emer.objectives.base import details_needed
from emer.objectives.urem import UremObjective

BACKBONES = ("mlp", "lr", "prm", "weights")
OF_REQUESTS = ("user_categories", "context_categories", "request_id", "user_id", "time_ms", "row")


def of_candidates(batch, change):
    """The batch with ``change`` applied to every tensor that has an axis of candidates."""
    changed = {
        f.name: change(f.name, getattr(batch, f.name))
        for f in fields(batch)
        if isinstance(getattr(batch, f.name), Tensor) and f.name not in OF_REQUESTS
    }
    return replace(batch, **changed)


def padded(batch, extra):
    """The batch with more padding, filled with what must not be read."""

    def longer(name, value):
        filler = torch.zeros(value.shape[0], extra, *value.shape[2:], dtype=value.dtype)
        return torch.cat([value, filler + 0.5 if name in ("pxtr", "item_numbers") else filler], dim=1)

    return of_candidates(batch, longer)


def fitted(batch, **options) -> UremRanker:
    torch.manual_seed(0)
    model = UremRanker(batch.schema, **{"bins": 20, "encoding_scale": 0.5, **options})
    model.features.fit(batch)
    return model.eval()


def both(model, batch) -> tuple[Tensor, Tensor]:
    """Scores and the decoder's logits."""
    scores, details = model.forward_with_details(batch)
    assert tuple(details) == model.gives == ("reconstruction",)
    return scores, details["reconstruction"]


@pytest.fixture
def batch(batch_of):
    return batch_of(B=4, N=9)


@pytest.mark.parametrize("use_features", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_permuting_candidates_permutes_both_outputs(backbone, use_features, batch) -> None:
    model = fitted(batch, backbone=backbone, use_features=use_features, layers=1)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    there = both(model, of_candidates(batch, lambda _, value: value[:, order]))
    for one, other in zip(there, both(model, batch), strict=True):
        torch.testing.assert_close(one, other[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_padding_changes_nothing_and_gets_0(backbone, batch) -> None:
    model = fitted(batch, backbone=backbone, layers=1)
    more = both(model, padded(batch, 5))
    for long, short in zip(more, both(model, batch), strict=True):
        torch.testing.assert_close(long[:, :9], short, rtol=1e-4, atol=1e-5)
        assert not long[:, 9:].any()
        assert not short[~batch.mask].any()
        assert short[batch.mask].abs().max() > 1e-3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_untrained_model_already_tells_candidates_apart(backbone, batch) -> None:
    """Embeddings as small as the published ones leave the attention's scores equal but for rounding."""
    scores = fitted(batch, backbone=backbone)(batch)
    assert all(row[valid].std() > 1e-3 for row, valid in zip(scores, batch.mask, strict=True))


@pytest.mark.parametrize("backbone", ["mlp", "lr"])
def test_with_the_published_quirks_padding_moves_what_is_normed(backbone, batch) -> None:
    """Scores and reconstruction of mlp, of lr only the reconstruction."""
    model = fitted(batch, backbone=backbone, reference_quirks=True)
    short = both(model, batch)
    long = both(model, padded(batch, 5))
    moved = [float((one[:, :9] - other).detach().abs().max()) for one, other in zip(long, short, strict=True)]
    assert [m > 1e-3 for m in moved] == [backbone == "mlp", True]
    assert not long[0][:, 9:].any()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_forward_is_the_score_of_forward_with_details(backbone, batch) -> None:
    model = fitted(batch, backbone=backbone)
    scores, logits = both(model, batch)
    assert torch.equal(model(batch), scores)
    assert scores.shape == (4, 9)
    assert logits.shape == (4, 9, 4)


def list_normed(rows: Tensor) -> Tensor:
    """A fresh list norm of one request's valid rows (n, D), whose gain is 1 and bias 0."""
    return (rows - rows.mean()) / (rows.var(correction=0) + 1e-6).sqrt()


def dense(layer: nn.Linear, rows: Tensor) -> Tensor:
    return rows @ layer.weight.T + layer.bias


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scores_and_reconstruction_by_the_equations(backbone, batch) -> None:
    model = fitted(batch, backbone=backbone, layers=2, weight_scale=3.0)
    scores, logits = both(model, batch)
    everyone, pxtr = model.features(batch), model.features.unit_pxtr(batch)
    for b in range(4):
        valid = batch.mask[b]
        n = int(valid.sum())
        rows = everyone[b, valid]

        def mixed(attention, rows, n=n):
            return attention(rows.unsqueeze(0), torch.ones(1, n, dtype=torch.bool))[0]

        attends = backbone in ("prm", "weights")
        if backbone == "lr":
            e = rows
            z = dense(model.head.dense, rows).squeeze(-1)
        else:
            e = list_normed(dense(model.encoder.dense, mixed(model.encoder.attention, rows) if attends else rows))
            z = e.sum(dim=-1)
        if backbone == "weights":
            z = (3.0 * dense(model.head.dense, e) * pxtr[b, valid]).sum(dim=-1) + 0.5 * e.sum(dim=-1)
        decoded = list_normed(dense(model.decoder.dense, mixed(model.decoder.attention, e) if attends else e))
        torch.testing.assert_close(scores[b, valid], z, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits[b, valid], decoded, rtol=1e-4, atol=1e-4)


def test_only_the_encoder_has_layers_among_its_points(batch) -> None:
    model = fitted(batch, backbone="weights", layers=3)
    assert [len(model.encoder.attention.layers), len(model.decoder.attention.layers)] == [3, 0]
    for backbone in ("mlp", "lr"):
        assert not any(isinstance(m, InducingPointAttention) for m in fitted(batch, backbone=backbone).modules())


def test_lr_scores_each_candidate_alone_and_the_others_do_not(batch_of) -> None:
    batch = batch_of(B=1, N=6, full=True)
    pxtr = batch.pxtr.clone()
    pxtr[0, 0] = torch.tensor([0.99, 55.0, 0.99, 0.99])
    moved = {}
    for backbone in BACKBONES:
        model = fitted(batch, backbone=backbone)
        moved[backbone] = (model(replace(batch, pxtr=pxtr)) - model(batch))[0, 1:].abs().max().item()
    assert moved.pop("lr") == 0
    assert min(moved.values()) > 1e-5


def gradients(model, batch):
    """Names of the parameters that the whole objective moves."""
    scores, logits = both(model, batch)
    UremObjective(pairs="all")(scores, batch, None, {"reconstruction": logits}).loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_reaches_every_parameter(backbone, batch_of) -> None:
    batch = batch_of(B=16, N=9)
    model = fitted(batch, backbone=backbone, layers=1, use_features=True).train()
    assert gradients(model, batch) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_reconstruction_alone_trains_all_but_the_head(backbone, batch_of) -> None:
    batch = batch_of(B=16, N=9)
    model = fitted(batch, backbone=backbone, layers=1)
    both(model, batch)[1].square().sum().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == {name for name, _ in model.named_parameters() if name.startswith("head.")}


def test_with_the_published_quirks_logits_are_divided_by_8_whatever_the_width(batch_of) -> None:
    """Without padding, at width 64, whose root is 8, nothing else tells the two apart; at 16 the divisor does."""
    batch = batch_of(B=3, N=6, full=True)
    same = {}
    for width in (64, 16):
        plain, quirky = (fitted(batch, width=width, reference_quirks=quirks) for quirks in (False, True))
        quirky.load_state_dict(plain.state_dict())
        same[width] = torch.allclose(plain(batch), quirky(batch), rtol=1e-4, atol=1e-5)
    assert same == {64: True, 16: False}


def test_with_the_published_quirks_embeddings_start_small(batch) -> None:
    weight = fitted(batch, reference_quirks=True, bins=500).features.table.weight.detach()
    assert [float(weight.mean()), float(weight.std())] == pytest.approx([0.01, 0.02], rel=0.05)


def test_fixed_weights_get_no_gradient_and_give_none(batch) -> None:
    """With the encoding's own share at 0 nothing of the score is left to learn."""
    model = fitted(batch, backbone="weights", train_weights=False, encoding_scale=0.0)
    assert "head.dense.weight" not in gradients(model, batch)
    model.zero_grad()
    model(batch).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    learning = fitted(batch, backbone="weights", encoding_scale=0.0)
    learning(batch).sum().backward()
    assert learning.head.dense.weight.grad.abs().max() > 0
    assert learning.features.table.weight.grad.abs().max() > 0


@pytest.mark.parametrize("options", [{}, {"exposure": False}, {"similarity_weight": 0.0}, {"reconstruction": False}])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_learns_whatever_terms_are_off(backbone, options, batch) -> None:
    """Distributed training stops at a parameter without gradient; a decoder that no loss reads would be such."""
    objective = UremObjective(**options)
    model = fitted(batch, backbone=backbone, decoder="reconstruction" in objective.needs)
    details_needed(objective, model)
    scores, details = model.forward_with_details(batch)
    objective(scores, batch, None, details).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_decoder_that_no_loss_reads_is_refused(batch) -> None:
    with pytest.raises(EmerError, match=r"leave untrained what makes reconstruction in UremRanker; set method\.model"):
        details_needed(UremObjective(reconstruction=False), fitted(batch))


def test_without_its_decoder_the_model_gives_no_reconstruction(batch) -> None:
    model = fitted(batch, decoder=False)
    assert model.gives == ()
    assert not any("decoder" in name for name, _ in model.named_parameters())
    scores, details = model.forward_with_details(batch)
    assert details == {}
    assert torch.equal(scores, model(batch))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_extreme_pxtrs_and_single_candidates_are_finite(backbone, batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, :2] = 1.0
    pxtr[:, 0, batch.schema.watch_index] = 1e6
    model = fitted(batch, backbone=backbone)
    for hard in (replace(batch, pxtr=pxtr), batch_of(B=2, N=1, full=True)):
        model.features.fit(hard)
        for output in both(model, hard):
            assert torch.isfinite(output).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_autocast_changes_nothing(backbone, batch) -> None:
    model = fitted(batch, backbone=backbone, layers=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(batch)
        outputs = both(model, batch)
    assert torch.equal(scores, model(batch))
    for half, full in zip(outputs, both(model, batch), strict=True):
        assert torch.equal(half, full)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_learns_to_follow_the_pxtrs(backbone, batch_of) -> None:
    batch = batch_of(B=12, N=8)
    torch.manual_seed(0)
    model = fitted(batch, backbone=backbone).train()
    objective = UremObjective(exposure=False, pairs="all")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    similarities = []
    for _ in range(40):
        scores, logits = both(model, batch)
        output = objective(scores, batch, None, {"reconstruction": logits})
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        similarities.append(float(output.terms["similarity"]))
    assert similarities[-1] < min(-0.4, similarities[0] - 0.1)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"backbone": "lstm"}, "backbone"),
        ({"width": 0}, "width"),
        ({"points": 0}, "points"),
        ({"heads": 0}, "heads"),
        ({"heads": 3}, "heads"),
        ({"layers": -1}, "layers"),
        ({"bins": 1}, "bins"),
        ({"weight_scale": float("nan")}, "weight_scale"),
        ({"encoding_scale": float("inf")}, "encoding_scale"),
    ],
)
def test_wrong_options_are_refused_by_their_key(options, key, schema) -> None:
    with pytest.raises(EmerError, match=rf"method\.model\.{key}"):
        UremRanker(schema, **options)


def test_the_config_has_every_argument() -> None:
    arguments = UremRanker.__init__.__kwdefaults__
    assert {f.name for f in fields(UremRankerConfig)} - {"_target_"} == set(arguments)
