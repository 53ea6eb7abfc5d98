"""Every algorithm finds the optimum of a known toy within the budget, spends all of it, and resumes exactly."""

import numpy as np
import pytest

from emer.errors import EmerError
from emer.models.formula_space import FormulaSpace
from emer.requests import Objective, Schema
from emer.training.model_search import Gradient
from emer.training.population_search import CrossEntropy, DifferentialEvolution, GridSearch
from emer.training.search import ALGORITHMS, Search, Trial
from emer.training.tuning import tune

OPTIMUM = np.array([0.8, 0.3])


class Toy:
    """Largest, 0, at :data:`OPTIMUM`; counts what it is asked."""

    def __init__(self):
        self.points, self.gradients = [], 0

    def __call__(self, points):
        self.points += points.tolist()
        return -((points - OPTIMUM) ** 2) @ np.array([1.0, 4.0])

    def gradient(self, point):
        self.gradients += 1
        return -2 * (point - OPTIMUM) * np.array([1.0, 4.0])


class Flat(Toy):
    def __call__(self, points):
        return np.full(len(points), 0.5)

    def gradient(self, point):
        return np.zeros(2)


def search(algorithm, *, budget=None, seed=0, toy=None, D=2):
    if budget is None:
        budget = 30 if algorithm == "gp" else 100
    return Search(algorithm, toy or Toy(), start=np.full(D, 0.5), budget=budget, seed=seed)


def finish(search):
    while not search.finished:
        assert search.step()
    return search


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return request.param


def test_reaches_the_optimum(algorithm):
    """From 0.25 at the start to 0.005: 50 times closer; random search, the control, to 0.05."""
    values = [finish(search(algorithm, seed=seed)).best.value for seed in range(1 if algorithm == "gp" else 3)]
    assert min(values) > (-0.05 if algorithm == "random" else -0.005)
    assert search(algorithm).step()[0].value == pytest.approx(-(0.3**2) - 4 * 0.2**2)


