from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from emer.errors import EmerError
from emer.models.harmonrank import HarmonRank
from emer.requests import Category, Objective, RequestBatch, Schema

SWITCHES = ("self_attention", "personalization", "cross_attention", "gate", "linear", "discretization")
ABLATIONS = [(), *((name,) for name in SWITCHES), ("personalization", "cross_attention"), SWITCHES]

PAPER = Schema(
    objectives=tuple(Objective(name) for name in ("pctr", "plvtr", "pltr", "pwtr", "pcmtr")),
    user_categories=(Category("age", 6), Category("gender", 5)),
    context_categories=(Category("hour", 24), Category("app_version", 9)),
)
K, D, U = 5, 8, 4 * 8


def ablated(schema: Schema, *off: str, seed: int = 0, **options) -> HarmonRank:
    torch.manual_seed(seed)
    return HarmonRank(schema, **dict.fromkeys(off, False), **options)


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def without_tables(model: HarmonRank) -> int:
    return size(model) - size(model.features)


def test_size_is_that_of_the_paper() -> None:
    self_attention = 3 * (D * D + D)
    cross_attention = (U * D + D) + 2 * (D * D + D) + (D + 1)
    gate = (K * D) * (K * D) + K * D
    model = HarmonRank(PAPER)
    assert self_attention + cross_attention + gate + (K * D + 1) + (K + 1) == 2320
    assert without_tables(model) == 2320
    assert size(model.features) == K * 300 * D + (6 + 5 + 24 + 9) * 8


@pytest.mark.parametrize(
    ("off", "removed"),
    [
        ("self_attention", 3 * (D * D + D)),
        # The query and the keys go; the values and the output stay.
        ("personalization", (U * D + D) + (D * D + D)),
        # Query, keys, values and output go; a linear map of 5 encodings and the user vector comes.
        ("cross_attention", (U * D + D) + 2 * (D * D + D) + (D + 1) - (K * D + U + 1)),
        ("gate", (K * D) * (K * D) + K * D),
        ("linear", K + 1),
        ("discretization", 0),
    ],
)
def test_an_ablation_removes_its_parameters(off, removed) -> None:
    full, less = HarmonRank(PAPER), ablated(PAPER, off)
    assert without_tables(full) - without_tables(less) == removed
    features = {
        "personalization": K * 300 * D,
        "discretization": K * (D + D) + (6 + 5 + 24 + 9) * 8,
    }
    assert size(less.features) == features.get(off, size(full.features))


def test_buckets_set_the_size_of_the_tables() -> None:
    small, large = (HarmonRank(PAPER, buckets=n) for n in (100, 600))
    assert size(large) - size(small) == K * (600 - 100) * D


