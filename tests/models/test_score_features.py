from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emer.models.score_features import ScoreFeatures
from emer.requests import Objective, RequestBatch, Schema


def column(values: list[float] | Tensor, batch_of) -> RequestBatch:
    """One request with one objective, whose scores are ``values``, and two places of padding with a larger one."""
    values = torch.as_tensor(values, dtype=torch.float32)
    batch = batch_of(B=1, N=3, schema=Schema(objectives=(Objective("pctr"),)))
    mask = torch.arange(len(values) + 2).unsqueeze(0) < len(values)
    return replace(batch, pxtr=torch.cat([values, torch.full((2,), 99.0)]).view(1, -1, 1), mask=mask)


def features_of(batch: RequestBatch, **options) -> ScoreFeatures:
    chosen = dict(width=2, buckets=4, bucketing="equal_distance", discretization=True, user=False, embedding_width=2)
    features = ScoreFeatures(batch.schema, **{**chosen, **options})
    features.fit(batch)
    return features


def test_equal_distance_by_hand(batch_of) -> None:
    features = features_of(column([2.0, 10.0, 4.0], batch_of))
    scores = torch.tensor([-50.0, 2.0, 3.99, 4.0, 5.9, 6.0, 8.1, 10.0, 50.0]).view(1, -1, 1)
    # Edges at 2 + 8 / 4 = 4, 6 and 8.
    assert features.bucket(scores).flatten().tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3]
    assert features.scaled(scores).flatten().tolist() == pytest.approx([(s - 2) / 8 for s in scores.flatten().tolist()])


def test_quantile_buckets_hold_equally_many(batch_of) -> None:
    skewed = torch.rand(4000, generator=torch.Generator().manual_seed(0)) ** 6
    batch = column(skewed, batch_of)
    equal = features_of(batch, buckets=10).bucket(skewed.view(1, -1, 1)).flatten().bincount(minlength=10)
    quantile = features_of(batch, buckets=10, bucketing="quantile").bucket(skewed.view(1, -1, 1)).flatten()
    assert (quantile.bincount(minlength=10) - 400).abs().max() <= 1
    assert equal[0] > 2000


def test_the_range_leaves_out_extremes_and_padding(batch_of) -> None:
    values = torch.rand(5000, generator=torch.Generator().manual_seed(1))
    values[0], values[1] = 1e6, -1e6
    features = features_of(column(values, batch_of))
    low, high = np.quantile(values.double().numpy(), [0.001, 0.999], method="nearest")
    assert features.low.item() == pytest.approx(low)
    assert (features.low + features.span).item() == pytest.approx(high)
    assert 0 < low < 0.01 < 0.99 < high < 1


@pytest.mark.parametrize("bucketing", ["equal_distance", "quantile"])
def test_a_constant_objective_has_one_bucket_and_is_zero(batch_of, bucketing) -> None:
    batch = column([0.25] * 8, batch_of)
    features = features_of(batch, bucketing=bucketing)
    assert features.bucket(batch.pxtr)[0, :8].unique().numel() == 1
    assert features.scaled(batch.pxtr)[0, :8].flatten().tolist() == [0.0] * 8
    assert torch.isfinite(features(batch).embedding).all()


def test_each_objective_has_its_own_range_and_table(schema, batch_of) -> None:
    batch = batch_of(B=8)
    features = features_of(batch, buckets=4)
    watch = schema.watch_index
    assert features.span[watch] > 20
    assert (features.span[[i for i in range(4) if i != watch]] < 1).all()
    embedding = features(batch).embedding[batch.mask]
    assert [embedding[:, k].unique(dim=0).shape[0] for k in range(4)] == [4, 4, 4, 4]
    assert embedding.flatten(0, 1).unique(dim=0).shape[0] == 4 * 4
