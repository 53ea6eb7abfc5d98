"""Every method can be an arm: it scores requests that nothing has been exposed of yet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from emer.config_files import config_dir
from emer.data.simulated import simulated_schema
from emer.errors import EmerError
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.online.arms import FORMULAS, NamedArm, network_score
from emer.online.setting import Setting
from emer.world.exposure import fusion_score
from emer.world.responses import OBJECTIVES

METHODS = sorted({path.stem for path in (config_dir() / "method").glob("*.yaml")} - {"production"})


@pytest.fixture(scope="module")
def place() -> Setting:
    return Setting(users=40, videos=800, candidates=12)


@pytest.fixture(scope="module")
def asked(place):
    return next(place.walk().through_day(0, NamedArm("fusion_formula").score(place.world))).asked


@pytest.mark.parametrize("method", METHODS)
def test_every_method_serves(method, place, asked) -> None:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        chosen = ["method.model.objective=pltr"] if method == "best_pxtr" else []  # training would choose one
        cfg = compose("train", [f"method={method}", "logger=none", *chosen])
    torch.manual_seed(0)
    module = instantiate(cfg.method.module, schema=simulated_schema(), top_k=10).eval()
    scores = network_score(place.world, module)(asked)
    assert scores.shape == asked.video.shape and np.isfinite(scores).all()
    alone = network_score(place.world, module)(asked.take(np.array([3])))
    assert np.allclose(alone[0], scores[3], atol=1e-4)


def test_the_order_of_a_platform_that_does_not_serve_cannot_serve(place, asked) -> None:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", ["method=production", "logger=none"])
    module = instantiate(cfg.method.module, schema=simulated_schema(), top_k=10).eval()
    with pytest.raises(EmerError, match="needs a log with previous_score"):
        network_score(place.world, module)(asked)


def test_named_arms_by_hand(place, asked) -> None:
    pxtr = asked.pxtr.astype(np.float64)
    like, watch = pxtr[..., OBJECTIVES.index("pltr")], pxtr[..., OBJECTIVES.index("pvtr")]
    score = {name: NamedArm(name).score(place.world)(asked) for name in ("pltr", "pltr:0.5", "pltr:5e-1", *FORMULAS)}
    assert np.allclose(score["pltr"], np.log(like), atol=1e-5)
    assert np.allclose(score["pltr:0.5"], np.log(like) - 0.5 * np.log(watch + 1.2), atol=1e-5)
    assert np.array_equal(score["pltr:5e-1"], score["pltr:0.5"])
    boost = score["legacy_formula"] - fusion_score(asked.pxtr)
    assert 1.0 < boost.std() < 3.0
    # The boost is the video's, whoever asks.
    some, at = np.unique(asked.video, return_index=True)
    assert np.allclose(boost, boost.ravel()[at][np.searchsorted(some, asked.video)], atol=1e-5)
    assert len(np.unique(score["random"])) > 0.99 * score["random"].size


@pytest.mark.parametrize("name", ["nobody", "pltr:", "pltr:x", "random:1", "pltr:-1", ""])
def test_an_arm_that_is_none_is_named(name) -> None:
    with pytest.raises(EmerError, match="it is neither a run folder, nor one of"):
        NamedArm(name)
