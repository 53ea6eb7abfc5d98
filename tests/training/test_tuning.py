"""One call tunes any family by any algorithm; what it finds generalises and is kept."""

import json
import math

import numpy as np
import pytest
import torch

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.models import formula_space
from emer.models.formula_space import FAMILIES, FormulaSpace
from emer.requests import Feedback, Objective, Role, Schema, Unit
from emer.training.pair_objective import PairObjective
from emer.training.search import ALGORITHMS
from emer.training.tuning import tune_formula

SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
    ),
    feedback=(Feedback("click"), Feedback("like")),
)


def build(requests=300, seed=0):
    """Clicks follow pctr, likes follow pltr; pvtr is noise that a tuned formula must ignore."""
    rng = np.random.default_rng(seed)
    n = 8
    T = requests * n
    pxtr = rng.random((T, 3)) * [1, 30, 0.1]
    label = rng.random((T, 2)) < pxtr[:, [0, 2]] * [1, 8]
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.arange(requests + 1) * n,
        request_id=np.arange(requests),
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(T),
        pxtr=pxtr,
        exposed=np.ones(T, dtype=bool),
        label=label,
    )


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a != "gp"])
@pytest.mark.parametrize("formula", FAMILIES)
def test_every_algorithm_tunes_every_family(formula, algorithm):
    """One interface: the first trial is the hand-set formula, and equal budgets are spent."""
    table = build(requests=60)
    space = FormulaSpace(SCHEMA, formula)
    budget = max(41, 2**space.D + 1) if algorithm == "grid" else 41  # the least that pays for a grid
    result = tune_formula(table, formula=formula, algorithm=algorithm, n_trials=budget)
    assert result.trials[0].point == (0.5,) * space.D
    assert sum(t.passes for t in result.trials) == (40 if algorithm == "gradient" else budget)
    best = torch.tensor(result.best.point, dtype=torch.float64)
    assert result.best.value == PairObjective(table, "label_gauc", space)(best.numpy()[None])[0]
    assert result.best.value > result.trials[0].value
    batch = table.batch([0, 1])
    assert torch.equal(result.formula()(batch), space.formula(best)(batch))


def test_tuning_beats_the_hand_set_formula_and_ignores_noise():
    result = tune_formula(build(), n_trials=60, seed=0)
    later = PairObjective(build(seed=1), "label_gauc", result.space)
    tuned, hand_set = later(np.array([result.best.point, result.trials[0].point]))
    assert tuned > hand_set + 0.02
    assert result.best.value == max(t.value for t in result.trials) >= result.trials[0].value
    assert len(result.trials) == 60
    # How far the score moves over the range of a pxtr: noise moves it least.
    formula = result.formula()
    u, c = formula.log_ratio.tolist(), formula.exponent.tolist()
    reach = [c[k] * math.log1p(math.exp(u[k]) * top) for k, top in enumerate((1, 30, 0.1))]
    assert reach[1] < min(reach[0], reach[2])


def test_results_are_kept_by_content_and_settings(tmp_path, monkeypatch):
    table = build(requests=40)
    seen = []
    first = tune_formula(table, n_trials=5, cache_dir=tmp_path, on_trial=lambda n, t: seen.append((n, t)))
    assert seen == [(n + 1, t) for n, t in enumerate(first.trials)]
    (kept,) = tmp_path.iterdir()

    seen.clear()
    again = tune_formula(build(requests=40), n_trials=5, cache_dir=tmp_path, on_trial=lambda n, t: seen.append(n))
    assert again.trials == first.trials and not seen

    for other in ({"n_trials": 6}, {"seed": 1}, {"objective": "pxtr_gauc"}, {"algorithm": "cem"}, {"formula": "power"}):
        tune_formula(table, **({"n_trials": 5} | other), cache_dir=tmp_path)
    tune_formula(build(requests=41), n_trials=5, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 7

    content = json.loads(kept.read_text())
    assert content["parameters"] == list(first.space.names)
    kept.write_text("{ not json")
    assert tune_formula(table, n_trials=5, cache_dir=tmp_path).trials == first.trials
    assert json.loads(kept.read_text()) == content


@pytest.mark.parametrize("name", ["LOG_RATIO_RANGE", "LARGEST_EXPONENT"])
def test_a_kept_result_is_not_read_for_other_ranges(name, tmp_path, monkeypatch):
    """The same point of the cube would be other parameters."""
    table = build(requests=40)
    first = tune_formula(table, n_trials=5, cache_dir=tmp_path)
    monkeypatch.setattr(formula_space, name, 1.5)
    seen = []
    other = tune_formula(table, n_trials=5, cache_dir=tmp_path, on_trial=lambda n, t: seen.append(n))
    assert len(seen) == 5 and len(list(tmp_path.iterdir())) == 2
    assert [t.value for t in other.trials[1:]] != [t.value for t in first.trials[1:]]
    monkeypatch.undo()
    assert tune_formula(table, n_trials=5, cache_dir=tmp_path).trials == first.trials


def test_a_grid_that_the_budget_cuts_is_refused():
    with pytest.raises(EmerError, match=r"n_trials is 64, and the algorithm grid needs at least 65"):
        tune_formula(build(requests=5), algorithm="grid", n_trials=64)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(EmerError, match="budget is 0 trials"):
        tune_formula(build(requests=5), n_trials=0)
