from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from emer.models.features import CandidateFeatures
from emer.models.ranker import AttentionBlock, EmerRanker
from emer.ranking import rank_gap


def permuted(batch, order):
    """The batch with its candidates in another order."""
    N = batch.mask.shape[1]
    changed = {}
    for f in fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, Tensor) and value.dim() >= 2 and value.shape[1] == N and "categories" not in f.name:
            changed[f.name] = value[:, order]
    changed["item_categories"] = batch.item_categories[:, order]
    return replace(batch, **changed)


def padded(batch, extra):
    """The batch with ``extra`` columns of padding, filled with what must not be read."""
    N = batch.mask.shape[1]
    changed = {}
    for f in fields(batch):
        value = getattr(batch, f.name)
        if (
            isinstance(value, Tensor)
            and value.dim() >= 2
            and value.shape[1] == N
            and f.name
            not in (
                "user_categories",
                "context_categories",
            )
        ):
            filler = torch.zeros(value.shape[0], extra, *value.shape[2:], dtype=value.dtype)
            if f.name in ("pxtr", "item_numbers"):
                filler += 0.5
            changed[f.name] = torch.cat([value, filler], dim=1)
    return replace(batch, **changed)


@pytest.fixture(params=[True, False], ids=["comparison", "no_comp"])
def ranker(request, schema):
    torch.manual_seed(0)
    return EmerRanker(schema, width=16, heads=2, feedforward=32, head_width=8, comparison=request.param).eval()


def test_permuting_candidates_permutes_scores(ranker, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ranker(permuted(batch, order)), ranker(batch)[:, order], rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(ranker, batch_of) -> None:
    batch = batch_of(B=4, N=9)
    scores = ranker(batch)
    more = ranker(padded(batch, 5))
    torch.testing.assert_close(more[:, :9], scores, rtol=1e-4, atol=1e-6)
    assert torch.equal(more[:, 9:], torch.zeros(4, 5))


def test_no_comp_scores_each_candidate_alone(schema, batch_of) -> None:
    """Changing one candidate must not move the others; with comparison it must."""
    batch = batch_of(B=1, N=6, full=True)
    pxtr = batch.pxtr.clone()
    pxtr[0, 0] = torch.tensor([0.99, 55.0, 0.99, 0.99])
    changed = replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))
    for comparison in (True, False):
        torch.manual_seed(0)
        model = EmerRanker(schema, width=16, heads=2, comparison=comparison).eval()
        moved = (model(changed) - model(batch))[0, 1:].abs().max().item()
        assert (moved > 1e-5) is comparison
        assert (moved == 0) is not comparison


def test_no_comp_really_removes_attention_and_keeps_the_size(schema) -> None:
    full, alone = EmerRanker(schema), EmerRanker(schema, comparison=False)
    assert any(isinstance(m, AttentionBlock) for m in full.modules())
    assert not any(isinstance(m, AttentionBlock) for m in alone.modules())
    assert not alone.features.use_rank
    sizes = [sum(p.numel() for p in model.parameters()) for model in (full, alone)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_inputs_can_be_switched_off(schema) -> None:
    K = len(schema.objectives)
    both = CandidateFeatures(schema, use_pxtr=True, use_rank=True, embedding_width=4).width
    assert both == 2 * K + 1 + 3 * 4
    assert CandidateFeatures(schema, use_pxtr=False, use_rank=True, embedding_width=4).width == both - K


def test_fit_standardises_over_valid_candidates(schema, batch_of) -> None:
    batch = batch_of(B=6, N=9)
    features = CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=4)
    features.fit(batch)
    K = len(schema.objectives)
    numbers = features(batch)[batch.mask][:, : K + 1]
    torch.testing.assert_close(numbers.mean(0), torch.zeros(K + 1), rtol=0, atol=1e-5)
    torch.testing.assert_close(numbers.std(0, correction=0), torch.ones(K + 1), rtol=1e-4, atol=0)


def test_extreme_pxtrs_are_finite(schema, batch_of) -> None:
    batch = batch_of(B=2, N=5, full=True)
    pxtr = torch.zeros_like(batch.pxtr)
    pxtr[:, :2] = 1.0
    pxtr[:, 0, schema.watch_index] = 1e6
    model = EmerRanker(schema, width=16, heads=2)
    assert torch.isfinite(model(replace(batch, pxtr=pxtr))).all()


def test_a_single_candidate_gets_a_finite_score(schema, batch_of) -> None:
    batch = batch_of(B=2, N=1, full=True)
    assert torch.isfinite(EmerRanker(schema, width=16, heads=2)(batch)).all()


def test_width_must_be_a_multiple_of_heads(schema) -> None:
    with pytest.raises(ValueError, match="multiple"):
        EmerRanker(schema, width=10, heads=4)
