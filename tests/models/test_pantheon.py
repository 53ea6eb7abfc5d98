"""Pantheon's head: what it reads, what its gradient reaches, and the published form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from emer.errors import EmerError
from emer.models.expert_towers import ExpertTowers
from emer.models.pantheon import Pantheon, TransformerEncoder
from emer.requests import RequestBatch

SMALL = dict(width=8, feedforward=16, experts=3, expert_size=6, tower_size=5, embedding_width=4, heads=2)
VARIANTS = [(inputs, encoder) for inputs in ("hidden", "pxtr") for encoder in ("mlp", "transformer")]


def model_of(schema, inputs="hidden", encoder="mlp", seed=0, **more) -> Pantheon:
    torch.manual_seed(seed)
    return Pantheon(schema, inputs=inputs, encoder=encoder, **{**SMALL, **more})


def upstream(model: Pantheon) -> list[torch.nn.Parameter]:
    return [*model.towers.parameters(), *model.features.towers.parameters()]


@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
def test_the_score_does_not_train_the_towers_and_the_towers_do_not_train_the_head(batch_of, schema, encoder) -> None:
    """The stop-gradient: each loss has exactly no gradient on the other's parameters, and some on all of its own."""
    batch = batch_of()
    model = model_of(schema, encoder=encoder)
    theirs = {id(p) for p in upstream(model)}
    scores, details = model.forward_with_details(batch)
    for output, of_towers in ((scores.square().sum(), False), (details["tower_logits"].square().sum(), True)):
        model.zero_grad()
        output.backward(retain_graph=True)
        for name, parameter in model.named_parameters():
            touched = parameter.grad is not None and bool(parameter.grad.any())
            assert touched == ((id(parameter) in theirs) == of_towers), name


@pytest.mark.parametrize(("inputs", "encoder"), VARIANTS)
def test_gradients_reach_every_parameter(batch_of, schema, inputs, encoder) -> None:
    model = model_of(schema, inputs, encoder)
    scores, details = model.forward_with_details(batch_of())
    (scores.square().sum() + details["tower_logits"].square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_the_mlp_is_the_published_form_in_float64(batch_of, schema) -> None:
    """By hand for each candidate: concatenated projections of item, hidden states and user, then the MLP."""
    batch = batch_of(2, 5)
    model = model_of(schema)
    model.features.fit(batch)
    expected = torch.zeros(batch.mask.shape, dtype=torch.float64)
    scores = model(batch)
    with torch.no_grad():
        x, own = model.features.towers(batch).double(), model.features.own
        numbers = (batch.item_numbers - own.mean[-1:]) / own.std[-1:]
        model.double()
        for b, i in batch.mask.nonzero().tolist():
            hidden = model.towers.outputs(x[b, i]).hidden
            tokens = [hidden[m] @ model.states.weight[m] + model.states.bias[m] for m in range(3)]
            item = torch.cat([numbers[b, i].double(), own.item[0].weight[batch.item_categories[b, i, 0]]])
            hour = own.context[0].weight[batch.context_categories[b, 0]]
            user = torch.cat([own.user[0].weight[batch.user_categories[b, 0]], hour])
            tokens += [model.item(item), model.user(user)]
            one, _, two, _, three = model.encoder.layers
            expected[b, i] = three(F.gelu(two(F.gelu(one(torch.cat(tokens))))))[0]
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-6)
    assert scores[batch.mask].std() > 0


