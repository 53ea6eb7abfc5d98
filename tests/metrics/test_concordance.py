"""Concordance AUC against hand counts, scikit-learn, SciPy and a float64 brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from emer.metrics import concordance
from emer.metrics.concordance import concordance_auc


def brute_force(scores, targets, where):
    """Pair by pair, in Python numbers."""
    B, N, K = targets.shape
    result = np.full((B, K), np.nan)
    for b in range(B):
        for k in range(K):
            agree = total = 0.0
            for i in range(N):
                for j in range(N):
                    if where[b, i, k] and where[b, j, k] and targets[b, i, k] > targets[b, j, k]:
                        total += 1
                        agree += 1.0 if scores[b, i] > scores[b, j] else 0.5 * float(scores[b, i] == scores[b, j])
            if total:
                result[b, k] = agree / total
    return result


def test_hand_counted_pairs():
    scores = torch.tensor([[4.0, 3.0, 3.0, 1.0]])
    targets = torch.tensor([[[0.9], [0.2], [0.5], [0.5]]])
    # Pairs with different targets: 01 02 03 concordant, 12 tied in score, 13 discordant; 23 is not counted.
    assert concordance_auc(scores, targets).item() == (3 + 0.5) / 5


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_brute_force_with_ties_and_masks(seed, per_objective, wide):
    g = torch.Generator().manual_seed(seed)
    B, N, K = 3, 7, 2
    dtype = torch.float64 if wide else torch.float32
    scores = torch.randint(0, 5, (B, N), generator=g).to(dtype)
    targets = torch.randint(0, 4, (B, N, K), generator=g).to(dtype) / 3
    where = torch.rand((B, N, K) if per_objective else (B, N), generator=g) < 0.7
    full = where if per_objective else where.unsqueeze(-1).expand(B, N, K)
    expected = brute_force(scores.numpy(), targets.numpy(), full.numpy())
    np.testing.assert_array_equal(concordance_auc(scores, targets, where=where).numpy(), expected)


def test_binary_target_is_the_ordinary_auc():
    g = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (4, 50), generator=g).float()
    labels = (torch.rand(4, 50, 3, generator=g) < 0.3).float()
    expected = [[roc_auc_score(labels[b, :, k].numpy(), scores[b].numpy()) for k in range(3)] for b in range(4)]
    np.testing.assert_allclose(concordance_auc(scores, labels).numpy(), expected, rtol=0, atol=1e-14)


def test_without_ties_is_kendalls_tau():
    g = torch.Generator().manual_seed(1)
    scores, targets = torch.randn(5, 40, generator=g), torch.rand(5, 40, 2, generator=g)
    expected = [
        [(kendalltau(scores[b].numpy(), targets[b, :, k].numpy()).statistic + 1) / 2 for k in range(2)]
        for b in range(5)
    ]
    np.testing.assert_allclose(concordance_auc(scores, targets).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbouring_floats_are_not_ties(dtype):
    one = torch.tensor(1.0, dtype=dtype)
    after = torch.nextafter(one, one + 1)
    scores = torch.stack([one, after]).unsqueeze(0)
    assert concordance_auc(scores, scores.unsqueeze(-1)).item() == 1.0
    tiny = torch.tensor([[0.0, torch.finfo(dtype).smallest_normal]], dtype=dtype)
    assert concordance_auc(tiny, tiny.unsqueeze(-1)).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64, torch.bool])
def test_integer_targets_keep_their_order(dtype):
    largest = 1 if dtype is torch.bool else torch.iinfo(dtype).max // 2**10
    targets = torch.tensor([[[0], [largest], [largest - (dtype is not torch.bool)]]]).to(dtype)
    scores = torch.tensor([[0.0, 2.0, 1.0]])
    assert concordance_auc(scores, targets).item() == 1.0


def test_rank_gaps_stand_for_the_values_they_rank():
    from emer.ranking import rank_gap

    g = torch.Generator().manual_seed(2)
    values = torch.randint(0, 6, (3, 20, 2), generator=g) / 5
    where = torch.rand(3, 20, generator=g) < 0.8
    scores = torch.randn(3, 20, generator=g)
    by_rank = concordance_auc(scores, rank_gap(values, where).to(torch.int16), where=where)
    torch.testing.assert_close(by_rank, concordance_auc(scores, values, where=where), rtol=0, atol=0)


def test_permutation_of_the_candidates_changes_nothing():
    g = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 6, (2, 30), generator=g).float()
    targets = torch.randint(0, 6, (2, 30, 3), generator=g).float()
    order = torch.randperm(30, generator=g)
    torch.testing.assert_close(
        concordance_auc(scores, targets), concordance_auc(scores[:, order], targets[:, order]), rtol=0, atol=0
    )


@pytest.mark.parametrize("filler", [0.0, torch.inf, -torch.inf, torch.nan])
def test_masking_equals_deleting_whatever_stands_there(filler):
    g = torch.Generator().manual_seed(4)
    scores, targets = torch.randn(2, 12, generator=g), torch.rand(2, 12, 3, generator=g)
    keep = torch.ones(2, 12, dtype=torch.bool)
    keep[:, [0, 5, 11]] = False
    kept = [c for c in range(12) if c not in (0, 5, 11)]
    expected = concordance_auc(scores[:, kept], targets[:, kept])
    dirty_scores = scores.masked_fill(~keep, filler)
    dirty_targets = targets.masked_fill(~keep.unsqueeze(-1), filler)
    result = concordance_auc(dirty_scores, dirty_targets, where=keep)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_without_a_pair_to_order_the_value_is_nan():
    scores = torch.randn(4, 5)
    targets = torch.rand(4, 5, 2)
    targets[0] = 0.3
    where = torch.ones(4, 5, dtype=torch.bool)
    where[1] = False
    where[2, 1:] = False
    result = concordance_auc(scores, targets, where=where)
    assert result[:3].isnan().all() and not result[3].isnan().any()
    assert concordance_auc(torch.empty(2, 0), torch.empty(2, 0, 3)).isnan().all()
    assert concordance_auc(torch.empty(0, 4), torch.empty(0, 4, 3)).shape == (0, 3)


def test_a_constant_score_gives_one_half():
    assert (concordance_auc(torch.zeros(3, 9), torch.rand(3, 9, 2)) == 0.5).all()


def test_tiling_changes_nothing(monkeypatch):
    g = torch.Generator().manual_seed(5)
    scores, targets = torch.randn(7, 10, generator=g), torch.rand(7, 10, 2, generator=g)
    whole = concordance_auc(scores, targets)
    monkeypatch.setattr(concordance, "_TILE", 40)
    torch.testing.assert_close(concordance_auc(scores, targets), whole, rtol=0, atol=0)


def test_random_scores_reach_one_half_for_the_rarest_label():
    g = torch.Generator().manual_seed(6)
    labels = (torch.rand(4000, 30, 1, generator=g) < 0.01).float()
    auc = concordance_auc(torch.rand(4000, 30, generator=g), labels)
    found = auc[~auc.isnan()]
    # A request without a positive must drop out, not count as 0: then the mean would be near 0.13.
    assert 500 < found.numel() < 1500
    assert abs(found.mean().item() - 0.5) < 0.04
