"""The folded pair list equals the metric it stands for."""

import numpy as np
import pytest
import torch

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.request_metrics import RequestMetrics
from emer.models.fusion import FusionFormula
from emer.requests import Feedback, Objective, Role, Schema, Unit
from emer.training import pair_objective
from emer.training.pair_objective import PairObjective

SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
    ),
    feedback=(Feedback("click"), Feedback("like"), Feedback("follow")),
)


def build(requests=60, longest=12, seed=0):
    """Pxtrs and labels with ties; ``follow`` never happens; some requests expose one candidate or none."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, requests)
    T = int(lengths.sum())
    exposed = rng.random(T) < 0.5
    return RequestTable.build(
        schema=SCHEMA,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        request_id=np.arange(requests),
        user_id=np.arange(requests),
        time_ms=np.arange(requests),
        item_id=np.arange(T),
        pxtr=np.round(rng.random((T, 3)), 1) * [1, 30, 1],
        exposed=exposed,
        label=(rng.random((T, 3)) < [0.5, 0.1, 0]) & exposed[:, None],
    )


def metric(table, u, c, name):
    batch = table.batch(np.arange(len(table)))
    collector = RequestMetrics(table.schema)
    collector.update(FusionFormula(SCHEMA.objective_names, u, c)(batch), batch)
    return collector.compute()[0][f"{name}/mean"]


@pytest.mark.parametrize("name", ["label_gauc", "pxtr_gauc"])
@pytest.mark.parametrize("c", [[1.0, 0.5, 2.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 0.3, 0.1]])
def test_equals_the_metric(name, c):
    table, u = build(), [1.0, -2.0, 3.0]
    value = PairObjective(table, name)(torch.tensor(u).double(), torch.tensor(c).double())
    assert value == pytest.approx(metric(table, u, c, name), abs=1e-12)
    if c == [0.0, 0.0, 0.0]:
        assert value == 0.5


@pytest.mark.parametrize("name", ["label_gauc", "pxtr_gauc"])
def test_a_sample_estimates_the_whole(name, monkeypatch):
    table = build(requests=4000)
    u, c = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([1.0, 1.0, 1.0]).double()
    whole = PairObjective(table, name)
    monkeypatch.setattr(pair_objective, "MAX_PAIRS", whole.value.size // 2)
    monkeypatch.setattr(pair_objective, "MAX_CANDIDATES", {"label_gauc": 4, "pxtr_gauc": 4})
    part = PairObjective(table, name, seed=1)
    assert 0 < part.value.size <= whole.value.size // 2
    assert part(u, c) == pytest.approx(whole(u, c), abs=0.02) and part(u, c) != whole(u, c)
    assert PairObjective(table, name, seed=1)(u, c) == part(u, c)
    assert PairObjective(table, name, seed=2)(u, c) != part(u, c)


def test_what_cannot_be_tuned_for_is_refused():
    table = build()
    with pytest.raises(EmerError, match="cannot be tuned for 'auc'; choose label_gauc or pxtr_gauc"):
        PairObjective(table, "auc")
    one = build(longest=1)
    with pytest.raises(EmerError, match="with and without the same feedback"):
        PairObjective(one, "label_gauc")
    with pytest.raises(EmerError, match="the same for all candidates"):
        PairObjective(one, "pxtr_gauc")
