"""Pooled AUC against scikit-learn and by hand."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

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
