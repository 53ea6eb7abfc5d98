"""The search finds a known optimum, repeats itself exactly, resumes exactly, and is kept."""

import json
import math

import numpy as np
import pytest

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.requests import Feedback, Objective, Role, Schema, Unit
from emer.training.pair_objective import PairObjective
from emer.training.tuning import LARGEST_EXPONENT, LOG_RATIO_RANGE, FormulaTuner, tune_formula

ONE = Schema(objectives=(Objective("pctr"),))
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


def toy(u, c):
    """Largest, 0, at u = 3, c = 0.4."""
    return -((u.item() - 3.0) ** 2) - 4 * (c.item() - 0.4) ** 2


def test_reaches_the_optimum_of_a_two_parameter_toy():
    for seed in range(3):
        tuner = FormulaTuner(ONE, toy, seed=seed)
        for _ in range(100):
            tuner.step()
        best = tuner.result().best
        assert best.log_ratio[0] == pytest.approx(3.0, abs=0.3)
        assert best.exponent[0] == pytest.approx(0.4, abs=0.15)
        # Ten times closer than the hand-set start.
        assert best.value > tuner.trials[0].value / 10


def test_first_trial_is_the_hand_set_formula_and_all_stay_in_the_space():
    tuner = FormulaTuner(ONE, toy, seed=0)
    for _ in range(30):
        tuner.step()
    start = FusionFormula.hand_set(ONE)
    assert tuner.trials[0].log_ratio == tuple(start.log_ratio.tolist())
    assert tuner.trials[0].exponent == (1.0,)
    u, c = (np.array([getattr(t, name)[0] for t in tuner.trials]) for name in ("log_ratio", "exponent"))
    assert (np.abs(u - start.log_ratio.item()) <= LOG_RATIO_RANGE).all()
    assert (c >= 0).all() and (c <= LARGEST_EXPONENT).all()
    assert len(set(u)) == 30


@pytest.mark.parametrize("stop", [0, 1, 7, 25])
def test_a_restored_search_goes_on_as_if_it_had_not_stopped(stop):
    whole = FormulaTuner(ONE, toy, seed=4)
    for _ in range(40):
        whole.step()
    resumed = FormulaTuner(ONE, toy, seed=4)
    resumed.step()  # forgotten by restore
    resumed.restore(whole.trials[:stop])
    while len(resumed.trials) < 40:
        resumed.step()
    assert resumed.trials == whole.trials


def test_the_seed_decides():
    trials = {}
    for seed in (1, 1, 2):
        tuner = FormulaTuner(ONE, toy, seed=seed)
        for _ in range(15):
            tuner.step()
        assert trials.setdefault(seed, tuner.trials) == tuner.trials
    assert trials[1][1:] != trials[2][1:]


def test_tuning_beats_the_hand_set_formula_and_ignores_noise():
    result = tune_formula(build(), n_trials=60, seed=0)
    later = PairObjective(build(seed=1), "label_gauc")
    tuned, hand_set = result.formula(), FusionFormula.hand_set(SCHEMA)
    gain = later(tuned.log_ratio, tuned.exponent) - later(hand_set.log_ratio, hand_set.exponent)
    assert gain > 0.02
    assert result.best.value == max(t.value for t in result.trials) >= result.trials[0].value
    assert len(result.trials) == 60
    # How far the score moves over the range of a pxtr: noise moves it least.
    u, c = result.best.log_ratio, result.best.exponent
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
    assert again == first and not seen

    for other in ({"n_trials": 6}, {"seed": 1}, {"objective": "pxtr_gauc"}):
        tune_formula(table, **({"n_trials": 5} | other), cache_dir=tmp_path)
    tune_formula(build(requests=41), n_trials=5, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5

    content = json.loads(kept.read_text())
    assert content["objectives"] == list(SCHEMA.objective_names)
    kept.write_text("{ not json")
    assert tune_formula(table, n_trials=5, cache_dir=tmp_path) == first
    assert json.loads(kept.read_text()) == content


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(EmerError, match="budget is 0 trials"):
        tune_formula(build(requests=5), n_trials=0)
