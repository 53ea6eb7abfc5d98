"""The formulas F2-F5 against products, hand arithmetic and scipy's ranks, and their named parameters."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import rankdata

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.models.fusion_families import (
    LinearFormula,
    LogSumFormula,
    PowerFormula,
    RankReciprocalFormula,
    gated_linear_scores,
    linear_scores,
    log_sum_scores,
    power_scores,
    rank_reciprocal_scores,
)
from emer.models.rank_aggregation import RankAggregation, average_ranks
from emer.ranking import rank_gap
from emer.requests import Objective, Schema

# The test schema has pctr, pvtr in seconds, pltr and pcmtr.
FORMULAS = {
    "power": lambda schema: PowerFormula(schema, exponent={"pctr": 2.0, "pltr": -0.7}),
    "log_sum": lambda schema: LogSumFormula(schema, weight={"pcmtr": -0.3}, bias={"pvtr": 4.0}),
    "rank_reciprocal": lambda schema: RankReciprocalFormula(
        schema, weight={"pltr": 3.0}, power={"pctr": 0.5, "pvtr": 2.0}, bias={"pcmtr": 0.0}
    ),
    "linear": lambda schema: LinearFormula(schema, weight={"pltr": 0.37, "pcmtr": -1.1}),
    "gated_linear": lambda schema: LinearFormula(schema, weight={"pltr": 0.37, "pctr": 0.2}, gate="pctr"),
}


@pytest.fixture(params=FORMULAS)
def formula(request, schema):
    return FORMULAS[request.param](schema)


def read_by(formula, batch):
    return average_ranks(batch.rank_gap, batch.mask) if formula.reads_ranks else batch.pxtr


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(actual, expected):
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


def test_power_is_the_log_of_the_product() -> None:
    p = double([0.5, 20.0, 0.25], [0.2, 3.0, 1.0])
    close(
        power_scores(p, double(2.0, 0.5, -1.0)),
        double(math.log(0.5**2 * 20**0.5 / 0.25), math.log(0.2**2 * 3**0.5 / 1.0)),
    )


def test_power_counts_a_pxtr_of_nothing_as_the_floor() -> None:
    p = double([0.0, 0.5], [1e-9, 0.5], [1e-2, 0.5])
    scores = power_scores(p, double(2.0, 1.0), floor=1e-3)
    close(scores, double(*(2 * math.log(x) + math.log(0.5) for x in (1e-3, 1e-3, 1e-2))))
    # Exponent 0 leaves the objective out, also where the pxtr is 0.
    close(power_scores(p, double(0.0, 1.0)), double(*[math.log(0.5)] * 3))


def test_the_floor_of_the_power_formula_is_an_option(schema, batch_of) -> None:
    batch = batch_of(B=1, N=3, full=True)
    nothing = replace(batch, pxtr=torch.zeros_like(batch.pxtr))
    close(PowerFormula(schema, floor=1e-3)(nothing), torch.full((1, 3), 4 * math.log(1e-3), dtype=torch.float64))


def test_power_survives_where_the_product_underflows() -> None:
    p = torch.full((1, 8), 1e-3, dtype=torch.float16)
    assert p.prod() == 0
    assert power_scores(p, torch.ones(8)).item() == pytest.approx(8 * math.log(float(p[0, 0])))


def test_log_sum_by_hand() -> None:
    p = double([0.5, 20.0], [0.0, 3.0])
    scores = log_sum_scores(p, double(2.0, -0.5), double(0.25, 5.0))
    close(scores, double(2 * math.log(0.75) - 0.5 * math.log(25), 2 * math.log(0.25) - 0.5 * math.log(8)))


def test_rank_reciprocal_by_hand() -> None:
    # Values 5, 3, 3, 1 have the ranks 1, 2.5, 2.5, 4.
    ranks = double([1.0, 4.0], [2.5, 1.0], [2.5, 2.0], [4.0, 3.0])
    scores = rank_reciprocal_scores(ranks, double(1.0, 6.0), double(2.0, 0.5), double(0.0, 1.0))
    expected = [1 / 1 + 6 / (2 + 1), 1 / 6.25 + 6 / (1 + 1), 1 / 6.25 + 6 / (2**0.5 + 1), 1 / 16 + 6 / (3**0.5 + 1)]
    close(scores, double(*expected))


def test_linear_and_gated_linear_by_hand() -> None:
    p = double([0.5, 20.0, 0.25], [0.1, 3.0, 1.0])
    w = double(0.0, 0.1, -2.0)
    close(linear_scores(p, w), double(2.0 - 0.5, 0.3 - 2.0))
    close(gated_linear_scores(p, w, 0), double(0.5 * (1 + 1.5), 0.1 * (1 - 1.7)))
    close(gated_linear_scores(p, w, 2), double(0.25 * (1 + 1.5), 1.0 * (1 - 1.7)))
    # The gate's own weight counts.
    close(gated_linear_scores(p, double(4.0, 0.1, -2.0), 0), double(0.5 * (1 + 2 + 1.5), 0.1 * (1 + 0.4 - 1.7)))


def test_rank_reciprocal_ranks_as_scipy_does(schema, batch_of) -> None:
    batch = batch_of(B=4, N=12)
    pxtr = (batch.pxtr * 4).round() / 4  # many ties
    batch = replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))
    w, power, bias = [1.0, -2.0, 0.5, 3.0], [1.0, 0.3, 2.0, 0.0], [60.0, 0.0, 1.5, 2.0]
    named = [dict(zip(schema.objective_names, values, strict=True)) for values in (w, power, bias)]
    scores = RankReciprocalFormula(schema, weight=named[0], power=named[1], bias=named[2])(batch)
    for b, n in enumerate(batch.lengths.tolist()):
        r = torch.from_numpy(rankdata(-pxtr[b, :n].numpy(), method="average", axis=0))
        close(scores[b, :n], (double(*w) / (r ** double(*power) + double(*bias))).sum(dim=1))


def test_a_population_is_scored_at_once(formula, batch_of) -> None:
    batch = batch_of(B=3, N=9)
    rng = torch.Generator().manual_seed(0)
    population = {
        name: torch.rand(7, 4, generator=rng, dtype=torch.float64) + 0.1 for name in formula.parameter_vectors
    }
    together = formula.scores(read_by(formula, batch), population)
    assert together.shape == (7, 3, 9) and together.dtype == torch.float64
    for i in range(7):
        formula.set_parameters({name: values[i].tolist() for name, values in population.items()})
        assert torch.equal(together[i].masked_fill(~batch.mask, 0.0), formula(batch))
    assert together[:, batch.mask].unique(dim=0).shape[0] == 7


def test_every_parameter_of_every_objective_counts(formula, batch_of) -> None:
    batch = batch_of(B=2, N=9)
    before = formula(batch)
    for name, values in formula.parameter_vectors.items():
        for k in range(4):
            changed = values.clone()
            changed[k] += 0.5
            moved = (formula.scores(read_by(formula, batch), formula.parameter_vectors | {name: changed}) - before)[
                batch.mask
            ]
            assert moved.abs().max() > 1e-4, (name, k)


@pytest.mark.parametrize("N", [1, 2, 3, 5, 8, 17, 64, 101])
def test_no_bit_depends_on_the_batch(formula, batch_of, N) -> None:
    """Each candidate, whatever its place in a vector register, scores as it does among others."""
    batch = batch_of(B=3, N=max(N, 3))
    scores = formula(batch)
    order = torch.randperm(max(N, 3), generator=torch.Generator().manual_seed(1))
    per_candidate = ("pxtr", "rank_gap", "mask")
    shuffled = replace(batch, **{name: getattr(batch, name)[:, order] for name in per_candidate})
    assert torch.equal(formula(shuffled), scores[:, order])
    for b in range(3):
        assert torch.equal(formula(batch.select(torch.tensor([b]))), scores[b : b + 1])
    fill = {"pxtr": 0.5, "rank_gap": 3, "mask": False}
    more = replace(
        batch,
        **{
            name: torch.cat([x, torch.full((3, 5, *x.shape[2:]), fill[name], dtype=x.dtype)], dim=1)
            for name, x in ((name, getattr(batch, name)) for name in per_candidate)
        },
    )
    assert torch.equal(formula(more), torch.cat([scores, scores.new_zeros(3, 5)], dim=1))


def test_the_families_meet(schema, batch_of) -> None:
    """F3 is F1 up to a constant, F2 the limit of F3 for small beta, F4 with its hand-set values is RRF."""
    batch = batch_of(B=2, N=9, full=True)

    def centred(scores):
        return scores - scores.mean(dim=1, keepdim=True)

    close(centred(LogSumFormula(schema)(batch)), centred(FusionFormula.hand_set(schema)(batch)))
    c = {"pctr": 1.5, "pvtr": 0.2, "pltr": -1.0, "pcmtr": 0.0}
    tiny = LogSumFormula(schema, weight=c, bias=dict.fromkeys(c, 1e-12))
    torch.testing.assert_close(tiny(batch), PowerFormula(schema, exponent=c)(batch), rtol=0, atol=1e-6)
    rrf = RankAggregation(schema, rule="reciprocal_rank")
    close(RankReciprocalFormula(schema)(batch), rrf(batch))


def test_hand_set_values_count_in_typical_magnitudes(schema, batch_of) -> None:
    batch = batch_of(B=1, N=3, full=True)
    typical = replace(batch, pxtr=torch.tensor([0.3, 10.0, 0.01, 0.01]).expand(1, 3, 4).contiguous())
    torch.testing.assert_close(LinearFormula(schema)(typical), torch.full((1, 3), 4.0).double(), rtol=1e-6, atol=0)
    gated = LinearFormula(schema, gate="pctr")(typical)
    torch.testing.assert_close(gated, torch.full((1, 3), 0.3 * (1 + 3)).double(), rtol=1e-6, atol=0)
    plain = PowerFormula(schema)(typical)
    expected = math.log(0.3 * 10 * 0.01 * 0.01)
    torch.testing.assert_close(plain, torch.full((1, 3), expected).double(), rtol=1e-6, atol=0)


def test_extreme_parameters_stay_finite(schema, batch_of) -> None:
    batch = batch_of(B=2, N=9)
    steep = RankReciprocalFormula(schema, power=dict.fromkeys(schema.objective_names, 1e6))
    assert torch.isfinite(steep(batch)).all()
    zero = replace(batch, pxtr=torch.zeros_like(batch.pxtr))
    for name in ("power", "log_sum", "linear", "gated_linear"):
        assert torch.isfinite(FORMULAS[name](schema)(zero)).all()


def test_parameters_are_buffers_that_travel_with_the_state(formula, schema, batch_of) -> None:
    batch = batch_of()
    assert not list(formula.parameters())
    state = copy.deepcopy(formula.state_dict())
    assert set(state) == set(formula.parameter_vectors)
    before = formula(batch)
    formula.set_parameters({name: [0.25] * 4 for name in state})
    assert not torch.equal(formula(batch), before)
    formula.load_state_dict(state)
    assert torch.equal(formula(batch), before)


def test_hostile_parameters_are_refused(schema, batch_of) -> None:
    with pytest.raises(EmerError, match=r"method\.model\.exponent names pxyz; the objectives are pctr, pvtr"):
        PowerFormula(schema, exponent={"pxyz": 1.0})
    with pytest.raises(EmerError, match=r"method\.model\.weight\.pltr is nan"):
        LinearFormula(schema, weight={"pltr": math.nan})
    with pytest.raises(EmerError, match=r"method\.model\.bias\.pctr is 0\.0"):
        LogSumFormula(schema, bias={"pctr": 0.0})
    for key in ("power", "bias"):
        with pytest.raises(EmerError, match=rf"method\.model\.{key}\.pctr is -0\.1; it must be between 0 and"):
            RankReciprocalFormula(schema, **{key: {"pctr": -0.1}})
    for floor in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(EmerError, match=r"method\.model\.floor is"):
            PowerFormula(schema, floor=floor)
    with pytest.raises(EmerError, match=r"method\.model\.gate is click; the objectives are"):
        LinearFormula(schema, gate="click")
    formula = LinearFormula(schema)
    with pytest.raises(EmerError, match="3 values for 4 objectives"):
        formula.set_parameters({"weight": [1.0] * 3})
    with pytest.raises(EmerError, match="LinearFormula has no parameter bias; it has weight"):
        formula.set_parameters({"bias": [1.0] * 4})
    with pytest.raises(EmerError, match="the formula is for the objectives pctr, but the request log has"):
        LinearFormula(Schema(objectives=(Objective("pctr"),)))(batch_of())


def test_a_refused_set_of_parameters_changes_nothing(schema) -> None:
    formula = LogSumFormula(schema)
    before = copy.deepcopy(formula.state_dict())
    with pytest.raises(EmerError):
        formula.set_parameters({"weight": [5.0] * 4, "bias": [-1.0] * 4})
    assert all(torch.equal(before[name], value) for name, value in formula.state_dict().items())


def test_a_mismatch_of_objectives_is_an_error() -> None:
    p, three = torch.rand(2, 5, 4), torch.ones(3)
    for call in (
        lambda: power_scores(p, three),
        lambda: log_sum_scores(p, three, torch.ones(4)),
        lambda: log_sum_scores(p, torch.ones(4), three),
        lambda: rank_reciprocal_scores(p, torch.ones(4), three, torch.ones(4)),
        lambda: linear_scores(p, three),
    ):
        with pytest.raises(ValueError):
            call()
