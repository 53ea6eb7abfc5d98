"""The fusion formula against the product itself, and its invariances."""

import copy
import math

import numpy as np
import pytest
import torch

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.models.fusion import FusionFormula, fusion_scores
from emer.requests import Objective, Role, Schema, Unit

SCHEMA = Schema(
    objectives=(
        Objective("pctr"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION),
        Objective("pwtr", role=Role.INTERACTION),
    )
)
NAMES = SCHEMA.objective_names


def table(lengths=(5, 3, 1), seed=0):
    rng = np.random.default_rng(seed)
    R, T = len(lengths), sum(lengths)
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        request_id=np.arange(R),
        user_id=np.arange(R),
        time_ms=np.arange(R),
        item_id=np.arange(T),
        pxtr=rng.random((T, 4)) * [1, 30, 0.05, 1e-3],
        exposed=np.zeros(T, dtype=bool),
    )


A, B, C = [0.5, 2.0, 1.0, 0.1], [1.5, 0.1, 30.0, 200.0], [1.0, 0.5, 2.0, -0.7]


def test_equals_the_log_of_the_product_in_float64():
    batch = table().batch([0, 1, 2])
    scores = FusionFormula.from_affine(NAMES, A, B, C)(batch)
    p = batch.pxtr.double()
    product = torch.ones_like(scores)
    for k in range(4):
        product *= (A[k] + B[k] * p[..., k]) ** C[k]
    constant = sum(c * math.log(a) for a, c in zip(A, C, strict=True))
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores[batch.mask], product.log()[batch.mask] - constant, rtol=1e-12, atol=1e-12)
    assert (scores[~batch.mask] == 0).all() and (~batch.mask).any()


def test_a_plain_power_product_is_the_limit():
    batch = table().batch([0])
    scores = FusionFormula(NAMES, [60.0] * 4, C)(batch)
    powers = (batch.pxtr.double().log() * torch.tensor(C, dtype=torch.float64)).sum(dim=-1)
    torch.testing.assert_close(scores - scores[:, :1], powers - powers[:, :1], rtol=0, atol=1e-9)


def test_scaling_the_exponents_scales_the_scores():
    batch = table().batch([0, 1])
    one = FusionFormula.from_affine(NAMES, A, B, C)(batch)
    four = FusionFormula.from_affine(NAMES, A, B, [4 * c for c in C])(batch)
    torch.testing.assert_close(four, 4 * one, rtol=1e-14, atol=0)


def test_scaling_a_and_b_together_changes_nothing():
    batch = table().batch([0, 1])
    one = FusionFormula.from_affine(NAMES, A, B, C)(batch)
    factor = [3.0, 0.2, 7.0, 1e-6]
    scaled = [[x * f for x, f in zip(values, factor, strict=True)] for values in (A, B)]
    torch.testing.assert_close(FusionFormula.from_affine(NAMES, *scaled, C)(batch), one, rtol=1e-12, atol=1e-14)


def test_permuting_candidates_permutes_scores_and_padding_changes_no_bit():
    log = table(lengths=(5, 3, 40))
    formula = FusionFormula.from_affine(NAMES, A, B, C)
    alone, padded = formula(log.batch([1])), formula(log.batch([2, 1]))
    assert torch.equal(alone[0], padded[1, :3])
    batch = log.batch([0])
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = fusion_scores(batch.pxtr[:, order], formula.log_ratio, formula.exponent)
    assert torch.equal(shuffled, formula(batch)[:, order])


def test_a_population_is_scored_at_once():
    batch = table().batch([0, 1])
    rng = torch.Generator().manual_seed(0)
    u, c = torch.randn(7, 4, generator=rng).double(), torch.rand(7, 4, generator=rng).double()
    together = fusion_scores(batch.pxtr, u, c)
    assert together.shape == (7, 2, 5)
    for i in range(7):
        assert torch.equal(together[i], fusion_scores(batch.pxtr, u[i], c[i]))


def test_zero_and_tiny_pxtrs_are_finite():
    pxtr = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e-38, 1e-30, 1e-20, 1.0]])
    scores = fusion_scores(pxtr, torch.full((4,), 100.0), torch.ones(4))
    assert torch.isfinite(scores).all() and scores[0] == 0 and scores[1] > 0


def test_hand_set_counts_in_typical_magnitudes():
    formula = FusionFormula.hand_set(SCHEMA)
    typical = torch.tensor([[0.3, 10.0, 0.01, 0.01]])
    score = fusion_scores(typical.double(), formula.log_ratio, formula.exponent).item()
    assert score == pytest.approx(4 * math.log(2), rel=1e-6)
    # A user who never comments or follows: their tiny pxtrs leave the order to the others.
    quiet = torch.tensor([[0.3, 10.0, 1e-6, 1e-5], [0.31, 10.0, 1e-7, 1e-6]], dtype=torch.float64)
    low, high = fusion_scores(quiet, formula.log_ratio, formula.exponent).tolist()
    assert high > low


def test_parameters_are_buffers_that_travel_with_the_state():
    formula = FusionFormula.from_affine(NAMES, A, B, C)
    assert not list(formula.parameters())
    other = FusionFormula.hand_set(SCHEMA)
    other.load_state_dict(copy.deepcopy(formula.state_dict()))
    batch = table().batch([0])
    assert torch.equal(other(batch), formula(batch))
    other.set_parameters([0.0] * 4, [1.0] * 4)
    torch.testing.assert_close(other(batch), torch.log1p(batch.pxtr.double()).sum(dim=-1))


def test_foreign_objectives_and_bad_parameters_are_refused():
    with pytest.raises(EmerError, match="is for the objectives pctr, pvtr, pltr, but the request log has"):
        FusionFormula(NAMES[:3], [0.0] * 3, [1.0] * 3)(table().batch([0]))
    with pytest.raises(EmerError, match=r"4 objectives .* but 3 values of exponent"):
        FusionFormula(NAMES, [0.0] * 4, [1.0] * 3)
    with pytest.raises(EmerError, match=r"log_ratio .* must be finite"):
        FusionFormula(NAMES, [0.0, 0.0, math.inf, 0.0], [1.0] * 4)
    with pytest.raises(EmerError, match="set its exponent c to 0"):
        FusionFormula.from_affine(NAMES, A, [1.0, 0.0, 1.0, 1.0], C)
