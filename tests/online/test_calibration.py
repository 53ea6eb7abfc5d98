"""Calibration moves a world to published marginals by intercepts and slopes, and the card tells what is left."""

from __future__ import annotations

import numpy as np
import pytest

from emer.online.calibration import TARGETS, Marginals, as_rows, calibrate, lift_gap, measure
from emer.online.card import as_markdown, simulation_card
from emer.online.setting import Setting
from emer.world.parameters import WorldParameters
from emer.world.responses import INTERACTIONS, OBJECTIVES

USERS = np.arange(500)
FITTED = {
    "engaged_intercept", "engaged_slope", "watch_intercept", "interaction_intercept", "interaction_slope",
    "dislike_intercept", "dislike_slope",
}  # fmt: skip


@pytest.fixture(scope="module")
def detuned() -> Setting:
    wrong = {
        "engaged_intercept": -1.6,
        "interaction_intercept": tuple(x + 1.0 for x in WorldParameters().interaction_intercept),
    }
    return Setting(users=500, videos=3000, candidates=24, parameters=wrong)


@pytest.fixture(scope="module")
def fitted(detuned) -> tuple[Setting, Marginals, list[Marginals]]:
    seen: list[Marginals] = []
    return (*calibrate(detuned, USERS, rounds=8, slopes=False, progress=seen.append), seen)


@pytest.mark.slow
def test_the_standard_policys_rates_come_out(fitted) -> None:
    _, found, seen = fitted
    before, after = seen[0].misfit()["standard"], found.misfit()["standard"]
    assert abs(before["click"]) > 0.2 and abs(before["like"]) > 0.5
    for name in ("click", "long_view", *INTERACTIONS):
        assert abs(after[name]) < 0.05, name


@pytest.mark.slow
def test_nothing_but_intercepts_and_slopes_moves(detuned, fitted) -> None:
    setting, _, _ = fitted
    assert set(setting.parameters) - set(detuned.parameters) <= FITTED
    assert not {name for name in setting.parameters if name.endswith("slope")}
    with_slopes, _ = calibrate(detuned, USERS[:100], rounds=1)
    assert set(with_slopes.parameters) == FITTED


def test_a_slope_grows_where_selection_tells_too_little() -> None:
    flat = {policy: dict.fromkeys(TARGETS["random"], 0.01) for policy in TARGETS}
    found = Marginals(flat, {"standard": 1, "random": 1})
    assert lift_gap(found, "like") == pytest.approx(np.log(0.01665 / 0.0048))
    assert lift_gap(found, "dislike") < 0


@pytest.mark.slow
def test_rates_are_totals_over_impressions(detuned) -> None:
    found = measure(detuned, USERS[:60])
    assert found.rates["standard"]["click"] > found.rates["random"]["click"]
    assert all(0 < found.rates[p][n] < 1 for p in TARGETS for n in TARGETS[p] if n != "dislike")
    rows = {(row["policy"], row["quantity"]): row for row in as_rows(found)}
    click = rows["standard", "click"]
    assert click["difference_percent"] == pytest.approx(100 * (found.rates["standard"]["click"] / 0.3787 - 1))


@pytest.mark.slow
def test_the_card_has_every_constant_and_its_limits(fitted) -> None:
    setting, found, _ = fitted
    card = simulation_card(setting, found, USERS[:80])
    assert set(card["parameters"]) == set(vars(WorldParameters()))
    concordance = np.array(card["pxtr_concordance"])
    assert np.allclose(concordance, concordance.T) and np.allclose(np.diag(concordance), 1)
    assert card["pxtr_auc"]["pctr"] > 0.55
    text = as_markdown(card)
    for name in ("engaged_intercept", "list_fatigue", *OBJECTIVES, "What must not be claimed"):
        assert name in text
