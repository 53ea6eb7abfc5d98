"""What MMoE, single-task and PLE have in common, whichever is chosen."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from emer.data.stable_hash import hash_bucket
from emer.errors import EmerError
from emer.pxtr.features import Encoded
from emer.pxtr.mmoe import MMoE
from emer.pxtr.model_choice import Kind, build_model
from emer.pxtr.module import PxtrModule
from emer.pxtr.ple import PLE
from emer.pxtr.pxtr_model import PxtrModel
from emer.pxtr.single_task import SingleTask

KINDS = get_args(Kind)
SIZES, NUMBERS, K, T, D = (5, 3), 4, 3, 7, 8
SMALL: dict[str, Any] = dict(experts=2, expert_size=6, tower_size=T, embedding_size=D, own_experts=2)

every_kind = pytest.mark.parametrize("kind", KINDS)


def chosen(kind: str, sizes: tuple[int, ...] = SIZES, seed: int = 0, **changed: Any) -> PxtrModel:
    torch.manual_seed(seed)
    return build_model(kind, sizes, NUMBERS, K, **SMALL | changed)


def some_rows(n: int = 64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    categories = torch.stack([torch.randint(s, (n,), generator=g) for s in SIZES], dim=1)
    return categories.int(), torch.randn(n, NUMBERS, generator=g)


def test_names_choose_the_networks() -> None:
    assert [type(chosen(kind)) for kind in KINDS] == [MMoE, SingleTask, PLE]
    torch.manual_seed(0)
    alone = MMoE(SIZES, NUMBERS, K, experts=2, expert_size=6, tower_size=T, embedding_size=D)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), chosen("mmoe").parameters(), strict=True))


@every_kind
def test_each_network_gives_logits_and_hidden_states(kind: str) -> None:
    net = chosen(kind)
    out = net(*some_rows())
    assert out.logit.shape == (64, K) and out.hidden.shape == (64, K, T)
    assert net.shape[0] == K and net.tower_size == T and net.head_bias.shape == (K,)
    torch.testing.assert_close(out.logit, (out.hidden * net.heads).sum(-1) + net.head_bias)
    none = net(*(x[:0] for x in some_rows()))
    assert none.logit.shape == (0, K) and none.hidden.shape == (0, K, T)


@every_kind
def test_gradients_reach_every_weight_of_a_network(kind: str) -> None:
    net = chosen(kind, layers=3)
    net(*some_rows()).logit.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert net.embedding.weight.grad.abs().sum(dim=1).gt(0).all()


@every_kind
def test_a_row_does_not_depend_on_the_others(kind: str) -> None:
    net = chosen(kind)
    whole, part = net(*some_rows()), net(*(x[10:20] for x in some_rows()))
    torch.testing.assert_close(part.logit, whole.logit[10:20])
    torch.testing.assert_close(part.hidden, whole.hidden[10:20])


@every_kind
def test_objectives_have_no_order(kind: str) -> None:
    net, order = chosen(kind), [2, 0, 1]
    other = chosen(kind, seed=9)

    def permuted(name: str, value: Tensor) -> Tensor:
        if name == "embedding.weight":
            return value.unflatten(1, (K, D))[:, order].flatten(1) if kind == "single_task" else value
        if name.startswith("experts.") or ".shared." in name:
            return value
        if name == "gates.weight":
            return value.unflatten(0, (K, -1))[order].flatten(0, 1)
        if name.endswith("shared_gate.weight"):
            own = value[:-2].unflatten(0, (K, -1))[order].flatten(0, 1)
            return torch.cat([own, value[-2:]])
        return value[order]

    other.load_state_dict({name: permuted(name, value) for name, value in net.state_dict().items()})
    torch.testing.assert_close(other(*some_rows()).logit, net(*some_rows()).logit[:, order])
    torch.testing.assert_close(other(*some_rows()).hidden, net(*some_rows()).hidden[:, order])


@every_kind
def test_a_seed_gives_the_same_network(kind: str) -> None:
    one, same, other = chosen(kind), chosen(kind), chosen(kind, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one(*some_rows()).logit, other(*some_rows()).logit)


@every_kind
def test_a_warm_start_grows_vocabularies(kind: str) -> None:
    small, large = chosen(kind), chosen(kind, (7, 4), seed=5)
    fresh = large.embedding.weight.detach().clone()
    large.copy_from(small)
    after, before = large(*some_rows()), small(*some_rows())
    assert torch.equal(after.logit, before.logit) and torch.equal(after.hidden, before.hidden)
    assert torch.equal(large.embedding.weight[[5, 6, 10]], fresh[[5, 6, 10]])  # ids 5 and 6, and 3 of the second
    with pytest.raises(ValueError, match="must not become fewer"):
        small.copy_from(large)
    with pytest.raises(ValueError):
        large.copy_from(chosen(kind, (5, 3, 2)))


@every_kind
def test_dropout_of_each_network_acts_in_training_only(kind: str) -> None:
    net = chosen(kind, dropout=0.5)
    assert not torch.equal(net(*some_rows()).logit, net(*some_rows()).logit)
    net.eval()
    assert torch.equal(net(*some_rows()).logit, net(*some_rows()).logit)


@every_kind
def test_each_network_reads_categories_or_numbers_alone(kind: str) -> None:
    categories, numbers = some_rows()
    for sizes, count, rows in (((), NUMBERS, (categories[:, :0], numbers)), (SIZES, 0, (categories, numbers[:, :0]))):
        assert build_model(kind, sizes, count, K, **SMALL)(*rows).logit.shape == (64, K)


@every_kind
def test_each_network_learns_objectives_that_disagree(kind: str) -> None:
    """Hashed ids and numbers through the training module: two objectives are opposites, one is watch time."""
    rng = np.random.default_rng(0)
    n, video, number = 4000, rng.integers(0, 30, 4000), rng.normal(size=(4000, 2)).astype(np.float32)
    taste = rng.normal(size=30)[video] * 1.5 + number[:, 0]
    like = rng.random(n) < 1 / (1 + np.exp(-taste))
    hate = rng.random(n) < 1 / (1 + np.exp(taste))
    watch = np.exp(taste + 0.3 * rng.normal(size=n))
    targets = np.stack([like, watch, hate], axis=1).astype(np.float32)
    ids = hash_bucket(pl.Series(video * 1_000_003), 400, "video").to_numpy(writable=True)[:, None]
    torch.manual_seed(0)
    model = build_model(kind, (401,), 2, 3, experts=2, expert_size=16, tower_size=8)
    module = PxtrModule(model, 1, learning_rate=0.0, weight_decay=0.0, steps=1)
    module.start_from_base_rates([targets[:3000]])
    rows = tuple(torch.from_numpy(x[:3000]) for x in (ids, number, targets))
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        module.training_step(rows, 0).backward()
        optimizer.step()
    pxtr = module.predict(Encoded(ids[3000:], number[3000:])).pxtr
    best = roc_auc_score(like[3000:], taste[3000:])  # of the chances that the labels were drawn by
    assert best > 0.8
    assert roc_auc_score(like[3000:], pxtr[:, 0]) > best - 0.02
    assert roc_auc_score(hate[3000:], pxtr[:, 2]) > roc_auc_score(hate[3000:], -taste[3000:]) - 0.02
    assert np.corrcoef(np.log(watch[3000:]), np.log1p(pxtr[:, 1]))[0, 1] > 0.9


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(EmerError, match="kind is 'moe'; it must be one of mmoe, single_task, ple"):
        chosen("moe")


@pytest.mark.parametrize(
    "name", ["experts", "expert_size", "tower_size", "embedding_size", "own_experts", "layers", "objectives"]
)
@pytest.mark.parametrize("value", [0, -3, 2.0, True])
def test_sizes_of_a_network_are_at_least_1(name: str, value: Any) -> None:
    options = {"objectives": K, name: value}
    with pytest.raises(EmerError, match=rf"{name} is {value}; it must be a whole number of at least 1"):
        build_model("ple", SIZES, NUMBERS, **options)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_leaves_something(dropout: float) -> None:
    with pytest.raises(EmerError, match=r"dropout is .*; it must be at least 0 and below 1"):
        chosen("mmoe", dropout=dropout)


def test_a_network_needs_features() -> None:
    with pytest.raises(EmerError, match="0 categories and 0 numbers"):
        build_model("mmoe", (), 0, K)
    with pytest.raises(EmerError, match=r"category_sizes\[1\] is 0"):
        build_model("mmoe", (3, 0), 0, K)
