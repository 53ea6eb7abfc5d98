"""DCG, MEAN, HitRate and NDCG at k by hand arithmetic and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, dcg_score, ndcg_score

from emer.metrics.topk import dcg_at_k, hit_rate_at_k, map_at_k, mean_at_k, ndcg_at_k

SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.7]])
VALUES = torch.tensor([[[4.0], [1.0], [3.0], [2.0]]])  # in rank order of the score: 1, 2, 3, 4
FUNCTIONS = (dcg_at_k, mean_at_k, hit_rate_at_k, ndcg_at_k, map_at_k)


def test_values_by_hand():
    assert dcg_at_k(SCORES, VALUES, 3).item() == pytest.approx(1 / 1 + 2 / math.log2(3) + 3 / 2)
    assert mean_at_k(SCORES, VALUES, 3).item() == pytest.approx((1 + 2 + 3) / 3)
    # Top 3 by value are the candidates 0, 2, 3; by score 1, 3, 2.
    assert hit_rate_at_k(SCORES, VALUES, 3).item() == pytest.approx(2 / 3)
    ideal = 4 / 1 + 3 / math.log2(3) + 2 / 2
    assert ndcg_at_k(SCORES, VALUES, 3).item() == pytest.approx((1 / 1 + 2 / math.log2(3) + 3 / 2) / ideal)


def test_k_is_clamped_to_the_candidates():
    where = torch.tensor([[True, True, False, False]])
    # Candidates 1 and 0 remain, in this order.
    assert dcg_at_k(SCORES, VALUES, 10, where=where).item() == pytest.approx(1 + 4 / math.log2(3))
    assert mean_at_k(SCORES, VALUES, 10, where=where).item() == pytest.approx((1 + 4) / 2)
    assert hit_rate_at_k(SCORES, VALUES, 10, where=where).item() == 1.0


def test_ties_are_broken_by_position():
    scores = torch.zeros(1, 3)
    values = torch.tensor([[[1.0], [5.0], [5.0]]])
    assert mean_at_k(scores, values, 1).item() == 1.0
    # By value the earlier of the two fives is wanted.
    assert hit_rate_at_k(torch.tensor([[0.0, 1.0, 0.0]]), values, 1).item() == 1.0
    assert hit_rate_at_k(torch.tensor([[0.0, 0.0, 1.0]]), values, 1).item() == 0.0


@pytest.mark.parametrize("k", [1, 5, 40])
def test_equals_scikit_learn(k):
    g = torch.Generator().manual_seed(0)
    scores, values = torch.randn(6, 20, generator=g), torch.rand(6, 20, 2, generator=g).double()
    labels = (values < 0.3).double()
    for c in range(2):
        one = values[..., c].numpy(), scores.numpy()
        expected = [dcg_score(one[0][b : b + 1], one[1][b : b + 1], k=k) for b in range(6)]
        np.testing.assert_allclose(dcg_at_k(scores, values, k)[:, c].numpy(), expected, rtol=1e-12)
        one = labels[..., c].numpy(), scores.numpy()
        expected = [ndcg_score(one[0][b : b + 1], one[1][b : b + 1], k=k) for b in range(6)]
        np.testing.assert_allclose(ndcg_at_k(scores, labels, k)[:, c].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_masking_equals_deleting(function):
    g = torch.Generator().manual_seed(1)
    scores, values = torch.randn(3, 9, generator=g), torch.rand(3, 9, 2, generator=g)
    where = torch.ones(3, 9, dtype=torch.bool)
    where[:, [1, 4]] = False
    kept = [c for c in range(9) if c not in (1, 4)]
    # The best-looking candidates are the masked ones, so an unread mask would show.
    dirty_scores = scores.masked_fill(~where, 99.0)
    dirty_values = values.masked_fill(~where.unsqueeze(-1), 99.0)
    torch.testing.assert_close(
        function(dirty_scores, dirty_values, 4, where=where), function(scores[:, kept], values[:, kept], 4)
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_permutation_of_the_candidates_changes_nothing(function):
    g = torch.Generator().manual_seed(2)
    scores, values = torch.randn(3, 9, generator=g), torch.rand(3, 9, 2, generator=g)
    order = torch.randperm(9, generator=g)
    torch.testing.assert_close(
        function(scores, values, 4), function(scores[:, order], values[:, order], 4), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_request_without_candidates_is_nan_and_the_others_are_not(function):
    where = torch.tensor([[False] * 4, [True] * 4])
    result = function(SCORES.expand(2, 4), VALUES.expand(2, 4, 1), 2, where=where)
    assert result[0].isnan().all() and not result[1].isnan().any()
    assert function(torch.empty(2, 0), torch.empty(2, 0, 3), 2).isnan().all()


def test_ndcg_without_a_positive_is_nan_and_with_positives_alone_is_one():
    labels = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    result = ndcg_at_k(SCORES, labels, 2)
    assert result[0, 0].isnan() and result[0, 1] == 1.0


def test_best_order_has_ndcg_and_hit_rate_one():
    assert ndcg_at_k(VALUES[..., 0], VALUES, 3).item() == 1.0
    assert hit_rate_at_k(VALUES[..., 0], VALUES, 3).item() == 1.0
    assert hit_rate_at_k(-VALUES[..., 0], VALUES, 2).item() == 0.0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_impossible_k_is_refused(function):
    with pytest.raises(ValueError, match="k is 0"):
        function(SCORES, VALUES, 0)


def test_map_by_hand():
    labels = torch.tensor([[[1.0], [0.0], [1.0], [1.0]]])  # in rank order of the score: 0, 1, 1, 1
    assert map_at_k(SCORES, labels, 4).item() == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    # Two places can hold two of the three positives, and hold one.
    assert map_at_k(SCORES, labels, 2).item() == pytest.approx((1 / 2) / 2)
    assert map_at_k(SCORES, labels, 1).item() == 0.0
    where = torch.tensor([[True, True, True, False]])
    assert map_at_k(SCORES, labels, 2, where=where).item() == pytest.approx((1 / 2) / 2)
    assert map_at_k(SCORES, labels, 9, where=where).item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_map_of_the_whole_list_is_scikit_learns():
    g = torch.Generator().manual_seed(3)
    scores, labels = torch.randn(6, 25, generator=g), torch.rand(6, 25, 2, generator=g) < 0.3
    found = map_at_k(scores, labels.double(), 25)
    for b in range(6):
        for m in range(2):
            expected = average_precision_score(labels[b, :, m].numpy(), scores[b].numpy())
            assert found[b, m].item() == pytest.approx(expected, rel=1e-12)


def test_map_without_a_positive_is_nan_and_with_positives_first_is_one():
    labels = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]])
    for k in (1, 2, 4):
        result = map_at_k(SCORES, labels, k)
        assert result[0, 0].isnan() and result[0, 1] == 1.0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_padding_and_batch_change_no_bit(function):
    g = torch.Generator().manual_seed(4)
    scores, values = torch.randn(5, 40, generator=g), torch.rand(5, 40, 3, generator=g)
    where = torch.arange(40) < torch.tensor([[40], [31], [7], [3], [1]])
    together = function(scores, values, 10, where=where)
    for b in range(5):
        n = int(where[b].sum())
        alone = function(scores[b : b + 1, :n], values[b : b + 1, :n], 10)
        assert torch.equal(alone, together[b : b + 1])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_on_padding_is_not_read(function):
    scores = torch.tensor([[0.3, torch.nan, 0.1]])
    values = torch.tensor([[[0.2], [torch.nan], [0.7]]])
    where = torch.tensor([[True, False, True]])
    assert torch.equal(function(scores, values, 3, where=where), function(scores[:, ::2], values[:, ::2], 3))


def test_shapes_and_masks_that_do_not_fit_are_refused():
    scores, values = torch.randn(4, 20), torch.rand(4, 20, 2)
    for function in (dcg_at_k, mean_at_k, hit_rate_at_k, ndcg_at_k, map_at_k):
        for wrong in (torch.ones(1, 20, dtype=torch.bool), torch.ones(4, 20), torch.full((4, 20), 2)):
            with pytest.raises(ValueError, match="where"):
                function(scores, values, 5, where=wrong)
        for wrong_values in (torch.rand(9, 50, 2), torch.rand(4, 21, 2), torch.rand(4, 20)):
            with pytest.raises(ValueError, match="do not fit"):
                function(scores, wrong_values, 5)


def test_minus_infinity_is_better_than_padding():
    scores = torch.full((1, 200), -torch.inf, dtype=torch.float64)
    values = torch.ones(1, 200, 1)
    where = torch.arange(200).unsqueeze(0) >= 20
    values[:, :20] = 999
    assert mean_at_k(scores, values, 150, where=where).item() == 1
