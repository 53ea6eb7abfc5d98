"""IPPO's rule by itself: when it accepts, which weight it raises, what the archive keeps."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from emer.errors import EmerError
from emer.training.ippo import Archive, ArchiveEntry, Decision, Ippo, WindowGaucs, dominates
from emer.training.ippo_log import IppoLog

NAN = np.nan


def window(gap, error=0.01, base=0.6, best=0.7) -> WindowGaucs:
    gap = np.array(gap, dtype=float)
    one = np.ones_like(gap)
    return WindowGaucs(base + gap, base * one, error * one, best * one)


def accepts(gap, error=0.01, **options) -> bool:
    return Ippo(**options).accepts(window(gap, error))


def test_non_inferior_needs_no_loss_beyond_the_error_and_one_gain_beyond_it() -> None:
    assert accepts([0.02, -0.005, 0.0])
    assert not accepts([0.02, -0.015, 0.0]), "one is worse by more than its error"
    assert not accepts([0.009, 0.009, 0.009]), "none is better by more than its error"
    assert accepts([0.02, -0.015, 0.0], tolerance=2.0)
    assert not accepts([0.02, -0.005, 0.0], tolerance=0.0)
    assert not accepts([0.02, 0.0, 0.0], margin=3.0)
    assert accepts([0.005, 0.0, 0.0], margin=0.0)
    assert not accepts([0.0, 0.0, 0.0], error=0.0), "the same model is not better"


def test_each_objective_has_its_own_error() -> None:
    gaucs = window([0.02, -0.03])
    rule = Ippo()
    assert not rule.accepts(gaucs)
    assert rule.accepts(WindowGaucs(gaucs.reference, gaucs.base, np.array([0.01, 0.05]), gaucs.best_pxtr))
    assert not rule.accepts(WindowGaucs(gaucs.reference, gaucs.base, np.array([0.05, 0.05]), gaucs.best_pxtr))


def test_literal_is_strictly_better_everywhere() -> None:
    assert accepts([1e-6, 1e-6], mode="literal")
    assert not accepts([0.1, 0.0], mode="literal")
    assert not accepts([0.1, -1e-6], mode="literal", tolerance=5.0)
    assert accepts([1e-6, 1e-6], error=NAN, mode="literal"), "it asks for no error"


def test_unknown_objectives_take_no_part() -> None:
    assert accepts([0.02, NAN, 0.0])
    assert accepts([0.02, NAN], mode="literal")
    assert not accepts([NAN, NAN]) and not accepts([NAN, NAN], mode="literal")
    rule = Ippo()
    assert rule.lagging(window([-0.01, NAN, -0.02])) == 2
    assert rule.lagging(window([NAN, NAN])) is None
    without_error = WindowGaucs(*(np.array(x) for x in ([0.1, 0.5], [0.6, 0.6], [NAN, 0.01], [0.7, 0.7])))
    assert rule.lagging(without_error) == 1
    ended = rule.decide(np.ones(2), np.ones(2), window([NAN, NAN]), 0)
    assert not ended.accepted and ended.raised is None and ended.weights.tolist() == [1, 1]


def test_the_weight_of_what_lags_most_is_raised_by_a_share_of_the_step() -> None:
    """Delta = 0.1 / K."""
    weights, base_weights = np.array([1.0, 1.2, 1.0, 1.0]), np.array([1.0, 1.1, 1.0, 1.0])
    found = Ippo().decide(weights, base_weights, window([-0.01, -0.05, 0.5, -0.02]), 3)
    assert not found.accepted and found.raised == 1
    assert found.weights == pytest.approx([1.0, 1.2 + 0.1 / 4, 1.0, 1.0])
    assert found.base_weights.tolist() == base_weights.tolist()
    assert Ippo(step=2.0).decide(weights, base_weights, window([-0.01, -0.05, 0, 0]), 0).weights[1] == 1.2 + 2 / 4
    assert weights.tolist() == [1.0, 1.2, 1.0, 1.0], "the arguments stay as they are"


def test_an_accepted_reference_hands_its_weights_to_the_base() -> None:
    weights, base_weights = np.array([1.0, 1.2]), np.array([1.0, 1.0])
    found = Ippo().decide(weights, base_weights, window([0.05, 0.0]), 0)
    assert found.accepted and found.raised is None
    assert found.weights.tolist() == found.base_weights.tolist() == [1.0, 1.2]
    found.weights[0] = 9.0
    assert found.base_weights[0] == 1.0, "two arrays"


def test_equal_gaps_go_to_what_is_worst_beside_its_best_pxtr() -> None:
    """At the start both models are the same (P9)."""
    gaucs = WindowGaucs(*(np.array(x) for x in ([0.6, 0.55, 0.7], [0.6, 0.55, 0.7], [0.0] * 3, [0.7, 0.58, 0.9])))
    ratios = [0.6 / 0.7, 0.55 / 0.58, 0.7 / 0.9]
    assert ratios[2] == min(ratios)
    assert Ippo().lagging(gaucs) == 2
    better_base = gaucs.base + np.array([0.1, 0.1, 0.0])
    best_elsewhere = WindowGaucs(gaucs.reference, better_base, gaucs.error, gaucs.best_pxtr)
    assert Ippo().lagging(best_elsewhere) == 0, "only among those that lag most"
    no_pxtr = WindowGaucs(gaucs.reference, gaucs.base, gaucs.error, np.array([NAN, 0.58, NAN]))
    assert Ippo().lagging(no_pxtr) == 1


def test_renormalised_weights_have_mean_one() -> None:
    found = Ippo(renormalise=True, step=1.0).decide(np.array([1.0, 1.0]), np.ones(2), window([-0.1, 0.0]), 0)
    assert found.weights == pytest.approx([1.5 / 1.25, 1.0 / 1.25])
    assert found.base_weights.tolist() == [1, 1]


def test_a_weight_that_is_too_small_is_raised_until_its_objective_is_served() -> None:
    """A toy with a known answer: one score x in [0, 1] serves the first objective by x and the second by 1 - x, and the
    optimum of w_1 log x + w_2 log(1 - x) is x = w_1 / (w_1 + w_2). The base stands at 1/2, the reference begins
    with a tenth of the second weight."""
    rule = Ippo(step=0.4, tolerance=1.0)
    weights, base_weights = np.array([1.0, 0.1]), np.array([1.0, 1.0])
    raised = []
    for i in range(60):
        x, at = (w[0] / w.sum() for w in (weights, base_weights))
        gaucs = WindowGaucs(np.array([x, 1 - x]), np.array([at, 1 - at]), np.full(2, 0.01), np.ones(2))
        found = rule.decide(weights, base_weights, gaucs, i)
        raised.append(found.raised)
        weights, base_weights = found.weights, found.base_weights
    assert raised[:4] == [1, 1, 1, 1]
    assert weights[0] / weights.sum() == pytest.approx(0.5, abs=0.03)
    assert (weights > 0).all()


def test_perturbing_draws_around_the_base_and_can_be_repeated() -> None:
    rule = Ippo(policy="perturb", sigma=0.2, seed=3)
    weights, base_weights = np.array([5.0, 1.0]), np.array([1.0, 2.0])
    found = [rule.decide(weights, base_weights, window([-0.1, 0.0]), i) for i in range(400)]
    logs = np.log(np.stack([d.weights for d in found]) / base_weights)
    assert np.abs(logs.mean(axis=0)).max() < 0.04 and logs.std(axis=0) == pytest.approx([0.2, 0.2], rel=0.15)
    assert all(d.raised is None and not d.accepted for d in found)
    again = Ippo(policy="perturb", sigma=0.2, seed=3).decide(weights, base_weights, window([-0.1, 0.0]), 7)
    assert again.weights.tolist() == found[7].weights.tolist()
    accepted = rule.decide(weights, base_weights, window([0.1, 0.0]), 0)
    assert accepted.base_weights.tolist() == [5.0, 1.0]
    assert np.abs(np.log(accepted.weights / weights)).max() < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "strict"}, "method.module.mode is 'strict'; it must be one of non_inferior, literal"),
        ({"policy": "gradient"}, "method.module.policy is 'gradient'; it must be one of raise, perturb"),
        ({"tolerance": -1.0}, "method.module.tolerance is -1.0"),
        ({"margin": NAN}, "method.module.margin is nan"),
        ({"step": 0.0}, "method.module.step is 0.0; it must be a number > 0"),
        ({"sigma": np.inf}, "method.module.sigma is inf"),
        ({"seed": -1}, "method.module.seed is -1"),
    ],
)
def test_wrong_options_are_explained(options, message) -> None:
    with pytest.raises(EmerError, match=message):
        Ippo(**options)


def entry(i: int, *gaucs: float) -> ArchiveEntry:
    return ArchiveEntry(i, "reference", np.full(len(gaucs), float(i)), np.array(gaucs))


def test_the_archive_keeps_what_nothing_dominates() -> None:
    archive = Archive()
    assert archive.add(entry(0, 0.5, 0.5))
    assert not archive.add(entry(1, 0.5, 0.4)), "dominated"
    assert not archive.add(entry(2, 0.5, 0.5)), "nothing new"
    assert archive.add(entry(3, 0.6, 0.4)), "a trade"
    assert archive.add(entry(4, 0.55, 0.5)), "takes the first one's place"
    assert [e.round_index for e in archive.entries] == [3, 4]
    assert not archive.add(entry(5, NAN, NAN))
    assert archive.add(entry(6, 0.9, 0.9))
    assert [e.round_index for e in archive.entries] == [6]


def test_the_archive_is_mutually_non_dominated_and_loses_no_optimum() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((200, 3)).round(1)
    archive = Archive()
    for i, point in enumerate(points):
        archive.add(entry(i, *point))
    for a, b in itertools.permutations(archive.entries, 2):
        assert not dominates(a.gaucs, b.gaucs)
    front = {tuple(p) for p in points if not any(dominates(q, p) for q in points)}
    assert {tuple(e.gaucs) for e in archive.entries} == front


def test_unknown_gaucs_do_not_dominate() -> None:
    assert dominates(np.array([0.5, NAN]), np.array([0.4, 0.9]))
    assert not dominates(np.array([NAN, 0.5]), np.array([0.5, NAN]))


def test_the_log_comes_back_from_its_state_and_writes_json(tmp_path) -> None:
    log = IppoLog(["like", "gift"])
    gaucs = WindowGaucs(np.array([0.6, NAN]), np.array([0.65, NAN]), np.array([0.01, NAN]), np.ones(2))
    log.add(np.array([1.0, 2.0]), np.ones(2), gaucs, Decision(False, np.ones(2), np.ones(2), 0), epoch=3, step=40)
    log.add(np.ones(2), np.ones(2), gaucs, Decision(True, np.ones(2), np.ones(2)), epoch=3, step=50)
    other = IppoLog(["like", "gift"])
    other.load_state_dict(log.state_dict())
    assert other.accepted == 1
    assert other.last_numbers() == pytest.approx(
        {"round/accepted": 1.0, "round/weight/like": 1.0, "round/weight/gift": 1.0, "round/gap/like": -0.05}
    )
    for i, each in enumerate((log, other)):
        each.write(tmp_path / f"{i}.json")
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    found = json.loads((tmp_path / "0.json").read_text())
    assert found["labels"] == ["like", "gift"]
    first = found["rounds"][0]
    assert (first["epoch"], first["step"], first["raised"], first["accepted"]) == (3, 40, "like", False)
    assert first["weights"] == [1.0, 2.0] and first["gap"] == [pytest.approx(-0.05), None]
    assert [(e["round"], e["model"], e["gaucs"]) for e in found["archive"]] == [(0, "base", [0.65, None])]