def numpy_of(module: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    return module.weight.detach().double().numpy(), module.bias.detach().double().numpy()


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def score_of_row(model: HarmonRank, off: tuple[str, ...], p: np.ndarray, ids: list[int]) -> float:
    """Equations 11 to 21 for one candidate, in float64; range [0, 1]."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = numpy_of(model.get_submodule(name))
        return x @ weight.T + bias

    f = model.features
    if "discretization" in off:
        weight, bias = f.weight.detach().double().numpy(), f.bias.detach().double().numpy()
        E = np.stack([x * w + b for x, w, b in zip(p, weight, bias, strict=True)])
    else:
        table = f.table.weight.detach().double().numpy().reshape(len(p), f.buckets, -1)
        E = np.stack([table[m, min(max(int(x * f.buckets), 0), f.buckets - 1)] for m, x in enumerate(p)])
    d = E.shape[1]
    personal = "personalization" not in off
    u = np.concatenate(
        [t.weight.detach().double().numpy()[i] for t, i in zip(f.user, ids, strict=True)] if personal else [[]]
    )
    Z = E
    if "self_attention" not in off:
        A = softmax(linear("attention.query", E) @ linear("attention.key", E).T / math.sqrt(d))
        Z = A @ linear("attention.value", E)
    if "cross_attention" in off:
        relation = linear("pool.out", np.concatenate([Z.ravel(), u]))
    else:
        alpha = np.full(len(p), 1 / len(p))
        if personal:
            alpha = softmax(linear("pool.query", u) @ linear("pool.key", Z).T / math.sqrt(d))
        relation = linear("pool.out", alpha @ linear("pool.value", Z))
    e = E.ravel()
    g = 1.0 if "gate" in off else 1 / (1 + np.exp(-linear("gate", e)))
    score = relation + linear("gated", g * e)
    if "linear" not in off:
        score = score + linear("linear", p)
    return float(score[0])


def unit_batch(batch_of, schema: Schema = PAPER, B: int = 3, N: int = 6) -> RequestBatch:
    """Scores in [0, 1], some of them outside, and away from the edges of 10 buckets."""
    batch = batch_of(B=B, N=N, seed=4, schema=schema)
    g = torch.Generator().manual_seed(8)
    grid = torch.randint(-2, 12, batch.pxtr.shape, generator=g) / 10 + 0.05
    return replace(batch, pxtr=grid * batch.mask.unsqueeze(-1))


@pytest.mark.parametrize("off", ABLATIONS, ids="-".join)
def test_equals_the_equations_row_by_row(batch_of, off) -> None:
    model = ablated(PAPER, *off, buckets=10)
    with torch.no_grad():  # Larger than at the start, so that no softmax or sigmoid is nearly flat.
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.7)
    batch = unit_batch(batch_of)
    scores = model(batch)
    for b, n in batch.mask.nonzero().tolist():
        ids = [*batch.user_categories[b].tolist(), *batch.context_categories[b].tolist()]
        expected = score_of_row(model, off, batch.pxtr[b, n].double().numpy(), ids)
        assert scores[b, n].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert torch.equal(scores[~batch.mask], torch.zeros(int((~batch.mask).sum())))
    assert scores[batch.mask].unique().numel() > 5


def test_without_gate_is_a_gate_fixed_at_one(schema, batch_of) -> None:
    full, less = ablated(schema), ablated(schema, "gate")
    less.load_state_dict({k: v for k, v in full.state_dict().items() if not k.startswith("gate.")})
    torch.nn.init.zeros_(full.gate.weight)
    torch.nn.init.constant_(full.gate.bias, 60.0)
    batch = batch_of()
    torch.testing.assert_close(less(batch), full(batch), rtol=0, atol=0)


@pytest.mark.parametrize("off", [(), ("cross_attention",), ("discretization", "gate")], ids="-".join)
def test_permuting_the_objectives_with_their_weights_changes_nothing(batch_of, off) -> None:
    batch, order = unit_batch(batch_of), [3, 0, 4, 1, 2]
    model = ablated(PAPER, *off, buckets=10)
    shuffled_schema = replace(PAPER, objectives=tuple(PAPER.objectives[i] for i in order))
    other = ablated(shuffled_schema, *off, buckets=10, seed=1)
    blocks = torch.arange(K * D).view(K, D)[order].flatten()
    state = model.state_dict()
    for name in ("features.low", "features.span", "features.edges", "features.weight", "features.bias"):
        if name in state:
            state[name] = state[name][order]
    if "features.table.weight" in state:
        state["features.table.weight"] = state["features.table.weight"].view(K, 10, D)[order].flatten(0, 1)
    if "gate.weight" in state:
        state["gate.weight"], state["gate.bias"] = state["gate.weight"][blocks][:, blocks], state["gate.bias"][blocks]
    state["gated.weight"] = state["gated.weight"][:, blocks]
    state["linear.weight"] = state["linear.weight"][:, order]
    if "cross_attention" in off:
        flat = state["pool.out.weight"]
        state["pool.out.weight"] = torch.cat([flat[:, : K * D][:, blocks], flat[:, K * D :]], dim=1)
    other.load_state_dict(state)
    shuffled = replace(batch, schema=shuffled_schema, pxtr=batch.pxtr[..., order])
    torch.testing.assert_close(other(shuffled), model(batch), rtol=1e-4, atol=1e-6)


def test_each_candidate_is_scored_alone(schema, batch_of) -> None:
    batch, model = batch_of(B=4, N=9), ablated(schema)
    model.features.fit(batch)
    scores = model(batch)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    permuted = replace(batch, pxtr=batch.pxtr[:, order], mask=batch.mask[:, order])
    torch.testing.assert_close(model(permuted), scores[:, order], rtol=1e-5, atol=1e-6)
    padding = torch.full((4, 5, 4), 0.5)
    more = replace(
        batch,
        pxtr=torch.cat([batch.pxtr, padding], dim=1),
        mask=torch.cat([batch.mask, torch.zeros(4, 5, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(model(more)[:, :9], scores, rtol=1e-5, atol=1e-6)
    assert torch.equal(model(more)[:, 9:], torch.zeros(4, 5))
    one = replace(batch, pxtr=batch.pxtr[:, :1], mask=batch.mask[:, :1])
    torch.testing.assert_close(model(one), scores[:, :1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("off", ABLATIONS, ids="-".join)
def test_gradient_reaches_every_parameter(schema, batch_of, off) -> None:
    batch, model = batch_of(B=6), ablated(schema, *off)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    model(batch).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("key.bias"):  # It shifts all logits of a softmax alike, which changes nothing.
            assert parameter.grad.abs().max() > 1e-4, name


def test_the_user_changes_the_order_only_through_cross_attention(schema, batch_of) -> None:
    batch = batch_of(B=1, N=6, full=True)
    other = replace(batch, user_categories=(batch.user_categories + 1) % 5)
    for off, moves_score, moves_order in (
        ((), True, True),
        (("cross_attention",), True, False),
        (("personalization",), False, False),
    ):
        model = ablated(schema, *off)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape))
        change = model(other) - model(batch)
        assert (change.abs().max().item() > 1e-3) is moves_score
        assert (change.std().item() > 1e-3) is moves_order


@pytest.mark.parametrize("off", [(), ("discretization",)], ids="-".join)
def test_the_unit_of_an_objective_does_not_matter(schema, batch_of, off) -> None:
    """The range is fitted, so that seconds and milliseconds give the same scores."""
    batch, model = batch_of(B=6), ablated(schema, *off, buckets=10)
    finer = replace(batch, pxtr=batch.pxtr * torch.tensor([1.0, 1024.0, 1.0, 1 / 64]))
    model.features.fit(batch)
    scores = model(batch)
    assert (model(finer) - scores).abs().max() > 1e-2
    model.features.fit(finer)
    torch.testing.assert_close(model(finer), scores, rtol=0, atol=1e-6)


def test_half_precision_does_not_touch_the_scores(schema, batch_of) -> None:
    batch, model = batch_of(), ablated(schema)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(batch), expected := model(batch))
        assert expected.dtype == torch.float32
    assert torch.equal(model(batch), expected)


def test_a_checkpoint_holds_the_buckets(schema, batch_of) -> None:
    batch = batch_of(B=6)
    for bucketing in ("equal_distance", "quantile"):
        model, other = ablated(schema, bucketing=bucketing), ablated(schema, bucketing=bucketing, seed=1)
        model.features.fit(batch)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.features.bucket(batch.pxtr), model.features.bucket(batch.pxtr))
        assert torch.equal(other(batch), model(batch))


def test_extreme_scores_are_finite(schema, batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, :2] = 1.0
    pxtr[:, 0, schema.watch_index] = 1e6
    for off in ((), ("discretization",)):
        model = ablated(schema, *off)
        assert torch.isfinite(model(replace(batch, pxtr=pxtr))).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 0), ("buckets", 1), ("embedding_width", 0), ("bucketing", "equal")],
)
def test_bad_options_are_refused(schema, key, value) -> None:
    with pytest.raises(EmerError, match=f"method.model.{key}"):
        HarmonRank(schema, **{key: value})


def test_personalization_needs_user_features(schema) -> None:
    bare = replace(schema, user_categories=(), context_categories=())
    with pytest.raises(EmerError, match=r"method\.model\.personalization"):
        HarmonRank(bare)
    assert size(HarmonRank(bare, personalization=False)) > 0