def test_the_transformer_attends_among_the_tokens_of_one_candidate() -> None:
    """In float64, against torch's own pre-norm block on each candidate by itself."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(8, 16, layers=1, heads=2).double()
    block, tokens = encoder.blocks[0], torch.randn(2, 3, 4, 8, dtype=torch.float64)
    peer = torch.nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    qkv, first, second = block.query_key_value, block.mlp.layers[0], block.mlp.layers[3]
    theirs = (peer.self_attn.out_proj, peer.norm1, peer.norm2, peer.linear1, peer.linear2)
    ours = (block.out, block.norm_attention, block.mlp.norm, first, second)
    for to, source in zip(theirs, ours, strict=True):
        to.load_state_dict(source.state_dict())
    with torch.no_grad():
        peer.self_attn.in_proj_weight.copy_(qkv.weight)
        peer.self_attn.in_proj_bias.copy_(qkv.bias)
        for b in range(2):
            for i in range(3):
                x = peer(tokens[b, i].unsqueeze(0))[0]
                expected = encoder.out(encoder.norm(x).mean(dim=0))[0]
                torch.testing.assert_close(encoder(tokens)[b, i], expected)


@pytest.mark.parametrize(("inputs", "encoder"), VARIANTS)
def test_a_score_depends_on_its_candidate_alone(batch_of, schema, inputs, encoder) -> None:
    """Permuted candidates, less padding, other neighbours: the same scores; and 0 on padding."""
    batch = batch_of(3, 9)
    model = model_of(schema, inputs, encoder)
    scores, details = model.forward_with_details(batch)
    assert (scores[~batch.mask] == 0).all() and (details["tower_logits"][~batch.mask] == 0).all()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    by_candidate = {
        f: getattr(batch, f)[:, order]
        for f in ("pxtr", "mask", "exposed", "label", "item_categories", "item_numbers", "rank_gap")
    }
    torch.testing.assert_close(model(replace(batch, **by_candidate)), scores[:, order])
    changed = {f: getattr(batch, f).clone() for f in ("pxtr", "item_numbers")}
    for values in changed.values():
        values[:, 1:] = values[:, 1:].flip(0)
    torch.testing.assert_close(model(replace(batch, **changed))[:, 0], scores[:, 0])
    short = {f: getattr(batch, f)[:1, :4] for f in by_candidate}
    alone = replace(batch.select(torch.tensor([0])), **short)
    torch.testing.assert_close(model(alone), scores[:1, :4])


@pytest.mark.parametrize("field", ["pxtr", "item_numbers", "item_categories", "user_categories", "context_categories"])
@pytest.mark.parametrize("inputs", ["hidden", "pxtr"])
def test_everything_that_is_known_of_a_candidate_matters(batch_of, schema, inputs, field) -> None:
    batch = batch_of()
    model = model_of(schema, inputs)
    values = getattr(batch, field)
    other = (values + 1) % 5 if values.dtype == torch.int64 else values * 0.5
    assert not torch.allclose(model(batch), model(replace(batch, **{field: other})))


def test_ranks_and_labels_are_not_read(batch_of, schema) -> None:
    batch = batch_of()
    model = model_of(schema)
    blind = replace(batch, rank_gap=-batch.rank_gap, label=1 - batch.label, exposed=~batch.exposed)
    assert torch.equal(model(batch), model(blind))


def test_item_and_user_embeddings_are_the_heads_own(batch_of, schema) -> None:
    """The towers' tables move the towers' logits, the head's do not."""
    batch = batch_of()
    model = model_of(schema)
    before, details = model.forward_with_details(batch)
    with torch.no_grad():
        for table in (*model.features.own.item, *model.features.own.user):
            table.weight += torch.randn_like(table.weight)
    after, moved = model.forward_with_details(batch)
    assert torch.equal(moved["tower_logits"], details["tower_logits"])
    assert not torch.allclose(before, after)


def test_fitting_scales_both_sets(batch_of, schema) -> None:
    batch = batch_of()
    model = model_of(schema)
    model.features.fit(batch)
    for features in (model.features.own, model.features.towers):
        numbers = features(batch)[batch.mask][:, : 1 + len(schema.objectives)]
        torch.testing.assert_close(numbers.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(numbers.std(dim=0, correction=0), torch.ones(5), atol=1e-5, rtol=0)


def test_without_hidden_states_there_are_no_towers(batch_of, schema) -> None:
    full, less = model_of(schema), model_of(schema, "pxtr")
    assert less.towers is None and less.features.towers is None
    _, details = less.forward_with_details(batch_of())
    assert details["tower_logits"].shape == (3, 9, 0)
    _, details = full.forward_with_details(batch_of())
    assert details["tower_logits"].shape == (3, 9, 3)
    assert set(details) == set(full.gives)


def test_logs_without_item_or_user_features_have_fewer_tokens(batch_of, schema) -> None:
    bare = replace(schema, user_categories=(), context_categories=(), item_categories=(), item_numbers=())
    model = model_of(bare)
    assert model.item is None and model.user is None
    batch: RequestBatch = batch_of(schema=bare)
    scores = model(batch)
    assert scores[batch.mask].isfinite().all() and scores[batch.mask].std() > 0
    scores.square().sum().backward()
    assert model.states.weight.grad.any()


@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
def test_scores_under_bfloat16_keep_their_differences(batch_of, schema, encoder) -> None:
    batch = batch_of(20, 9)
    model = model_of(schema, encoder=encoder)
    full = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(batch)
    assert half.dtype == torch.float32
    assert half[batch.mask].unique().numel() == full[batch.mask].unique().numel()
    torch.testing.assert_close(half, full, rtol=0, atol=0.02 if encoder == "transformer" else 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "logits"}, "method.model.inputs is 'logits'; it must be one of hidden, pxtr"),
        ({"encoder": "cnn"}, "method.model.encoder is 'cnn'; it must be one of mlp, transformer"),
        ({"tower_size": 0}, "method.model.tower_size is 0; it must be at least 1"),
        ({"encoder": "transformer", "heads": 3}, r"method.model.width \(8\) must be a multiple of method.model.heads"),
    ],
)
def test_wrong_options_are_explained(schema, options, message) -> None:
    with pytest.raises(EmerError, match=message):
        Pantheon(schema, **{**SMALL, **options})


def test_towers_need_labels(schema) -> None:
    mute = replace(schema, feedback=(), objectives=tuple(replace(o, feedback=None) for o in schema.objectives))
    with pytest.raises(EmerError, match="no feedback labels"):
        model_of(mute)
    model_of(mute, "pxtr")


def test_towers_take_any_leading_axes() -> None:
    torch.manual_seed(0)
    towers = ExpertTowers(7, 3, experts=2, expert_size=5, tower_size=4)
    x = torch.randn(2, 6, 7)
    together, flat = towers.outputs(x), towers.outputs(x.flatten(0, 1))
    torch.testing.assert_close(together.hidden.flatten(0, 1), flat.hidden)
    torch.testing.assert_close(together.logit.flatten(0, 1), flat.logit)
    assert towers.gate(x).shape == (2, 6, 3, 2)
