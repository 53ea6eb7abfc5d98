"""A random order that batches cannot change, and the best single pxtr."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from emer.errors import EmerError
from emer.metrics.request_metrics import request_values
from emer.metrics.summary import summarise
from emer.models.controls import BestSinglePxtr, ProductionOrder, RandomScores
from emer.ranking import rank_gap
from emer.requests import Feedback, Objective, Schema

MASK_64 = (1 << 64) - 1


def splitmix(x):
    """SplitMix64 in Python's unbounded integers."""
    x = (x + 0x9E3779B97F4A7C15) & MASK_64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK_64
    return x ^ (x >> 31)


def test_production_is_the_logged_score(schema, batch_of) -> None:
    batch = batch_of(B=3, N=5, with_previous=True)
    scores = ProductionOrder(schema)(batch)
    assert torch.equal(scores[batch.mask], batch.previous_score[batch.mask])
    assert (scores[~batch.mask] == 0).all()
    with pytest.raises(EmerError, match="method=production needs a log with previous_score"):
        ProductionOrder(schema)(replace(batch, previous_score=None))


def test_the_generator_is_splitmix64() -> None:
    # First output for seed 0, of the published reference implementation.
    assert splitmix(0) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1])
def test_random_scores_are_the_hash_of_seed_request_and_item(seed, schema, batch_of) -> None:
    batch = batch_of(B=3, N=5)
    request_id = torch.tensor([5, (1 << 62) + 11, -3])
    scores = RandomScores(schema, seed=seed)(replace(batch, request_id=request_id))
    for b, i in batch.mask.nonzero().tolist():
        state = splitmix(splitmix(seed) ^ (int(request_id[b]) & MASK_64))
        expected = (splitmix(state ^ int(batch.item_id[b, i])) & ((1 << 53) - 1)) / (1 << 53)
        assert scores[b, i].item() == expected
    assert (scores[~batch.mask] == 0).all() and not batch.mask.all()


def test_random_scores_do_not_depend_on_the_batch(schema, batch_of) -> None:
    batch = batch_of(B=6, N=9)
    model = RandomScores(schema, seed=3)
    scores = model(batch)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    shuffled = replace(batch, item_id=batch.item_id[:, order], mask=batch.mask[:, order])
    assert torch.equal(model(shuffled), scores[:, order])
    rows = torch.tensor([4, 1])
    assert torch.equal(model(batch.select(rows)), scores[rows])
    more = replace(
        batch,
        item_id=torch.cat([batch.item_id, batch.item_id.new_full((6, 4), 9)], dim=1),
        mask=torch.cat([batch.mask, batch.mask.new_zeros(6, 4)], dim=1),
    )
    assert torch.equal(model(more), torch.cat([scores, scores.new_zeros(6, 4)], dim=1))
    # Global random state plays no part.
    torch.manual_seed(17)
    assert torch.equal(RandomScores(schema, seed=3)(batch), scores)


def test_random_scores_are_uniform_and_independent(schema, batch_of) -> None:
    """Consecutive ids, as logs have them, must not show: over items, requests and seeds."""
    batch = batch_of(B=200, N=50, full=True)
    batch = replace(batch, item_id=torch.arange(50).expand(200, 50).contiguous())
    scores = RandomScores(schema, seed=1)(batch).numpy()
    assert scores.dtype == np.float64 and np.unique(scores).size == scores.size
    assert stats.kstest(scores.ravel(), "uniform").pvalue > 1e-3
    other_seed = RandomScores(schema, seed=2)(batch).numpy()
    neighbours = (
        (scores[:, 1:], scores[:, :-1]),
        (scores[1:], scores[:-1]),
        (scores, other_seed),
    )
    for a, b in neighbours:
        assert stats.pearsonr(a.ravel(), b.ravel()).pvalue > 1e-3
    # Each item is first in about one of 50 requests.
    first = np.bincount(scores.argmax(axis=1), minlength=50)
    assert stats.chisquare(first).pvalue > 1e-3


def test_seeds_out_of_range_are_refused(schema) -> None:
    for seed in (-1, 1 << 63):
        with pytest.raises(EmerError, match=r"method\.model\.seed is"):
            RandomScores(schema, seed=seed)


