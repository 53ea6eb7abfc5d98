"""Pooled AUC against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from emer.metrics import auc
from emer.metrics.auc import pooled_auc


def test_value_by_hand():
    # Positives 3 and 1, negatives 2 and 1: 3 > 2, 3 > 1, 1 < 2, 1 = 1.
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0])
    labels = torch.tensor([[1], [1], [0], [0]])
    assert pooled_auc(scores, labels).item() == (1 + 1 + 0 + 0.5) / 4


def test_equals_scikit_learn_with_many_ties():
    g = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 50, (5000,), generator=g).double() / 7
    labels = torch.rand(5000, 3, generator=g) < torch.tensor([0.5, 0.02, 0.001])
    expected = [roc_auc_score(labels[:, m].numpy(), scores.numpy()) for m in range(3)]
    np.testing.assert_allclose(pooled_auc(scores, labels).numpy(), expected, rtol=0, atol=1e-14)


def test_order_of_the_candidates_changes_no_bit():
    g = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 500, (3000,), generator=g).float() / 7
    labels = torch.rand(3000, 2, generator=g) < 0.1
    order = torch.randperm(3000, generator=g)
    assert torch.equal(pooled_auc(scores, labels), pooled_auc(scores[order], labels[order]))


def test_one_class_and_no_candidate_are_nan():
    labels = torch.tensor([[1, 0, 1], [1, 0, 0]])
    result = pooled_auc(torch.tensor([0.3, 0.1]), labels)
    assert result[:2].isnan().all() and result[2] == 1.0
    assert pooled_auc(torch.empty(0), torch.empty(0, 2)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
def test_the_kernel_and_torch_count_the_same(dtype):
    g = torch.Generator().manual_seed(2)
    scores = torch.randint(-40, 40, (700,), generator=g).to(dtype)
    labels = torch.rand(700, 3, generator=g) < torch.tensor([0.5, 0.1, 0.0])
    for ours, theirs in zip(auc._kernel_sums(scores, labels), auc._torch_sums(scores, labels), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("label_type", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_any_type_of_label(label_type):
    scores = torch.tensor([0.1, 0.4, 0.35, 0.8])
    labels = torch.tensor([[0], [0], [1], [1]]).to(label_type)
    # 0.35 > 0.1; 0.35 < 0.4; 0.8 is larger than both.
    assert pooled_auc(scores, labels).item() == 3 / 4


def test_neighbouring_doubles_are_not_ties():
    one = torch.tensor(1.0, dtype=torch.float64)
    scores = torch.stack([one, torch.nextafter(one, 2 * one)])
    assert pooled_auc(scores, torch.tensor([[0], [1]])).item() == 1.0
    assert pooled_auc(torch.tensor([2**62, 2**62 + 1]), torch.tensor([[0], [1]])).item() == 1.0


def test_what_has_no_rank_is_refused():
    with pytest.raises(ValueError, match="NaN at 1"):
        pooled_auc(torch.tensor([0.0, torch.nan]), torch.ones(2, 1))
    with pytest.raises(ValueError, match="labels"):
        pooled_auc(torch.zeros(3), torch.ones(2, 1))
