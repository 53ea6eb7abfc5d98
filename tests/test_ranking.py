"""Ranks against hand arithmetic, scipy, and the properties that everything downstream relies on."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from emer.ranking import MAX_CANDIDATES, descending_order, normalized_rank, rank_gap, rank_gap_ragged

# Few distinct values, so that ties are common; both zeros, tiny and huge numbers.
VALUE = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -1.0, 60.0, 1e-38, -1e-38, 1e30, -1e30]) | st.floats(
    -100, 100, width=32
)
LISTS = st.lists(st.lists(VALUE, min_size=0, max_size=9), min_size=0, max_size=6)


def gap_by_definition(values: np.ndarray) -> np.ndarray:
    return (values[None] < values[:, None]).sum(1) - (values[None] > values[:, None]).sum(1)


def ragged(lists: list[list[float]], dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    return np.array([v for one in lists for v in one], dtype=dtype), offsets


def test_gap_by_hand() -> None:
    # .9 beats three; the two .5 beat one and lose to one; .1 loses to three. Padding says nothing.
    values = torch.tensor([[0.5, 0.9, 0.1, 0.5, 7.0]]).unsqueeze(-1)
    where = torch.tensor([[True, True, True, True, False]])
    gap = rank_gap(values, where)
    assert gap.squeeze().tolist() == [1 - 1, 3 - 0, 0 - 3, 1 - 1, 0]
    assert gap.dtype == torch.int32
    # average ranks 2.5, 1, 4, 2.5 of n = 4
    assert normalized_rank(gap, where).squeeze().tolist() == [2.5 / 4, 1 / 4, 4 / 4, 2.5 / 4, 0.0]


@given(LISTS, st.sampled_from([np.float32, np.float64]))
def test_ragged_is_the_definition_per_request(lists: list[list[float]], dtype: type) -> None:
    values, offsets = ragged(lists, dtype)
    gap = rank_gap_ragged(values, offsets)
    assert gap.dtype == np.int16
    for start, stop in pairwise(offsets):
        assert gap[start:stop].tolist() == gap_by_definition(values[start:stop]).tolist()


@given(LISTS.filter(lambda lists: any(lists)))
def test_gap_and_normalized_rank_are_scipys_average_rank(lists: list[list[float]]) -> None:
    N = max(map(len, lists))
    values = torch.full((len(lists), N, 1), torch.nan)  # NaN on padding must not matter
    where = torch.zeros(len(lists), N, dtype=torch.bool)
    for b, one in enumerate(lists):
        values[b, : len(one), 0] = torch.tensor(one, dtype=torch.float32)
        where[b, : len(one)] = True
    gap = rank_gap(values, where)
    normalized = normalized_rank(gap, where)
    assert normalized.dtype == torch.float32
    for b, one in enumerate(lists):
        n = len(one)
        best_first = rankdata(-np.array(one, dtype=np.float32), method="average")
        assert gap[b, :n, 0].tolist() == (n + 1 - 2 * best_first).tolist()
        np.testing.assert_allclose(normalized[b, :n, 0], best_first / max(n, 1), rtol=1e-6)
        assert not gap[b, n:].any() and not normalized[b, n:].any()


@given(hnp.arrays(np.float32, (3, 6, 2), elements=st.floats(0, 1, width=16)), st.integers(0, 2**18 - 1))
def test_mask_is_deletion_and_padding_changes_nothing(values: np.ndarray, bits: int) -> None:
    where = torch.tensor([bool(bits >> i & 1) for i in range(18)]).view(3, 6)
    tensor = torch.from_numpy(values)
    gap = rank_gap(tensor, where)
    for b in range(3):
        kept = where[b]
        alone = rank_gap(tensor[b : b + 1, kept], torch.ones(1, int(kept.sum()), dtype=torch.bool))
        assert gap[b, kept].equal(alone[0])
        assert not gap[b, ~kept].any()
    padded = torch.cat([tensor, torch.full((3, 4, 2), 9.0)], dim=1)
    wider = rank_gap(padded, torch.cat([where, torch.zeros(3, 4, dtype=torch.bool)], dim=1))
    assert wider[:, :6].equal(gap) and not wider[:, 6:].any()


@given(LISTS)
def test_gaps_of_a_request_sum_to_zero_and_flip_with_the_sign(lists: list[list[float]]) -> None:
    values, offsets = ragged(lists)
    gap = rank_gap_ragged(values, offsets).astype(int)
    assert all(gap[start:stop].sum() == 0 for start, stop in pairwise(offsets))
    assert (rank_gap_ragged(-values, offsets) == -gap).all()


def test_doubles_are_told_apart_beyond_float32() -> None:
    assert rank_gap_ragged(np.array([1.0, 1.0 + 1e-12, 1.0]), np.array([0, 3])).tolist() == [-1, 2, -1]


def test_gap_keeps_objectives_apart() -> None:
    g = torch.Generator().manual_seed(1)
    values = torch.rand(2, 5, 3, generator=g)
    where = torch.ones(2, 5, dtype=torch.bool)
    together = rank_gap(values, where)
    for k in range(3):
        assert together[..., k : k + 1].equal(rank_gap(values[..., k : k + 1], where))


def test_largest_request_fits_and_one_more_is_refused() -> None:
    values = np.arange(MAX_CANDIDATES, dtype=np.float32)
    gap = rank_gap_ragged(values, np.array([0, MAX_CANDIDATES]))
    assert gap[0] == -(MAX_CANDIDATES - 1) and gap[-1] == MAX_CANDIDATES - 1
    with pytest.raises(ValueError, match="32769"):
        rank_gap_ragged(np.zeros(MAX_CANDIDATES + 1, np.float32), np.array([0, MAX_CANDIDATES + 1]))


def test_no_requests_at_all() -> None:
    assert rank_gap_ragged(np.zeros(0, np.float32), np.zeros(1, np.int64)).shape == (0,)
    assert rank_gap(torch.zeros(0, 4, 2), torch.zeros(0, 4, dtype=torch.bool)).shape == (0, 4, 2)
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert normalized_rank(rank_gap(torch.zeros(1, 3, 1), nothing), nothing).tolist() == [[[0.0], [0.0], [0.0]]]


def test_normalized_rank_of_int16_gaps_does_not_overflow() -> None:
    n = MAX_CANDIDATES
    gap = torch.zeros(1, n, 1, dtype=torch.int16)
    gap[0, 0, 0], gap[0, -1, 0] = n - 1, -(n - 1)
    rank = normalized_rank(gap, torch.ones(1, n, dtype=torch.bool))
    assert rank[0, 0, 0].item() == pytest.approx(1 / n) and rank[0, -1, 0].item() == 1.0


def test_descending_order_puts_padding_last_and_breaks_ties_by_position() -> None:
    scores = torch.tensor([[0.5, 9.0, 0.7, 0.5, -3.0]])
    where = torch.tensor([[True, False, True, True, True]])
    assert descending_order(scores, where).tolist() == [[2, 0, 3, 4, 1]]


def test_rank_gap_refuses_what_is_no_mask() -> None:
    values = torch.rand(4, 10, 1)
    for wrong in (torch.full((4, 10), 255, dtype=torch.uint8), torch.ones(1, 10, dtype=torch.bool)):
        with pytest.raises(ValueError, match="where"):
            rank_gap(values, wrong)
    with pytest.raises(ValueError, match="expected \\(B, N, K\\)"):
        rank_gap(values[..., 0], torch.ones(4, 10, dtype=torch.bool))


def test_rank_gap_of_integers() -> None:
    where = torch.ones(1, 3, dtype=torch.bool)
    assert rank_gap(torch.tensor([[[5], [-2], [5]]]), where).flatten().tolist() == [1, -2, 1]
