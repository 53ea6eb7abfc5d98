"""The trained stage: it learns from the log, once, and sees nothing of the world that a platform does not see."""

from __future__ import annotations

import ast
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.setting import Setting
from emer.online.simulate import simulate
from emer.online.totals import TOTALS
from emer.pxtr import platform_model, platform_stage
from emer.pxtr.forward_chain import ChainSettings
from emer.pxtr.platform_log import FIRST_DAY, collect
from emer.pxtr.platform_model import TrainedMMoE
from emer.pxtr.platform_stage import TrainedStage
from emer.world.candidates import draw_candidates
from emer.world.hashing import Stream, hash_keys
from emer.world.responses import FEEDBACK, OBJECTIVES

PVTR = OBJECTIVES.index("pvtr")
MODEL = ChainSettings(
    experts=3, expert_size=24, tower_size=12, batch_size=512, learning_rate=4e-3, epochs=2, min_train_days=1
)


def recipe(cache: Path, **changes: Any) -> TrainedStage:
    return TrainedStage(**({"cache_dir": str(cache), "exposures": 60_000, "users": 600, "model": MODEL} | changes))


def setting(cache: Path, **changes: Any) -> Setting:
    return Setting(users=700, videos=1500, candidates=24, stage=recipe(cache, **changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return setting(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def stage(place: Setting) -> TrainedMMoE:
    made = place.multi_task
    assert isinstance(made, TrainedMMoE)
    return made


def asked(place: Setting, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    request = hash_keys(3, Stream.CANDIDATES, np.arange(count))
    users = np.arange(count) * 7 % place.users
    return users, draw_candidates(place.world, users, 24, request), request


def predict(stage: TrainedMMoE, place: Setting) -> np.ndarray:
    users, videos, request = asked(place)
    return stage.predict(users, videos, np.full((*videos.shape, 8), np.nan), request)


def test_a_trained_stage_obeys_the_contract(place: Setting, stage: TrainedMMoE) -> None:
    pxtr = predict(stage, place)
    assert pxtr.shape == (200, 24, 8) and pxtr.dtype == np.float32
    probability = np.delete(pxtr, PVTR, axis=-1)
    assert (probability > 0).all() and (probability <= 1).all()
    assert (pxtr[..., PVTR] > 0).all() and np.isfinite(pxtr).all()


def test_it_orders_the_exposures_of_the_day_after(stage: TrainedMMoE) -> None:
    quality = json.loads((stage.path.parent / "quality.json").read_text())["pooled"]
    assert set(quality) == set(OBJECTIVES)
    assert quality["pctr"]["auc"] > 0.55  # chance is .5; the true rates themselves reach about .62
    assert quality["pcpr"]["auc"] > 0.65  # the video's length
    assert quality["pltr"]["auc"] > 0.65  # the user's habit of liking
    for name in ("pctr", "plvtr", "pcpr", "pvtr"):
        assert quality[name]["mean_predicted"] == pytest.approx(quality[name]["mean_actual"], rel=0.15)


def test_pxtrs_come_from_users_and_videos(place: Setting, stage: TrainedMMoE) -> None:
    pxtr = np.log(predict(stage, place))
    assert pxtr.std(axis=1).mean() > 0.05
    assert pxtr.mean(axis=1).std(axis=0).min() > 0.02


def test_it_is_trained_once(place: Setting, stage: TrainedMMoE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_stage, "train", lambda *_: pytest.fail("trained again"))
    again = replace(place).multi_task
    assert isinstance(again, TrainedMMoE) and again.path == stage.path
    assert np.array_equal(predict(again, place), predict(stage, place))


def test_another_world_or_setting_is_another_stage(place: Setting, stage: TrainedMMoE) -> None:
    made, world = place.stage, place.world
    assert isinstance(made, TrainedStage)
    folder = stage.path.parent
    assert made.folder(world, 24, 8) == folder
    build = {"explore": 0.1, "exposures": 70_000, "users": 500, "smoothing": 9.0, "seed": 1}

    def name_of(recipe: TrainedStage, *arguments: Any) -> str:
        found: list[Path] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(platform_stage, "build_once", lambda root, needed, build: found.append(root) or root)
            recipe.folder(*arguments)
        return found[0].name

    names = {name_of(replace(made, **{key: value}), world, 24, 8) for key, value in build.items()}
    names |= {name_of(replace(made, model=replace(MODEL, epochs=3)), world, 24, 8)}
    names |= {name_of(made, world, 25, 8), name_of(made, world, 24, 7)}
    names |= {name_of(made, replace(world, seed=1), 24, 8)}
    names |= {name_of(made, replace(world, parameters=replace(world.parameters, eta=0.0)), 24, 8)}
    assert len(names | {folder.name}) == 11
    assert name_of(replace(made, cache_dir="elsewhere"), world, 24, 8) == folder.name


@pytest.mark.slow
def test_the_same_settings_train_the_same_stage(tmp_path: Path) -> None:
    few = {"exposures": 5_000, "users": 150}
    first, second = (setting(tmp_path / name, **few) for name in "ab")
    pxtr = [predict(p.multi_task, p) for p in (first, second)]  # type: ignore[arg-type]
    assert np.array_equal(*pxtr)
    other = setting(tmp_path / "a", **few, seed=1)
    assert not np.allclose(predict(other.multi_task, other), pxtr[0])  # type: ignore[arg-type]


def test_a_pickled_stage_is_its_path(place: Setting, stage: TrainedMMoE) -> None:
    text = pickle.dumps(stage)
    assert len(text) < 1000
    assert np.array_equal(predict(pickle.loads(text), place), predict(stage, place))


@pytest.mark.slow
def test_other_processes_load_the_trained_stage(place: Setting) -> None:
    arms = {name: NamedArm(name).score for name in ("pltr", "pltr:1.0")}
    alone, spread = (simulate(place, arms, 300, 1, processes=processes) for processes in (1, 2))
    for name in arms:
        for total in TOTALS:
            assert np.array_equal(alone.totals[name].values[total], spread.totals[name].values[total])


def test_a_request_does_not_depend_on_the_others(place: Setting, stage: TrainedMMoE) -> None:
    users, videos, request = asked(place)
    truth = np.zeros((*videos.shape, 8))
    whole = stage.predict(users, videos, truth, request)
    rows = np.array([77, 5, 5])
    part = stage.predict(users[rows], videos[rows][:, 10:13], truth[rows][:, 10:13], request[rows])
    np.testing.assert_allclose(part, whole[rows][:, 10:13], rtol=2e-5)


HIDDEN = (
    "user_vector",
    "video_vector",
    "quality",
    "topic",
    "video_rate",
    "user_rate",
    "patience",
    "watch_weight",
    "interaction_weight",
)


def test_hidden_tastes_play_no_part_in_a_prediction(place: Setting, stage: TrainedMMoE) -> None:
    world, rng = place.world, np.random.default_rng(0)
    shuffled = {name: rng.permutation(getattr(world, name), axis=getattr(world, name).ndim - 1) for name in HIDDEN[:2]}
    shuffled |= {name: rng.permutation(getattr(world, name)) for name in HIDDEN[2:]}
    made = place.stage
    assert made is not None
    other = made(replace(world, **shuffled), 24, 8)
    assert isinstance(other, TrainedMMoE)
    assert np.array_equal(predict(other, place), predict(stage, place))


def test_the_trainer_gets_a_log_of_what_a_platform_sees(place: Setting) -> None:
    log = collect(place.world, 24, 8, users=50, exposures=500, explore=0.2)
    assert set(log.exposures.columns) == {"user_id", "item_id", "time_ms", "day", "watch_seconds", *FEEDBACK}
    assert set(log.users.columns) == {"user_id", "activity"}
    assert set(log.items.columns) == {"item_id", "category", "cold", "log_duration"}
    assert log.days[0] == FIRST_DAY and len(log.days) >= 3  # no experiment comes to these days


def test_the_trainer_cannot_reach_the_world() -> None:
    tree = ast.parse(Path(platform_model.__file__).read_text(encoding="utf-8"))
    found = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("emer.world")
        for alias in node.names
    }
    types = {f"emer.world.hashing.{name}" for name in ("Floats", "Hash", "Ints")}
    assert found == {*types, "emer.world.responses.OBJECTIVES"}
    assert not any(isinstance(node, ast.Import) and "emer" in node.names[0].name for node in ast.walk(tree))


def test_exploration_shows_what_the_formula_does_not(place: Setting) -> None:
    curious, strict = (
        collect(place.world, 24, 8, users=60, exposures=2000, explore=share).exposures for share in (0.5, 0.0)
    )
    assert curious["watch_seconds"].mean() < strict["watch_seconds"].mean()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exposures": 0}, "world.stage.exposures is 0; it must be a whole number of at least 1"),
        ({"users": 0}, "world.stage.users is 0"),
        ({"seed": -1}, "world.stage.seed is -1"),
        ({"explore": 1.5}, "world.stage.explore is 1.5; it must be between 0 and 1"),
        ({"smoothing": 0.0}, "world.stage.smoothing is 0.0; it must be above 0"),
    ],
)
def test_a_stage_refuses_what_it_cannot_train_with(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EmerError, match=message):
        recipe(tmp_path, **changes)
