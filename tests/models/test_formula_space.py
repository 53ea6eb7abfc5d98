"""The unit cube of each family: its centre is the hand-set formula, its walls the ranges, its scores the formula's."""

import math

import pytest
import torch

from emer.errors import EmerError
from emer.models.formula_space import FAMILIES, FormulaSpace, SegmentedFormula, segment_column
from emer.models.fusion import FusionFormula
from emer.models.rank_aggregation import average_ranks
from emer.requests import Objective, Schema, Unit

# The test schema has pctr, pvtr in seconds, pltr and pcmtr.
DIMENSIONS = {"power_affine": 8, "power": 4, "log_sum": 8, "rank_reciprocal": 12, "linear": 4, "gated_linear": 3}


@pytest.fixture(params=FAMILIES)
def space(request, schema):
    return FormulaSpace(schema, request.param)


def vectors(space, point):
    return {name: v.tolist() for name, v in space.parameters(torch.tensor(point, dtype=torch.float64)).items()}


def test_every_coordinate_has_a_name(space):
    assert space.D == DIMENSIONS[space.name] == len(set(space.names))
    assert ("weight.pctr" in space.names) == (space.name in ("log_sum", "rank_reciprocal", "linear"))


def test_the_centre_is_the_hand_set_formula(space, schema, batch_of):
    batch = batch_of(B=3, N=9)
    hand_set = FAMILIES[space.name].build(schema)
    torch.testing.assert_close(space.formula(space.centre)(batch), hand_set(batch), rtol=1e-14, atol=0)
    if space.name == "power_affine":
        assert torch.equal(space.formula(space.centre)(batch), FusionFormula.hand_set(schema)(batch))


def test_the_walls_are_the_ranges(schema):
    low, high = (vectors(FormulaSpace(schema, "power_affine"), [x] * 8) for x in (0.0, 1.0))
    assert low["exponent"] == [0.0] * 4 and high["exponent"] == [2.0] * 4
    assert low["log_ratio"][1] == pytest.approx(-math.log(10) - math.log(100))
    assert high["log_ratio"][1] == pytest.approx(-math.log(10) + math.log(100))
    low, high = (vectors(FormulaSpace(schema, "rank_reciprocal"), [x] * 12) for x in (0.0, 1.0))
    assert low["bias"] == pytest.approx([0.6] * 4) and high["bias"] == pytest.approx([6000.0] * 4)
    assert low["weight"] == low["power"] == [0.0] * 4 and high["weight"] == high["power"] == [2.0] * 4
    high = vectors(FormulaSpace(schema, "gated_linear"), [1.0] * 3)
    assert high["weight"] == pytest.approx([0.0, 100 / 10, 100 / 0.01, 100 / 0.01])


def test_scores_of_a_population_are_the_formulas(space, batch_of):
    batch = batch_of(B=3, N=9)
    values = average_ranks(batch.rank_gap, batch.mask) if space.reads_ranks else batch.pxtr
    points = torch.rand(6, space.D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = space.scores(values, points)
    for i in range(6):
        expected = space.formula(points[i])(batch)
        assert torch.equal(together[i].masked_fill(~batch.mask, 0.0), expected)
        assert torch.equal(space.scores(values, points[i]).masked_fill(~batch.mask, 0.0), expected)


def test_each_coordinate_moves_its_own_parameter(space):
    for d, name in enumerate(space.names):
        point = [0.5] * space.D
        point[d] = 0.75
        before, after = vectors(space, [0.5] * space.D), vectors(space, point)
        moved = {
            f"{parameter}.{objective}"
            for parameter in before
            for objective, x, y in zip(space.schema.objective_names, before[parameter], after[parameter], strict=True)
            if x != y
        }
        assert moved == {name}


def test_scores_are_differentiable_in_the_point(space, batch_of):
    batch = batch_of(B=1, N=3, full=True)
    values = average_ranks(batch.rank_gap, batch.mask) if space.reads_ranks else batch.pxtr.double()
    z = torch.linspace(0.3, 0.6, space.D, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: space.scores(values / values.max(), z), z)


@pytest.mark.parametrize("family", ["power_affine", "power", "log_sum", "rank_reciprocal"])
def test_scaling_the_exponents_keeps_the_order(family, schema, batch_of):
    batch = batch_of(B=3, N=9, full=True)
    space = FormulaSpace(schema, family)
    name = "weight" if family in ("log_sum", "rank_reciprocal") else "exponent"
    point = torch.rand(space.D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    half = torch.tensor([x / 2 if n.startswith(name) else x for n, x in zip(space.names, point, strict=True)])
    one, two = space.formula(point)(batch), space.formula(half)(batch)
    torch.testing.assert_close(two, one / 2, rtol=1e-6, atol=1e-6)
    assert torch.equal(one.argsort(dim=1), two.argsort(dim=1))


def test_each_segment_has_its_own_formula(space, batch_of):
    batch = batch_of(B=8, N=9)
    segment = batch.user_categories[:, 0]
    assert segment.unique().numel() > 2
    model = SegmentedFormula(space, category="activity")
    torch.testing.assert_close(model(batch), space.formula(space.centre)(batch))
    model.points[:] = torch.rand(5, space.D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = model(batch)
    for b, s in enumerate(segment.tolist()):
        assert torch.equal(scores[b], space.formula(model.points[s])(batch)[b])
    assert (scores[~batch.mask] == 0).all()
    assert list(model.state_dict()) == ["points"]


def test_what_a_schema_cannot_have_is_refused(schema, batch_of):
    with pytest.raises(EmerError, match=r"method\.formula is 'sum'; it must be one of power_affine, power, log_sum"):
        FormulaSpace(schema, "sum")
    seconds = Schema(objectives=(Objective("pvtr", unit=Unit.SECONDS),))
    with pytest.raises(EmerError, match="gated_linear needs a consumption objective in probability"):
        FormulaSpace(seconds, "gated_linear")
    with pytest.raises(EmerError, match="nothing to tune with one objective"):
        FormulaSpace(Schema(objectives=(Objective("pctr"),)), "gated_linear")
    with pytest.raises(EmerError, match=r"method\.tuner\.segment is 'age'; it must be one of activity"):
        SegmentedFormula(FormulaSpace(schema), category="age")
    with pytest.raises(EmerError, match="must be null: the log has no user categories"):
        segment_column(seconds, "age")
    with pytest.raises(EmerError, match="other objectives or user categories"):
        SegmentedFormula(FormulaSpace(schema), category="activity")(
            batch_of(schema=Schema(objectives=(Objective("pctr"), Objective("b")), feedback=schema.feedback))
        )
