from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emer.errors import EmerError
from emer.models.pxtr_bins import BinnedPxtrs
from emer.requests import Objective, Schema, Unit


def bins_of(schema, **options) -> BinnedPxtrs:
    torch.manual_seed(0)
    defaults = dict(bins=4, binning="quantile", embedding_width=3, token_dropout=0.0, use_features=False)
    return BinnedPxtrs(schema, **{**defaults, **options})


@pytest.fixture
def one_column(batch_of):
    """A function: values -> a batch of one request with one probability and one watch time that have these values."""
    schema = Schema((Objective("pltr"), Objective("pvtr", Unit.SECONDS)))

    def build(probability, seconds):
        pxtr = torch.tensor([probability, seconds]).T.unsqueeze(0)
        batch = batch_of(B=1, N=len(probability), full=True, schema=schema)
        return replace(batch, pxtr=pxtr)

    return build


def test_quantile_bins_hold_equally_many(one_column) -> None:
    values = [0.001 * 2**i for i in (5, 0, 7, 2, 3, 4, 1, 6)]
    batch = one_column(values, [10 * v for v in values])
    features = bins_of(batch.schema)
    features.fit(batch)
    assert features.index(batch)[0].tolist() == [[i // 2, i // 2] for i in (5, 0, 7, 2, 3, 4, 1, 6)]


def test_log_bins_are_equally_wide_in_logs(one_column) -> None:
    """From 1e-4 to 1 in four bins: edges 1e-3, 1e-2, 1e-1; from 1 to 16 seconds: 2, 4, 8."""
    batch = one_column([1e-4, 0.002, 0.05, 0.5, 1.0], [1.0, 3.0, 5.0, 9.0, 16.0])
    features = bins_of(batch.schema, binning="log")
    features.fit(batch)
    torch.testing.assert_close(features.edges, torch.tensor([[1e-3, 1e-2, 1e-1], [2.0, 4.0, 8.0]]))
    assert features.index(batch)[0].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [3, 3]]


def test_equal_bins_divide_probabilities_from_0_to_1_and_seconds_to_the_largest(one_column) -> None:
    batch = one_column([0.1, 0.25, 0.3, 0.6, 0.76], [0.0, 5.0, 9.9, 10.0, 20.0])
    features = bins_of(batch.schema, binning="equal")
    features.fit(batch)
    assert features.index(batch)[0].tolist() == [[0, 0], [1, 1], [1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("binning", ["quantile", "log", "equal"])
def test_padding_is_not_fitted_and_other_values_fall_into_the_outer_bins(binning, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    features = bins_of(batch.schema, binning=binning)
    features.fit(batch)
    edges = features.edges.clone()
    assert bool((edges[:, 1:] >= edges[:, :-1]).all())
    features.fit(replace(batch, pxtr=torch.where(batch.mask.unsqueeze(-1), batch.pxtr, 0.5)))
    assert torch.equal(features.edges, edges)
    outside = batch.pxtr.clone()
    outside[0, 0], outside[0, 1] = 0.0, 1.0
    outside[0, 1, batch.schema.watch_index] = 1e6
    index = features.index(replace(batch, pxtr=outside))
    assert index[0, 0].tolist() == [0] * 4
    assert index[0, 1].tolist() == [3] * 4


@pytest.mark.parametrize("binning", ["quantile", "log", "equal"])
def test_a_constant_column_and_few_candidates_are_harmless(binning, one_column) -> None:
    batch = one_column([0.0, 0.0], [0.0, 0.0])
    features = bins_of(batch.schema, binning=binning, bins=10)
    features.fit(batch)
    index = features.index(batch)
    assert torch.isfinite(features.edges).all()
    assert index.min() >= 0
    assert index.max() <= 9
    assert torch.isfinite(features.unit_pxtr(batch)).all()


def test_each_objective_has_rows_of_its_own(batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    features = bins_of(batch.schema)
    features.fit(batch)
    x, index = features(batch), features.index(batch)
    assert x.shape == (2, 5, 4 * 3)
    for k in range(4):
        expected = features.table.weight[4 * k + index[1, 2, k]]
        torch.testing.assert_close(x[1, 2, 3 * k : 3 * k + 3], expected)


def test_seconds_are_squeezed_by_their_median(one_column) -> None:
    batch = one_column([0.1, 0.2, 0.3], [2.0, 6.0, 50.0])
    features = bins_of(batch.schema)
    features.fit(batch)
    unit = features.unit_pxtr(batch)[0]
    torch.testing.assert_close(unit[:, 0], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(unit[:, 1], torch.tensor([2 / (2 + 6), 6 / (6 + 6), 50 / (50 + 6)]))


def test_dropout_takes_whole_tokens_in_training_only(batch_of) -> None:
    batch = batch_of(B=8, N=9, full=True)
    features = bins_of(batch.schema, token_dropout=0.5)
    kept = features.eval()(batch)
    dropped = features.train()(batch).unflatten(-1, (4, 3))
    gone = (dropped == 0).all(dim=-1)
    assert 0.3 < gone.float().mean() < 0.7
    torch.testing.assert_close(dropped[~gone], kept.unflatten(-1, (4, 3))[~gone] / 0.5)


def test_other_features_are_off_by_default_and_appended_on_demand(batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    features = bins_of(batch.schema, use_features=True)
    features.fit(batch)
    # Three categories of 3 numbers each, and the duration.
    assert features.width == bins_of(batch.schema).width + 3 * 3 + 1
    other = replace(batch, user_categories=(batch.user_categories + 1) % 5)
    assert not torch.equal(features(other), features(batch))
    plain = bins_of(batch.schema)
    assert torch.equal(plain(other), plain(batch))


def test_fitted_bins_are_part_of_the_state(batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    fitted, loaded = bins_of(batch.schema), bins_of(batch.schema)
    fitted.fit(batch)
    loaded.load_state_dict(fitted.state_dict())
    assert torch.equal(loaded(batch), fitted(batch))
    assert torch.equal(loaded.unit_pxtr(batch), fitted.unit_pxtr(batch))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"bins": 1}, "method.model.bins"),
        ({"binning": "width"}, "method.model.binning"),
        ({"embedding_width": 0}, "method.model.embedding_width"),
        ({"token_dropout": 1.0}, "method.model.token_dropout"),
    ],
)
def test_wrong_options_are_refused_by_their_key(options, key, schema) -> None:
    with pytest.raises(EmerError, match=key):
        bins_of(schema, **options)


def test_features_that_the_log_does_not_have_are_refused() -> None:
    with pytest.raises(EmerError, match="use_features"):
        bins_of(Schema((Objective("pctr"),)), use_features=True)


def test_initial_embeddings(schema) -> None:
    for published, mean, std in ((False, 0.0, 0.2), (True, 0.01, 0.02)):
        weight = bins_of(schema, bins=2000, embedding_width=8, published_init=published).table.weight.detach()
        assert float(weight.mean()) == pytest.approx(mean, abs=0.01 * std)
        assert float(weight.std()) == pytest.approx(std, rel=0.02)