def test_spends_the_whole_budget_and_no_more(algorithm):
    budgets = (5, 37) if algorithm == "gp" else (5, 37, 100)
    for budget in budgets:
        toy = Toy()
        done = finish(search(algorithm, budget=budget, toy=toy))
        price = 4 if algorithm == "gradient" else 1
        assert len(done.trials) == len(toy.points) == budget // price
        assert done.spent == len(toy.points) + 3 * toy.gradients == budget // price * price
        assert toy.gradients == (budget // 4 if algorithm == "gradient" else 0)
        assert done.step() == []
        assert [list(t.point) for t in done.trials] == toy.points


def test_starts_at_the_start_and_stays_in_the_cube(algorithm):
    corner = Search(algorithm, Toy(), start=np.array([0.99, 0.01]), budget=40, seed=1)
    points = np.array([t.point for t in finish(corner).trials])
    assert points[0].tolist() == [0.99, 0.01]
    assert (points >= 0).all() and (points <= 1).all()
    assert len(np.unique(points, axis=0)) > 0.9 * len(points)


@pytest.mark.slow
def test_stopped_and_restored_equals_uninterrupted(algorithm):
    whole = finish(search(algorithm, budget=60 if algorithm != "gp" else 20, seed=4))
    for stop in (0, 1, 7, len(whole.trials) - 1):
        resumed = search(algorithm, budget=whole.budget, seed=4)
        resumed.step()  # forgotten by load
        resumed.load(whole.state()[:stop])
        assert resumed.trials == whole.trials[:stop]
        assert finish(resumed).trials == whole.trials


def test_generations_may_be_cut_anywhere(algorithm):
    whole = finish(search(algorithm, budget=20, seed=2))
    one_by_one = search(algorithm, budget=20, seed=2)
    while not one_by_one.finished:
        assert len(one_by_one.step(1)) == 1
    assert one_by_one.trials == whole.trials


def test_the_seed_decides(algorithm):
    first, again, other = (finish(search(algorithm, budget=20, seed=s)).trials for s in (1, 1, 2))
    assert first == again
    if algorithm == "gradient":
        assert first == other  # nothing is drawn
    elif algorithm != "grid":
        assert first[1:] != other[1:]


def test_one_dimension_and_many(algorithm):
    class Bowl(Toy):
        def __call__(self, points):
            return -((points - 0.9) ** 2).sum(axis=1)

        def gradient(self, point):
            return -2 * (point - 0.9)

    for D in (1, 5):
        done = finish(search(algorithm, budget=40, toy=Bowl(), D=D))
        assert done.best.value > done.trials[0].value


def test_a_flat_objective_does_no_harm(algorithm):
    assert finish(search(algorithm, budget=24, toy=Flat())).best.value == 0.5


def test_grids_zoom_in_on_the_best():
    grid = GridSearch(np.full(2, 0.5), 100, 0)
    assert grid.levels == 5  # 3 rounds of 25 in 99
    grid.tell(np.full((1, 2), 0.5), np.array([-9.0]), None)
    first = grid.ask()
    assert sorted(set(first[:, 0].round(9))) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    grid.tell(first, -np.abs(first - [0.7, 0.9]).sum(axis=1), None)
    second = grid.ask()
    # 1.5 cells of 0.2 wide: around 0.7, and against the wall beside 0.9.
    assert sorted(set(second[:, 0].round(9))) == pytest.approx([0.58, 0.64, 0.7, 0.76, 0.82])
    assert sorted(set(second[:, 1].round(9))) == pytest.approx([0.73, 0.79, 0.85, 0.91, 0.97])
    assert GridSearch(np.full(6, 0.5), 193, 0).levels == 2


def test_cem_moves_to_its_elites():
    cem = CrossEntropy(np.full(2, 0.5), 10_000, 0)
    assert cem.population == 64
    cem.tell(np.full((1, 2), 0.5), np.zeros(1), None)
    points = np.linspace(0.0, 1.0, 128).reshape(64, 2)
    cem.tell(points, points[:, 0], None)
    elites = points[-10:]
    draws = np.random.default_rng([0, 2]).standard_normal((64, 2))
    mean = 0.3 * 0.5 + 0.7 * elites.mean(axis=0)
    deviation = 0.3 * 0.3 + 0.7 * elites.std(axis=0) + 0.05 * (1 - 1 / 30)
    np.testing.assert_allclose(cem.ask(), np.clip(mean + deviation * draws, 0, 1), rtol=1e-12)


def test_differential_evolution_replaces_only_by_better_children():
    de = DifferentialEvolution(np.full(2, 0.5), 1000, 0)
    assert de.population == 20
    de.tell(np.full((1, 2), 0.5), np.array([7.0]), None)
    others = de.ask()
    assert others.shape == (19, 2)
    de.tell(others, np.zeros(19), None)
    members = np.concatenate([np.full((1, 2), 0.5), others])
    children = de.ask()
    assert children.shape == (20, 2)
    # Every child differs from its parent in one coordinate at least, nine tenths of them in both.
    assert (children != members).any(axis=1).all() and (children != members).mean() > 0.75
    de.tell(children, np.where(np.arange(20) < 10, 1.0, -1.0), None)
    expected = np.where((np.arange(20) < 10)[:, None], children, members)
    expected[0] = 0.5  # 7 is larger than 1
    assert np.array_equal(de._members, expected)


def test_adam_by_hand():
    adam = Gradient(np.full(2, 0.5), 40, 0)
    adam.tell(adam.ask(), np.zeros(1), np.array([[3.0, -0.2]]))
    step = 0.1 * (1 - 1 / 10)  # ten steps of 4
    np.testing.assert_allclose(adam.ask(), [[0.5 + step, 0.5 - step]], atol=1e-9)
    adam.tell(adam.ask(), np.zeros(1), np.array([[-1.0, -0.2]]))
    first = (0.9 * 0.1 * 3.0 + 0.1 * -1.0) / (1 - 0.9**2)
    second = (0.99 * 0.01 * 9.0 + 0.01 * 1.0) / (1 - 0.99**2)
    step2 = 0.1 * (1 - 2 / 10)
    np.testing.assert_allclose(adam.ask(), [[0.5 + step + step2 * first / second**0.5, 0.5 - step - step2]], atol=1e-9)


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(EmerError, match=r"method\.tuner\.algorithm is 'sgd'; it must be one of grid, random, cem"):
        search("sgd")
    with pytest.raises(EmerError, match="budget is 0 trials"):
        search("cem", budget=0)
    with pytest.raises(EmerError, match="n_trials is 3; a step of the algorithm gradient costs 4"):
        search("gradient", budget=3)
    four = FormulaSpace(Schema(objectives=tuple(Objective(f"p{k}") for k in range(4))))
    with pytest.raises(EmerError, match="algorithm is grid, but the log has 4 objectives"):
        tune(four, Toy(), 50, algorithm="grid")
    # 2 levels for each of 5 parameters, and the start; less would try some corners of the cube alone.
    assert len(finish(search("grid", budget=33, D=5, toy=Flat())).trials) == 33
    with pytest.raises(EmerError, match=r"method\.tuner\.n_trials is 32, and the algorithm grid needs at least 33"):
        search("grid", budget=32, D=5)
    foreign = search("cem")
    with pytest.raises(EmerError, match="the checkpoint's trials are not those of this search"):
        foreign.restore([Trial((0.5, 0.5), 0.0), Trial((0.1, 0.2), 0.0)])
