"""Concordance AUC against hand counts, scikit-learn, SciPy and a float64 brute force."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from emer.metrics import concordance, counting
from emer.metrics.concordance import concordance_auc, concordance_counts, kendall_tau

METHODS = ("auto", "kernel", "torch")


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
    for method in METHODS:
        np.testing.assert_array_equal(concordance_auc(scores, targets, where=where, method=method).numpy(), expected)


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
    for method in METHODS:
        for values in (scores, -scores):
            counts = concordance_counts(values, values.unsqueeze(-1), method=method)
            assert [c.item() for c in counts] == [1, 0, 0, 0, 0]


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
    monkeypatch.setattr(counting, "TILE", 40)
    for method in METHODS:
        torch.testing.assert_close(concordance_auc(scores, targets, method=method), whole, rtol=0, atol=0)


def test_random_scores_reach_one_half_for_the_rarest_label():
    g = torch.Generator().manual_seed(6)
    labels = (torch.rand(4000, 30, 1, generator=g) < 0.01).float()
    auc = concordance_auc(torch.rand(4000, 30, generator=g), labels)
    found = auc[~auc.isnan()]
    # A request without a positive must drop out, not count as 0: then the mean would be near 0.13.
    assert 500 < found.numel() < 1500
    assert abs(found.mean().item() - 0.5) < 0.04


def test_counts_by_hand():
    scores = torch.tensor([[4.0, 3.0, 3.0, 1.0, 1.0]])
    targets = torch.tensor([[[0.9], [0.2], [0.5], [0.5], [0.5]]])
    for method in METHODS:
        counts = concordance_counts(scores, targets, method=method)
        # 01 02 03 04 agree; 13 14 do not; 12 has one score; 23 24 one target; 34 both.
        assert [c.item() for c in counts] == [4, 2, 1, 2, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("N", [2, 7, 130])
def test_tau_b_is_scipys_with_ties_in_both(method, N):
    g = torch.Generator().manual_seed(N)
    scores = torch.randint(0, 1 + N // 2, (6, N), generator=g).float()
    targets = torch.randint(0, 1 + N // 3, (6, N, 3), generator=g).float()
    expected = [[kendalltau(scores[b], targets[b, :, k]).statistic for k in range(3)] for b in range(6)]
    np.testing.assert_allclose(kendall_tau(scores, targets, method=method), expected, rtol=0, atol=1e-12)


def test_tau_of_a_constant_is_nan_and_of_itself_one():
    scores = torch.randint(0, 50, (3, 99)).float()
    assert kendall_tau(scores, torch.zeros(3, 99, 1)).isnan().all()
    assert kendall_tau(torch.zeros(3, 99), scores.unsqueeze(-1)).isnan().all()
    assert (kendall_tau(scores, torch.stack([scores, -scores], dim=-1)) == torch.tensor([1.0, -1.0])).all()


SCORE_TYPES = (torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [*SCORE_TYPES, torch.float32, torch.float64])
def test_any_real_type_of_scores_and_targets(dtype, method):
    g = torch.Generator().manual_seed(8)
    scores = torch.randint(0, 2 if dtype is torch.bool else 9, (3, 40), generator=g).to(dtype)
    targets = torch.randint(0, 2 if dtype is torch.bool else 9, (3, 40, 2), generator=g).to(dtype)
    expected = concordance_auc(scores.float(), targets.float(), method="torch")
    assert torch.equal(concordance_auc(scores, targets, method=method), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float64])
def test_wide_values_keep_their_order(dtype, method):
    """Numbers that float32, and for int64 float64, cannot tell apart, over a range too wide to count."""
    large = {torch.int32: 2**31 - 2, torch.int64: 2**62 + 1, torch.float64: 1.0}[dtype]
    step, small = (2.0**-52, 0.5) if dtype is torch.float64 else (1, 5)
    values = torch.tensor([[large, large + step, -large, -large - step, 0, small]], dtype=dtype)
    ranks = torch.tensor([[4, 5, 1, 0, 2, 3]])
    for a in (values, ranks.to(dtype)):
        for b in (values, ranks.to(dtype)):
            counts = concordance_counts(a, b.unsqueeze(-1), method=method)
            assert [c.item() for c in counts] == [15, 0, 0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_infinity_is_a_value_and_zero_has_no_sign(method):
    values = torch.tensor([[-torch.inf, -1.0, -0.0, 0.0, torch.inf, torch.inf]])
    counts = concordance_counts(values, values.unsqueeze(-1), method=method)
    assert [c.item() for c in counts] == [6 * 5 / 2 - 2, 0, 0, 0, 2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nan_is_refused_where_valid_and_not_read_elsewhere(dtype, method):
    scores, targets = torch.rand(2, 4).to(dtype), torch.rand(2, 4, 3).to(dtype)
    where = torch.ones(2, 4, dtype=torch.bool)
    where[1, 2] = False
    scores[1, 2] = targets[1, 2, 1] = torch.nan
    assert not concordance_auc(scores, targets, where=where, method=method).isnan().any()
    with pytest.raises(ValueError, match=r"scores are NaN at the valid candidate \[1, 2\]"):
        concordance_auc(scores, targets, method=method)
    targets[0, 3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"targets are NaN at the valid candidate \[0, 3, 2\]"):
        concordance_auc(scores, targets, where=where, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3, 8), (1, 8, 2), (3, 1, 2), (1, 1, 1), (3, 8, 1)])
def test_every_shape_of_where(shape, method):
    g = torch.Generator().manual_seed(9)
    scores, targets = torch.randn(3, 8, generator=g), torch.rand(3, 8, 2, generator=g)
    where = torch.rand(shape, generator=g) < 0.7
    full = (where if where.dim() == 3 else where.unsqueeze(-1)).expand(3, 8, 2)
    expected = brute_force(scores.numpy(), targets.numpy(), full.numpy())
    np.testing.assert_array_equal(concordance_auc(scores, targets, where=where, method=method), expected)


def test_what_does_not_fit_is_refused():
    scores, targets = torch.rand(2, 4), torch.rand(2, 4, 3)
    with pytest.raises(ValueError, match=r"scores \(B, N\) have shape \(4, 2\)"):
        concordance_auc(scores.T, targets)
    for where in (torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 4, 2, dtype=torch.bool), torch.ones(2, 4)):
        with pytest.raises(ValueError, match="where is"):
            concordance_auc(scores, targets, where=where)
    with pytest.raises(ValueError, match=r"targets are torch.uint64; convert"):
        concordance_auc(scores, targets.to(torch.uint64))
    with pytest.raises(ValueError, match="method must be one of"):
        concordance_auc(scores, targets, method="fast")
    with pytest.raises(ValueError, match="needs tensors on the CPU"):
        concordance_auc(scores.to("meta"), targets.to("meta").long(), method="kernel")


def test_any_number_of_threads_gives_the_same(monkeypatch):
    g = torch.Generator().manual_seed(10)
    scores = torch.randint(0, 100, (32, 200), generator=g).float()
    where = torch.rand(32, 200, generator=g) < 0.9
    for targets in (torch.rand(32, 200, 8, generator=g), torch.randint(0, 9, (32, 200, 8), generator=g)):
        expected = concordance_auc(scores, targets, where=where, method="torch")
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            try:
                assert torch.equal(concordance_auc(scores, targets, where=where), expected)
            finally:
                torch.set_num_threads(1)


def test_tensors_that_need_gradients_or_are_transposed():
    g = torch.Generator().manual_seed(11)
    scores, targets = torch.randn(9, 3, generator=g), torch.rand(3, 2, 9, generator=g)
    expected = concordance_auc(scores.T.contiguous(), targets.transpose(1, 2).contiguous(), method="torch")
    found = concordance_auc(scores.T.clone().requires_grad_(), targets.transpose(1, 2).requires_grad_())
    assert torch.equal(found, expected) and not found.requires_grad


def test_the_kernel_is_many_times_as_fast():
    """Measured 20 to 40 times on one core at (16, 12, 500)."""
    g = torch.Generator().manual_seed(12)
    scores, targets = torch.randn(16, 500, generator=g), torch.rand(16, 500, 12, generator=g)
    seconds = {}
    for method in ("kernel", "torch"):
        concordance_auc(scores, targets, method=method)
        runs = []
        for _ in range(3):
            start = time.process_time()
            concordance_auc(scores, targets, method=method)
            runs.append(time.process_time() - start)
        seconds[method] = min(runs)
    assert seconds["torch"] > 5 * seconds["kernel"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_negative_integers_of_any_type(dtype):
    g = torch.Generator().manual_seed(7)
    scores = torch.randn(4, 50, generator=g)
    for low, high in ((-1, 2), (-9, -3), (-100, 100)):
        targets = torch.randint(low, high, (4, 50, 2), generator=g)
        for method in ("kernel", "torch"):
            found = concordance_auc(scores, targets.to(dtype), method=method)
            np.testing.assert_array_equal(found, brute_force(scores, targets, np.ones((4, 50, 2), dtype=bool)))


def test_clock_times_and_extreme_integers_are_sorted_not_counted():
    scores = torch.arange(5.0).unsqueeze(0)
    times = 1_700_000_000 + torch.arange(5).view(1, 5, 1)
    assert concordance_auc(scores, times).item() == 1
    extreme = torch.tensor([-(2**63), -1, 0, 2**53, 2**63 - 1]).view(1, 5, 1)
    assert concordance_auc(scores, extreme).item() == 1
