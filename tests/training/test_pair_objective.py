"""The folded pair list equals the metric it stands for."""

import numpy as np
import pytest
import torch

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.losses import pairwise_logistic_loss
from emer.metrics.request_metrics import RequestMetrics
from emer.models.formula_space import FAMILIES, FormulaSpace
from emer.models.fusion import FusionFormula
from emer.models.rank_aggregation import average_ranks
from emer.requests import Feedback, Objective, Role, Schema, Unit
from emer.training import pair_objective
from emer.training.pair_objective import PairObjective

SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
    ),
    feedback=(Feedback("click"), Feedback("like"), Feedback("follow")),
)


def build(requests=60, longest=12, seed=0):
    """Pxtrs and labels with ties; ``follow`` never happens; some requests expose one candidate or none."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, requests)
    T = int(lengths.sum())
    exposed = rng.random(T) < 0.5
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        request_id=np.arange(requests),
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(T),
        pxtr=np.round(rng.random((T, 3)), 1) * [1, 30, 1],
        exposed=exposed,
        label=(rng.random((T, 3)) < [0.5, 0.1, 0]) & exposed[:, None],
    )


def metric(table, formula, name):
    batch = table.batch(np.arange(len(table)))
    collector = RequestMetrics(table.schema)
    collector.update(formula(batch), batch)
    return collector.compute()[0][f"{name}/mean"]


def points(space, P, seed=0):
    return np.random.default_rng(seed).random((P, space.D))


@pytest.mark.parametrize("name", ["label_gauc", "pxtr_gauc"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_metric(name, family):
    table, space = build(), FormulaSpace(SCHEMA, family)
    some = points(space, 3)
    values = PairObjective(table, name, space)(some)
    for value, point in zip(values, some, strict=True):
        assert value == pytest.approx(metric(table, space.formula(torch.from_numpy(point)), name), abs=1e-12)
    assert len(set(values)) == 3


def test_the_hand_set_formula_stands_at_the_centre():
    table, space = build(), FormulaSpace(SCHEMA)
    (value,) = PairObjective(table, "label_gauc", space)(np.full((1, space.D), 0.5))
    assert value == pytest.approx(metric(table, FusionFormula.hand_set(SCHEMA), "label_gauc"), abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_population_at_once_equals_one_by_one(family, monkeypatch):
    space = FormulaSpace(SCHEMA, family)
    objective = PairObjective(build(), "label_gauc", space)
    population = points(space, 13)
    together = objective(population)
    assert np.array_equal(together, [objective(point[None])[0] for point in population])
    # In parts, too, as a large population is.
    monkeypatch.setattr(pair_objective, "_SCORES_AT_ONCE", 4 * len(objective.values))
    monkeypatch.setattr(pair_objective, "_CACHED_SCORES", 100)
    assert np.array_equal(objective(population), together)


@pytest.mark.parametrize("name", ["label_gauc", "pxtr_gauc"])
def test_a_sample_estimates_the_whole(name, monkeypatch):
    table, space = build(requests=4000), FormulaSpace(SCHEMA)
    some = points(space, 1)
    whole = PairObjective(table, name, space)
    monkeypatch.setattr(pair_objective, "MAX_PAIRS", whole.value.size // 2)
    monkeypatch.setattr(pair_objective, "MAX_CANDIDATES", {"label_gauc": 4, "pxtr_gauc": 4})
    part = PairObjective(table, name, space, seed=1)
    assert 0 < part.value.size <= whole.value.size // 2
    assert part(some)[0] == pytest.approx(whole(some)[0], abs=0.02) and part(some) != whole(some)
    assert PairObjective(table, name, space, seed=1)(some) == part(some)
    assert PairObjective(table, name, space, seed=2)(some) != part(some)


@pytest.mark.parametrize("name", ["label_gauc", "pxtr_gauc"])
@pytest.mark.parametrize("family", ["power_affine", "rank_reciprocal", "gated_linear"])
def test_the_gradient_is_of_the_logistic_loss(name, family):
    """Against central differences of the loss of each target, averaged as the GAUCs are, request by request."""
    table, space = build(), FormulaSpace(SCHEMA, family)
    batch = table.batch(np.arange(len(table)))
    use = batch.exposed if name == "label_gauc" else batch.mask
    targets = batch.label if name == "label_gauc" else batch.pxtr
    values = average_ranks(batch.rank_gap, batch.mask) if space.reads_ranks else batch.pxtr

    def loss(point):
        scores = space.scores(values, torch.from_numpy(point))
        each = pairwise_logistic_loss(scores, targets, where=use, reduction="per_objective")
        weight = use.sum(dim=1, keepdim=True) * (each > 0)
        members = (weight > 0).sum(dim=0) >= min(30, (weight > 0).sum(dim=0).max())
        return float(((each * weight).sum(dim=0) / weight.sum(dim=0))[members].mean())

    objective = PairObjective(table, name, space)
    point = points(space, 1)[0]
    gradient = objective.gradient(point)
    for d in range(space.D):
        step = np.zeros(space.D)
        step[d] = 1e-5
        assert gradient[d] == pytest.approx(-(loss(point + step) - loss(point - step)) / 2e-5, abs=1e-9, rel=1e-4)
    assert np.abs(gradient).max() > 1e-5


def test_parts_of_the_requests_add_up():
    table, space = build(), FormulaSpace(SCHEMA, "rank_reciprocal")
    whole, some = PairObjective(table, "label_gauc", space), points(space, 4)
    group = np.arange(len(table)) % 3
    parts = [whole.restricted(group == g) for g in range(3)]
    assert all(0 < part.value.size < whole.value.size for part in parts)
    np.testing.assert_allclose(0.5 + sum(part(some) - 0.5 for part in parts), whole(some), rtol=0, atol=1e-12)
    total = sum(part.gradient(some[0]) for part in parts)
    np.testing.assert_allclose(total, whole.gradient(some[0]), rtol=0, atol=1e-12)


def test_what_cannot_be_tuned_for_is_refused():
    table = build()
    with pytest.raises(EmerError, match="cannot be tuned for 'auc'; choose label_gauc or pxtr_gauc"):
        PairObjective(table, "auc", FormulaSpace(SCHEMA))
    one = build(longest=1)
    with pytest.raises(EmerError, match="with and without the same feedback"):
        PairObjective(one, "label_gauc", FormulaSpace(SCHEMA))
    with pytest.raises(EmerError, match="the same for all candidates"):
        PairObjective(one, "pxtr_gauc", FormulaSpace(SCHEMA))