def test_a_named_pxtr_is_the_score(schema, batch_of) -> None:
    batch = batch_of(B=4)
    scores = BestSinglePxtr(schema, objective="pltr")(batch)
    assert torch.equal(scores, batch.pxtr[..., 2].masked_fill(~batch.mask, 0.0))
    order = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
    shuffled = replace(batch, pxtr=batch.pxtr[:, order], mask=batch.mask[:, order])
    assert torch.equal(BestSinglePxtr(schema, objective="pltr")(shuffled), scores[:, order])
    hostile = replace(batch, pxtr=batch.pxtr.masked_fill(~batch.mask.unsqueeze(-1), 0.5))
    assert torch.equal(BestSinglePxtr(schema, objective="pltr")(hostile), scores)


@pytest.mark.parametrize("B", [8, 40])
@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_the_largest_mean_label_gauc(B, seed, schema, batch_of) -> None:
    """Of few requests, and of so many that a rare label stays out of the mean."""
    batch = batch_of(B=B, N=9, seed=seed)
    label = batch.label.clone()
    label[5:, :, 2] = 0
    batch = replace(batch, label=label)
    values = []
    for k in range(4):
        per_request = {n: v.numpy() for n, v in request_values(batch.pxtr[..., k], batch).items()}
        values.append(summarise(per_request)["label_gauc/mean"])
    model = BestSinglePxtr(schema)
    model.fit(batch.select(rows) for rows in torch.arange(B).split(3))
    assert int(model.column) == int(np.argmax(values))
    assert torch.equal(model(batch), batch.pxtr[..., int(np.argmax(values))])


def test_the_choice_weighs_requests_by_their_exposures(batch_of) -> None:
    """A pxtr that is right in one long request beats one that is right in two short ones."""
    schema = Schema(objectives=(Objective("short"), Objective("long")), feedback=(Feedback("click"),))
    label = torch.zeros(3, 8, 1)
    label[:, 0] = 1
    exposed = torch.zeros(3, 8, dtype=torch.bool)
    exposed[:2, :2] = True
    exposed[2] = True
    right, wrong = label[..., 0], 1 - label[..., 0]
    pxtr = torch.stack(
        [torch.cat([right[:2], wrong[2:]]), torch.cat([wrong[:2], right[2:]])],
        dim=-1,
    )
    gauc = [
        sum(n * roc_auc_score(label[b, :n, 0], pxtr[b, :n, k]) for b, n in enumerate((2, 2, 8))) / (2 + 2 + 8)
        for k in range(2)
    ]
    assert gauc == [(2 + 2) / 12, 8 / 12]
    mask = torch.ones(3, 8, dtype=torch.bool)
    batch = batch_of(B=3, N=8, full=True, schema=schema)
    batch = replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, mask), exposed=exposed, label=label)
    model = BestSinglePxtr(schema)
    model.fit([batch])
    assert int(model.column) == 1


def test_the_choice_takes_the_first_of_equals_and_travels_with_the_state(schema, batch_of) -> None:
    batch = batch_of(B=6)
    same = batch.pxtr[..., 2:3].expand_as(batch.pxtr).contiguous()
    model = BestSinglePxtr(schema)
    model.fit([replace(batch, pxtr=same, rank_gap=rank_gap(same, batch.mask))])
    assert int(model.column) == 0
    # A label's own values as a pxtr order it without a fault.
    pxtr = batch.pxtr.clone()
    pxtr[..., 3] = batch.label.sum(dim=-1) / 3
    model.fit([replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))])
    assert int(model.column) == 3
    restored = BestSinglePxtr(schema)
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored(batch), batch.pxtr[..., 3])


def test_a_name_is_not_overruled_by_the_data(schema, batch_of) -> None:
    batch = batch_of(B=6)
    pxtr = batch.pxtr.clone()
    pxtr[..., 3] = batch.label.sum(dim=-1) / 3
    model = BestSinglePxtr(schema, objective="pctr")
    model.fit([replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))])
    assert torch.equal(model(batch), batch.pxtr[..., 0])


def test_what_cannot_be_chosen_is_an_error(schema, batch_of) -> None:
    with pytest.raises(EmerError, match=r"method\.model\.objective is click; the objectives are pctr, pvtr"):
        BestSinglePxtr(schema, objective="click")
    batch = batch_of(B=3)
    model = BestSinglePxtr(schema)
    with pytest.raises(EmerError, match="no pxtr was chosen yet"):
        model(batch)
    with pytest.raises(EmerError, match=r"method\.model\.objective is null, but .* name one of pctr, pvtr"):
        model.fit([replace(batch, label=torch.zeros_like(batch.label))])
    silent = Schema(objectives=(Objective("pctr"), Objective("pltr")))
    with pytest.raises(EmerError, match="name one of pctr, pltr"):
        BestSinglePxtr(silent).fit([batch_of(schema=silent)])
