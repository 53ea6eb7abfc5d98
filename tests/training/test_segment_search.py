"""Parameters for each segment of users: they win where tastes differ, and small segments keep those of all."""

import numpy as np
import pytest
import torch

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.models.formula_space import FormulaSpace
from emer.requests import Category, Feedback, Objective, Schema
from emer.training.pair_objective import PairObjective
from emer.training.segment_search import SegmentSearch
from emer.training.tuning import tune

SCHEMA = Schema(
    objectives=(Objective("a", feedback="click"), Objective("b")),
    feedback=(Feedback("click"),),
    user_categories=(Category("age", 3), Category("taste", 5)),
)


def build(requests=240, seed=0):
    """Users of taste 1 click by the first pxtr, those of taste 2 by the second; of taste 4 there are a tenth, and
    nobody has taste 0 or 3."""
    rng = np.random.default_rng(seed)
    n = 8
    taste = np.where(np.arange(requests) % 10 == 0, 4, 1 + np.arange(requests) % 2)
    pxtr = rng.random((requests, n, 2))
    wanted = np.where((taste == 2)[:, None], pxtr[..., 1], pxtr[..., 0])
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.arange(requests + 1) * n,
        request_id=np.arange(requests),
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(requests * n),
        pxtr=pxtr.reshape(-1, 2),
        exposed=np.ones(requests * n, dtype=bool),
        label=(rng.random((requests, n)) < wanted**3).reshape(-1, 1),
        user_categories=np.stack([rng.integers(3, size=requests), taste], axis=1),
    )


def objective(table):
    return PairObjective(table, "label_gauc", FormulaSpace(SCHEMA, "linear"))


def search(table, *, least=50, budget=60, seed=0):
    return SegmentSearch(objective(table), category="taste", least=least, budget=budget, seed=seed)


def finish(search):
    while not search.finished:
        search.step()
    return search


def gauc(table, model):
    """Of a whole table, whichever formula each request gets."""
    goal = objective(table)
    batch = table.batch(np.arange(len(table)))
    used = np.isin(np.arange(len(table)), goal.request)  # requests that have a pair
    score = model(batch)[torch.from_numpy(used)].flatten().numpy()
    assert len(score) == len(goal.values)
    return 0.5 + 0.5 * float((goal.value * np.sign(score[goal.first] - score[goal.second])).sum())


def test_tastes_that_differ_get_formulas_that_differ():
    done = finish(search(build()))
    model, space = done.formula(FormulaSpace(SCHEMA, "linear")), FormulaSpace(SCHEMA, "linear")
    weights = [space.parameters(point)["weight"] for point in model.points]
    assert weights[1][0] > 3 * weights[1][1] and weights[2][1] > 3 * weights[2][0]
    later = build(seed=1)
    one = tune(space, objective(build()), 60).formula(space)
    assert gauc(later, model) > gauc(later, one) + 0.05


def test_the_value_is_that_of_the_formula():
    table = build()
    running = search(table)
    for _ in range(60):
        running.step()
        model = running.formula(FormulaSpace(SCHEMA, "linear"))
        assert running.best_value == pytest.approx(gauc(table, model), abs=1e-12)
    assert running.finished and running.best_value > running.shared.best.value + 0.01


def test_small_segments_keep_the_parameters_of_all():
    done = finish(search(build()))
    assert set(done.own) == {1, 2}
    points = done.formula(FormulaSpace(SCHEMA, "linear")).points
    shared = torch.tensor(done.shared.best.point).double()
    assert all(torch.equal(points[s], shared) for s in (0, 3, 4))
    assert set(finish(search(build(), least=20)).own) == {1, 2, 4}


@pytest.mark.parametrize("budget", [1, 2, 7, 20])
def test_the_budget_counts_passes(budget):
    done = finish(search(build(), budget=budget))
    assert done.spent == budget
    assert done.shared.spent == budget - budget // 2
    assert all(own.spent == budget // 2 for own in done.own.values())


@pytest.mark.parametrize("stop", [1, 6, 10, 11, 17])
def test_stopped_and_restored_equals_uninterrupted(stop):
    table = build()
    whole = finish(search(table, budget=20))
    cut, resumed = search(table, budget=20), search(table, budget=20)
    for _ in range(stop):
        cut.step()
    for _ in range(13):
        resumed.step()  # forgotten by load
    resumed.load(cut.state())
    assert resumed.spent == stop
    assert finish(resumed).state() == whole.state()


def test_what_cannot_be_segmented_is_refused():
    table = build()
    with pytest.raises(EmerError, match=r"no segment of taste has method\.tuner\.segment_requests = 500"):
        search(table, least=500)
    with pytest.raises(EmerError, match=r"segment_requests is 0"):
        search(table, least=0)
    with pytest.raises(EmerError, match=r"method\.tuner\.segment is 'sex'; it must be one of age, taste"):
        SegmentSearch(objective(table), category="sex", least=1, budget=5, seed=0)
    with pytest.raises(EmerError, match="budget is 0"):
        search(table, budget=0)
    foreign = search(table, budget=20)
    state = finish(search(table, budget=20)).state()
    del state["own"]["2"]
    with pytest.raises(EmerError, match="segments are not those of this search"):
        foreign.load(state)
