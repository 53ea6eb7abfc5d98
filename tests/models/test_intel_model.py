from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from emer.errors import EmerError
from emer.models.intel import Intel, IntelConfig
from emer.requests import Category, Feedback, Objective, Satisfaction, Schema

VARIANTS = [
    {},
    {"intent_category": "topic"},
    {"intent_mode": "cross_attention"},
    {"intent": False},
    {"item_weights": False},
    {"weight_norm": "none", "intent_category": "topic"},
    {"intent": False, "item_weights": False, "weight_norm": "none"},
]
OF_REQUESTS = ("user_categories", "context_categories", "request_id", "user_id", "time_ms", "row")
BARE = Schema(objectives=(Objective("a"), Objective("b")), feedback=(Feedback("like", Satisfaction.POSITIVE),))


def name_of(options: dict) -> str:
    return "-".join(f"{k}={v}" for k, v in options.items()) or "default"


variants = pytest.mark.parametrize("options", VARIANTS, ids=name_of)


def fitted(batch, seed: int = 0, **options) -> Intel:
    """A model with weights large enough that no softmax, product or relu is nearly trivial."""
    torch.manual_seed(seed)
    model = Intel(batch.schema, **{"width": 8, "embedding_width": 4, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.6)
    model.features.fit(batch)
    return model.eval()


def of_candidates(batch, change):
    """The batch with ``change`` applied to every tensor that has an axis of candidates."""
    changed = {
        f.name: change(f.name, getattr(batch, f.name))
        for f in fields(batch)
        if isinstance(getattr(batch, f.name), Tensor) and f.name not in OF_REQUESTS
    }
    return replace(batch, **changed)


def padded(batch, extra: int):
    """The batch with more padding, filled with what must not be read."""

    def longer(name, value):
        filler = torch.zeros(value.shape[0], extra, *value.shape[2:], dtype=value.dtype)
        if name in ("pxtr", "item_numbers"):
            filler += 0.9
        if name == "item_categories":
            filler += 6
        return torch.cat([value, filler], dim=1)

    return of_candidates(batch, longer)


@pytest.fixture
def batch(batch_of):
    return batch_of(B=4, N=9)


@variants
def test_permuting_candidates_permutes_scores_and_weights(batch, options) -> None:
    model = fitted(batch, **options)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    there, moved = model.forward_with_details(of_candidates(batch, lambda _, value: value[:, order]))
    here, details = model.forward_with_details(batch)
    torch.testing.assert_close(there, here[:, order], rtol=1e-4, atol=1e-5)
    for name in ("base_scores", "base_weights", "intent_group"):
        torch.testing.assert_close(moved[name], details[name][:, order], rtol=1e-4, atol=1e-5)
    name = "intent_log_probability"
    torch.testing.assert_close(moved[name], details[name], rtol=1e-4, atol=1e-5)


@variants
def test_padding_changes_nothing_and_gets_0(batch, options) -> None:
    model = fitted(batch, **options)
    more, long = model.forward_with_details(padded(batch, 5))
    scores, short = model.forward_with_details(batch)
    torch.testing.assert_close(more[:, :9], scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(long["intent_log_probability"], short["intent_log_probability"], rtol=1e-4, atol=1e-5)
    assert not more[:, 9:].any()
    for name in ("base_scores", "base_weights"):
        torch.testing.assert_close(long[name][:, :9], short[name], rtol=1e-4, atol=1e-5)
        assert not long[name][:, 9:].any()
    assert scores[batch.mask].std() > 1e-2


@variants
def test_gradient_reaches_every_parameter(batch, options) -> None:
    model = fitted(batch, **options)
    scores, details = model.forward_with_details(batch)
    loss = (scores + details["base_weights"].square().sum(dim=-1)).square().sum()
    (loss + details["intent_log_probability"].square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


@variants
def test_no_parameter_stands_outside_the_graph_of_the_scores(batch, options) -> None:
    """Distributed training refuses such, whatever the objective reads besides the scores."""
    model = fitted(batch, **options)
    model(batch).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_softmax_weights_add_up_to_1_and_free_ones_do_not(batch) -> None:
    valid = batch.mask
    w = fitted(batch).forward_with_details(batch)[1]["base_weights"]
    torch.testing.assert_close(w.sum(dim=-1), valid.float())
    assert (w >= 0).all()
    free = fitted(batch, weight_norm="none").forward_with_details(batch)[1]["base_weights"]
    assert (free < 0).any()
    assert (free.sum(dim=-1)[valid] - 1).abs().max() > 0.1


@pytest.mark.parametrize(
    ("options", "by_item"),
    [
        ({}, True),
        ({"intent": False}, True),
        ({"intent_mode": "cross_attention"}, False),
        ({"item_weights": False}, False),
    ],
    ids=lambda x: name_of(x) if isinstance(x, dict) else "",
)
def test_weights_differ_between_candidates_unless_by_construction(batch, options, by_item) -> None:
    w = fitted(batch, weight_norm="none", **options).forward_with_details(batch)[1]["base_weights"].detach()
    spread = [w[b, batch.mask[b]].std(dim=0).max().item() for b in range(4)]
    # Equal weights differ by rounding only.
    assert min(spread) > 1e-2 if by_item else max(spread) < 1e-5
    assert w[:, 0].std(dim=0).max() > 1e-4  # between requests, always


def test_an_untrained_model_already_weighs_candidates_differently(batch) -> None:
    torch.manual_seed(0)
    w = Intel(batch.schema).forward_with_details(batch)[1]["base_weights"]
    assert all(w[b, batch.mask[b]].std(dim=0).max() > 1e-4 for b in range(4))


def test_intent_off_takes_its_parameters_and_gives_no_cells(batch) -> None:
    full, less = fitted(batch), fitted(batch, intent=False)
    of_intent = {name for name, _ in full.named_parameters() if name.startswith("intent")}
    assert of_intent
    K = 4
    gone = sum(p.numel() for n, p in full.named_parameters() if n in of_intent) + K * 8  # and its part of the head
    assert sum(p.numel() for p in full.parameters()) - sum(p.numel() for p in less.parameters()) == gone
    details = less.forward_with_details(batch)[1]
    assert details["intent_log_probability"].shape == (4, 0)
    assert full.forward_with_details(batch)[1].keys() == details.keys() == set(full.gives)


def test_the_intent_reads_user_context_and_candidates_but_no_feedback(batch) -> None:
    model = fitted(batch)

    def intent(of) -> Tensor:
        return model.forward_with_details(of)[1]["intent_log_probability"]

    before = intent(batch)
    for changed in (
        replace(batch, user_categories=(batch.user_categories + 1) % 5),
        replace(batch, context_categories=batch.context_categories + 1),
        replace(batch, item_categories=(batch.item_categories + 1) % 7),
        replace(batch, pxtr=batch.pxtr * 0.5),
    ):
        assert (intent(changed) - before).abs().max() > 1e-3
    blind = replace(
        batch,
        label=torch.zeros_like(batch.label),
        exposed=torch.zeros_like(batch.exposed),
        item_id=batch.item_id + 7,
        rank_gap=torch.zeros_like(batch.rank_gap),
    )
    assert torch.equal(model(blind), model(batch))
    assert torch.equal(intent(blind), before)


def test_the_groups_are_the_ids_of_the_named_category(batch) -> None:
    details = fitted(batch, intent_category="topic").forward_with_details(batch)[1]
    assert torch.equal(details["intent_group"], batch.item_categories[..., 0])
    assert details["intent_log_probability"].shape == (4, 2 * 7)  # long_view and like, times the topics; no click
    alone = fitted(batch).forward_with_details(batch)[1]
    assert not alone["intent_group"].any()
    assert alone["intent_log_probability"].shape == (4, 2)


def test_the_second_category_can_be_named(batch_of, schema) -> None:
    two = replace(schema, item_categories=(Category("topic", 7), Category("age", 9)))
    batch = batch_of(schema=two)
    details = fitted(batch, intent_category="age").forward_with_details(batch)[1]
    assert torch.equal(details["intent_group"], batch.item_categories[..., 1])
    assert details["intent_log_probability"].shape[1] == 2 * 9


def test_a_request_is_scored_by_itself(batch) -> None:
    model = fitted(batch)
    alone = torch.cat([model(batch.select(torch.tensor([b]))) for b in range(4)])
    torch.testing.assert_close(alone, model(batch), rtol=1e-4, atol=1e-5)


@variants
def test_a_single_candidate_is_finite(batch_of, options) -> None:
    batch = batch_of(B=3, N=1, full=True)
    model = fitted(batch, **options)
    scores = model(batch)
    scores.sum().backward()
    assert torch.equal(scores.detach(), torch.zeros(3, 1))  # all of its scaled scores are 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_log_without_features_will_do(batch_of) -> None:
    batch = batch_of(schema=BARE)
    model = fitted(batch)
    scores, details = model.forward_with_details(batch)
    assert list(model.encoders) == ["score"]
    assert model.user is None
    torch.testing.assert_close(scores, (details["base_weights"] * details["base_scores"]).sum(dim=-1))
    assert scores[batch.mask].std() > 1e-2


def test_half_precision_is_for_the_blocks_only(batch) -> None:
    model = fitted(batch)
    exact, plain = model.forward_with_details(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, details = model.forward_with_details(batch)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, rtol=0, atol=0.1)
    for name in ("base_scores", "intent_log_probability"):
        assert torch.equal(details[name], plain[name])
    torch.testing.assert_close(details["base_weights"].sum(dim=-1), batch.mask.float())


def test_dropout_works_in_training_only(batch) -> None:
    model = fitted(batch, dropout=0.5)
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 0),
        ("layers", 0),
        ("heads", 0),
        ("heads", 5),
        ("embedding_width", 0),
        ("dropout", 1.0),
        ("intent_mode", "xattn"),
        ("weight_norm", "sigmoid"),
        ("intent_category", "hour"),
    ],
)
def test_bad_options_are_refused_by_their_key(schema, key, value) -> None:
    with pytest.raises(EmerError, match=rf"method\.model\.{key}"):
        Intel(schema, **{key: value})


def test_an_intent_needs_positive_feedback(schema) -> None:
    neutral = replace(schema, feedback=(Feedback("click"), Feedback("like")))
    with pytest.raises(EmerError, match=r"method\.model\.intent .*false"):
        Intel(neutral)
    assert Intel(neutral, intent=False).space is None


def test_the_config_has_every_argument() -> None:
    assert {f.name for f in fields(IntelConfig)} - {"_target_"} == set(Intel.__init__.__kwdefaults__)
