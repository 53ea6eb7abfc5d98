"""Rank aggregation against hand arithmetic with ties, and against scipy's ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.stats import rankdata

from emer.errors import EmerError
from emer.models.rank_aggregation import (
    RankAggregation,
    average_rank_scores,
    average_ranks,
    borda_scores,
    reciprocal_rank_scores,
)
from emer.ranking import rank_gap

RULES = ("borda", "reciprocal_rank", "average_rank")

# Four candidates and one of padding, two objectives. Ranks: 1, 2.5, 2.5, 4 and 3, 3, 1, 3.
VALUES = torch.tensor([[[0.9, 0.1], [0.5, 0.1], [0.5, 0.8], [0.2, 0.1], [1.0, 1.0]]])
WHERE = torch.tensor([[True, True, True, True, False]])
GAP = rank_gap(VALUES, WHERE)


def assert_equals(scores, expected):
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, torch.tensor([expected], dtype=torch.float64), rtol=1e-15, atol=0)


def test_hand_arithmetic_with_ties() -> None:
    assert average_ranks(GAP, WHERE)[0, :4].tolist() == [[1, 3], [2.5, 3], [2.5, 1], [4, 3]]
    # Beaten, and half of those tied with.
    assert_equals(borda_scores(GAP, WHERE), [3 + 2 / 2, (1 + 1 / 2) + 2 / 2, (1 + 1 / 2) + 3, 0 + 2 / 2, 0])
    assert_equals(
        reciprocal_rank_scores(GAP, WHERE), [1 / 61 + 1 / 63, 1 / 62.5 + 1 / 63, 1 / 62.5 + 1 / 61, 1 / 64 + 1 / 63, 0]
    )
    assert_equals(average_rank_scores(GAP, WHERE), [-(1 + 3) / 2, -(2.5 + 3) / 2, -(2.5 + 1) / 2, -(4 + 3) / 2, 0])


def test_a_small_constant_favours_a_first_place() -> None:
    # First and last of five, against twice in the middle.
    values = torch.tensor([[[5.0, 1.0], [3.0, 3.0], [4.0, 2.0], [2.0, 4.0], [1.0, 5.0]]])
    where = torch.ones(1, 5, dtype=torch.bool)
    gap = rank_gap(values, where)
    assert_equals(
        reciprocal_rank_scores(gap, where, c=0.0), [1 + 1 / 5, 1 / 3 + 1 / 3, 1 / 2 + 1 / 4, 1 / 4 + 1 / 2, 1 / 5 + 1]
    )
    assert borda_scores(gap, where).unique().numel() == 1


@pytest.mark.parametrize("rule", RULES)
def test_agrees_with_scipys_ranks(rule, schema, batch_of) -> None:
    batch = batch_of(B=5, N=12)
    pxtr = (batch.pxtr * 4).round() / 4  # many ties
    batch = replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask).to(torch.int16))
    scores = RankAggregation(schema, rule=rule, c=7.0 if rule == "reciprocal_rank" else None)(batch)
    for b, n in enumerate(batch.lengths.tolist()):
        r = torch.from_numpy(rankdata(-pxtr[b, :n].numpy(), method="average", axis=0))
        expected = {
            "borda": (n - r).sum(dim=1),
            "reciprocal_rank": (1 / (7.0 + r)).sum(dim=1),
            "average_rank": -r.mean(dim=1),
        }[rule]
        torch.testing.assert_close(scores[b, :n], expected, rtol=1e-14, atol=0)
        assert (scores[b, n:] == 0).all()
    assert not batch.mask.all()


def test_borda_is_the_average_rank_counted_from_the_end(batch_of) -> None:
    batch = batch_of(B=4)
    K, n = batch.pxtr.shape[2], batch.lengths.unsqueeze(1)
    mean = average_rank_scores(batch.rank_gap, batch.mask)
    expected = (K * (n + mean)).masked_fill(~batch.mask, 0.0)
    torch.testing.assert_close(borda_scores(batch.rank_gap, batch.mask), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_permutation_and_padding_change_no_bit(rule, schema, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    model = RankAggregation(schema, rule=rule)
    scores = model(batch)
    order = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
    shuffled = replace(batch, rank_gap=batch.rank_gap[:, order], mask=batch.mask[:, order])
    assert torch.equal(model(shuffled), scores[:, order])
    more = replace(
        batch,
        rank_gap=torch.cat([batch.rank_gap, batch.rank_gap.new_full((4, 5, 4), 3)], dim=1),
        mask=torch.cat([batch.mask, batch.mask.new_zeros(4, 5)], dim=1),
    )
    assert torch.equal(model(more), torch.cat([scores, scores.new_zeros(4, 5)], dim=1))
    assert torch.equal(model(batch.select(torch.tensor([2]))), scores[2:3])


@pytest.mark.parametrize(("rule", "expected"), [("borda", 0.0), ("reciprocal_rank", 4 / 61), ("average_rank", -1.0)])
def test_a_single_candidate(rule, expected, schema, batch_of) -> None:
    assert RankAggregation(schema, rule=rule)(batch_of(B=1, N=1, full=True)).item() == pytest.approx(expected)


def test_bad_options_are_refused(schema) -> None:
    with pytest.raises(EmerError, match=r"method\.model\.rule is 'rrf'; it must be one of borda, reciprocal_rank"):
        RankAggregation(schema, rule="rrf")
    for c in (-1.0, float("nan"), float("inf")):
        with pytest.raises(EmerError, match=r"method\.model\.c is"):
            RankAggregation(schema, rule="reciprocal_rank", c=c)
    with pytest.raises(EmerError, match=r"method\.model\.c is 60.0, but the rule borda has no such constant"):
        RankAggregation(schema, rule="borda", c=60.0)
