"""The relation of objectives in the run folder: what is written, for whom, and how."""

from __future__ import annotations

import json
from functools import partial

import matplotlib.image
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import emer.training.relations_callback as relations_callback
from emer.data.module import RequestDataModule
from emer.data.table import RequestTable
from emer.models.harmonrank import HarmonRank
from emer.models.objective_relations import ObjectiveRelations, objective_relations
from emer.models.rank_aggregation import RankAggregation
from emer.requests import Category, Feedback, Objective, Schema
from emer.training.evaluated_module import EvaluatedModule
from emer.training.relations_callback import ObjectiveRelationsReport, draw

SCHEMA = Schema(
    objectives=(Objective("pctr", feedback="click"), Objective("pltr", feedback="like"), Objective("pwtr")),
    feedback=(Feedback("click"), Feedback("like"), Feedback("gift")),
    user_categories=(Category("age", 3),),
)


class Scoring(EvaluatedModule):
    def __init__(self, model) -> None:
        super().__init__(SCHEMA)
        torch.manual_seed(0)
        self.model = model(SCHEMA)

    def forward(self, batch):
        return self.model(batch)


def build(requests: int, seed: int, shown: float = 0.7) -> RequestTable:
    """Clicks and likes; nobody gives a gift."""
    rng = np.random.default_rng(seed)
    n = 5
    exposed = rng.random(requests * n) < shown
    label = (rng.random((requests * n, 3)) < [0.5, 0.3, 0.0]) & exposed[:, None]
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.arange(requests + 1) * n,
        request_id=np.arange(requests),
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(requests * n),
        pxtr=rng.random((requests * n, 3)),
        exposed=exposed,
        label=label,
        user_categories=rng.integers(3, size=(requests, 1)),
    )


def after_test(folder, model, test: RequestTable, **more) -> Scoring:
    data = RequestDataModule(train=build(4, 0), validation=build(4, 1), test=test, batch_size=4)
    module = Scoring(model)
    run = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[ObjectiveRelationsReport(str(folder))], use_distributed_sampler=False, **more,
    )  # fmt: skip
    run.test(module, datamodule=data, verbose=False)
    return module


@pytest.mark.parametrize("at_a_time", [4, 256])
def test_both_matrices_are_those_of_all_test_requests(tmp_path, monkeypatch, at_a_time) -> None:
    monkeypatch.setattr(relations_callback, "READ_REQUESTS", at_a_time)
    test = build(11, 2)
    module = after_test(tmp_path, HarmonRank, test)
    found = json.loads((tmp_path / "relations.json").read_text())
    expected = objective_relations(module.model, [test.batch(range(11))])
    assert found["rows"] == int(test.exposed.sum()) == expected.rows
    assert found["attention"]["names"] == ["pctr", "pltr", "pwtr"]
    np.testing.assert_allclose(found["attention"]["matrix"], expected.attention.numpy(), rtol=1e-6)
    np.testing.assert_allclose(np.sum(found["attention"]["matrix"], axis=1), 1, rtol=1e-6)
    correlation = found["label_correlation"]
    assert correlation["names"] == ["click", "like", "gift"]
    shown = test.exposed
    phi = np.corrcoef(test.label[shown][:, :2].T.astype(float))
    np.testing.assert_allclose([row[:2] for row in correlation["matrix"][:2]], phi, rtol=1e-9)
    assert correlation["matrix"][2] == [None] * 3 and correlation["matrix"][0][2] is None
    assert found["predicts"] == {"pctr": "click", "pltr": "like"}


def test_the_folder_holds_the_two_files_and_nothing_half_written(tmp_path) -> None:
    after_test(tmp_path, HarmonRank, build(6, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relations.json", "relations.png"]
    picture = matplotlib.image.imread(tmp_path / "relations.png")
    assert picture.ndim == 3 and min(picture.shape[:2]) > 300


@pytest.mark.parametrize("model", [RankAggregation, partial(HarmonRank, self_attention=False)])
def test_without_attention_there_is_no_file(tmp_path, model) -> None:
    after_test(tmp_path, model, build(6, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_shows_nothing_has_no_relations(tmp_path, caplog) -> None:
    after_test(tmp_path, HarmonRank, build(6, 2, shown=0.0))
    assert list(tmp_path.iterdir()) == []
    assert "no candidate of the test requests was shown" in caplog.text


def test_a_failed_picture_leaves_the_older_one(tmp_path, monkeypatch) -> None:
    (tmp_path / "relations.png").write_text("older")

    def fail(relations, path):
        path.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(relations_callback, "draw", fail)
    with pytest.raises(OSError, match="full"):
        after_test(tmp_path, HarmonRank, build(6, 2))
    assert (tmp_path / "relations.png").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relations.json", "relations.png"]


def cells(path, matrix, label) -> np.ndarray:
    """Colours at the top left of each cell of the right heat map, away from its number."""
    relations = ObjectiveRelations(matrix, ("a", "b"), label, ("x", "y"), 10)
    draw(relations, path)
    return matplotlib.image.imread(path)[..., :3]


def test_the_colours_show_the_values(tmp_path) -> None:
    """Red is more and blue is less than even; attention that is nearly even stays pale; NaN is grey."""
    even = torch.tensor([[0.501, 0.499], [0.499, 0.501]], dtype=torch.float64)
    sharp = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    nothing = torch.full((2, 2), torch.nan, dtype=torch.float64)
    grey = torch.zeros(2, 2, dtype=torch.float64)

    def strong(picture: np.ndarray) -> tuple[float, float]:
        """Shares of strong red and strong blue among the pixels of the right half, without the colour bar."""
        half = picture[:, picture.shape[1] // 2 : int(0.88 * picture.shape[1])]
        red = (half[..., 0] > half[..., 2] + 0.2).mean()
        blue = (half[..., 2] > half[..., 0] + 0.2).mean()
        return float(red), float(blue)

    red, blue = strong(cells(tmp_path / "sharp.png", sharp, grey))
    assert red > 0.1 and blue > 0.1
    assert strong(cells(tmp_path / "even.png", even, grey)) == (0.0, 0.0)

    def greyness(label: torch.Tensor) -> float:
        picture = cells(tmp_path / "grey.png", even, label)
        left = picture[:, : picture.shape[1] // 2]
        return float((np.abs(left - 0.85) < 0.01).all(axis=-1).mean())

    assert greyness(nothing) > 0.1
    assert greyness(grey) < 0.01
