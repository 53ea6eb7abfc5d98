"""Offline GAUC beside online differences, and what many worlds say together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from emer.errors import EmerError
from emer.online import worlds
from emer.online.arms import NamedArm
from emer.online.consistency import ONLINE, _spread, as_csv, as_markdown, consistency, offline_gauc
from emer.online.experiment import Effect
from emer.online.outcome_folder import plain
from emer.online.setting import Setting
from emer.online.statistics import paired_difference
from emer.world.responses import OBJECTIVES


@pytest.fixture(scope="module")
def place() -> Setting:
    return Setting(users=400, videos=2000, candidates=16)


def effect(arm: str, metric: str, percent: float, kind: str = "expected") -> Effect:
    base = np.linspace(1, 2, 600)
    return Effect(arm, metric, kind, "twin", "all", paired_difference(base * (1 + percent / 100), base))


def test_gauc_of_an_arm_is_the_mean_concordance_of_its_requests(place) -> None:
    arms = {name: NamedArm(name).score(place.world) for name in ("fusion_formula", "pltr", "random")}
    found = offline_gauc(place, arms, np.arange(80), 10_000)
    asked = [v.asked for v in place.walk(np.arange(80)).through_day(0, arms["fusion_formula"])]
    pxtr = np.concatenate([a.pxtr for a in asked]).astype(np.float64)
    like, watch = pxtr[..., OBJECTIVES.index("pltr")], pxtr[..., OBJECTIVES.index("pvtr")]
    score = np.log(pxtr).sum(axis=-1)
    for family, target in (("raw", like), ("iput", like / np.maximum(watch, 1.0))):
        taus = [kendalltau(s, t).statistic for s, t in zip(score, target, strict=True)]
        assert found["fusion_formula"][f"{family}/pltr"] == pytest.approx((np.mean(taus) + 1) / 2, abs=1e-3)
    assert found["pltr"]["raw/pltr"] == 1.0
    assert found["random"]["raw/pltr"] == pytest.approx(0.5, abs=0.03)


def test_fewer_requests_are_spread_over_the_day(place) -> None:
    score = NamedArm("pltr").score(place.world)
    asked = [v.asked for v in place.walk(np.arange(200)).through_day(0, score)]
    every = np.concatenate([a.request_id for a in asked])
    chosen = np.concatenate([a.request_id for a in _spread(asked, 100)])
    assert chosen.tolist() == every[np.linspace(0, every.size - 1, 100).astype(int)].tolist()
    assert sum(map(len, _spread(asked, 10**6))) == every.size


def test_the_correlation_is_spearmans_over_the_arms() -> None:
    gauc = {
        arm: {f"{f}/{p}": v for f, v in (("raw", raw), ("iput", iput)) for p in OBJECTIVES}
        for arm, raw, iput in (("base", 0.7, 0.5), ("a", 0.8, 0.4), ("b", 0.9, 0.6))
    }
    found = consistency(gauc, [effect(a, m, x) for m in ONLINE for a, x in (("a", -5.0), ("b", 3.0))], "base")
    # Online: a, base, b. Raw: base, a, b. IPUT: a, base, b.
    assert found.raw["Like"] == pytest.approx(0.5)
    assert found.iput["Like"] == pytest.approx(1.0)
    assert found.online["base"]["Like"] == 0.0 and found.online["a"]["Like"] == pytest.approx(-5)
    assert "Mean Spearman over the interactions: raw +0.50, IPUT +1.00." in as_markdown(found)
    assert len(as_csv(found).splitlines()) == 1 + 3 * 4


def test_two_arms_have_no_correlation() -> None:
    gauc = {arm: {f"{f}/{p}": 0.1 for f in ("raw", "iput") for p in OBJECTIVES} for arm in ("base", "a")}
    found = consistency(gauc, [effect("a", m, 1.0) for m in ONLINE], "base")
    assert np.isnan(found.raw["Like"]) and "raw -, IPUT -" in as_markdown(found)


def test_worlds_are_the_sample_of_the_interval() -> None:
    found = worlds.over_worlds([1.0, 2.0, 3.0])
    assert found.mean == 2.0 and found.same_sign == 3 and found.worlds == 3
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert not found.certain and worlds.over_worlds([1.0, 1.1, 1.2]).certain
    assert np.isnan(worlds.over_worlds([1.0]).low)


def written(folder: Path, percent: float, arms: tuple[str, ...] = ("a", "b")) -> Path:
    folder.mkdir()
    found = [effect(arm, "AppStayTime", percent * (i + 1), "observed") for i, arm in enumerate(arms)]
    found += [effect(arm, m, -percent) for arm in arms for m in ONLINE]
    gauc = {
        arm: {f"{f}/{p}": 0.5 + 0.1 * i * sign for f, sign in (("raw", 1), ("iput", -1)) for p in OBJECTIVES}
        for i, arm in enumerate(("base", *arms))
    }
    (folder / "effects.json").write_text(json.dumps([plain(e) for e in found]))
    (folder / "consistency.csv").write_text(as_csv(consistency(gauc, found, "base")))
    return folder


def test_a_table_over_worlds_gathers_what_each_left(tmp_path) -> None:
    folders = {i: written(tmp_path / str(i), percent) for i, percent in enumerate((1.0, 2.0, 3.0))}
    table = worlds.read_worlds(folders, "base")
    assert table.arms == ("a", "b")
    assert table.online["b", "AppStayTime"].mean == pytest.approx(4.0)
    assert table.online["a", "Like"].mean == pytest.approx(-2.0)
    assert table.gauc["b", "raw/pltr"].mean == pytest.approx(0.2)
    assert table.gauc["b", "iput/pltr"].mean == pytest.approx(-0.2)
    # Both arms lose equally, so that the base alone stands out: ranks (3, 1.5, 1.5) against (1, 2, 3).
    assert table.spearman["raw"].mean == pytest.approx(-(3**0.5) / 2)
    assert table.spearman["iput"].mean == pytest.approx(3**0.5 / 2)
    assert table.of_world["a", "AppStayTime"] == pytest.approx({0: 1.0, 1: 2.0, 2: 3.0})
    text = worlds.as_markdown(table)
    assert "Mean over 3 worlds" in text and "| AppStayTime | +2.00 [-0.48, +4.48] (3/3) |" in text
    worlds.draw(table, tmp_path / "worlds.png")
    assert (tmp_path / "worlds.png").read_bytes().startswith(b"\x89PNG")
    other = written(tmp_path / "other", 1.0, ("a", "c"))
    with pytest.raises(EmerError, match="has the arms a, c, another world a, b"):
        worlds.read_worlds({**folders, 9: other}, "base")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"x": (1, "emer", 0), "y": (1, "emer", 0)}, "y and x are both emer in world 1"),
        ({"x": (1, "emer", 0), "y": (2, "emer", 1)}, "y learnt in another kind of world than x"),
        ({"x": (1, "emer", 0), "y": (2, "urem", 0)}, "world 1 has no urem"),
    ],
)
def test_runs_that_do_not_make_a_table_are_named(runs, message) -> None:
    with pytest.raises(EmerError, match=message):
        worlds.arms_by_world({Path(name): what for name, what in runs.items()})
