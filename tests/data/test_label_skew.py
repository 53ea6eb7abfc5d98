"""Training with fewer positives of a label."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from emer.data.label_skew import thin_positives
from emer.data.module import RequestDataModule
from emer.data.table import RequestTable
from emer.errors import EmerError

Make = Callable[..., RequestTable]


def positives(table: RequestTable, name: str) -> set[int]:
    return set(np.flatnonzero(table.exposed & table.label[:, table.schema.feedback_names.index(name)]).tolist())


def test_a_share_of_the_positives_stays_and_the_rest_were_never_shown(table_of: Make) -> None:
    table = table_of(40)
    thin = thin_positives(table, {"like": 0.3}, seed=1)
    before, after = positives(table, "like"), positives(thin, "like")
    assert after < before
    assert len(after) == math.ceil(0.3 * len(before))
    gone = sorted(before - after)
    assert not thin.exposed[gone].any()
    assert not thin.label[gone].any()
    for name in ("watch_time", "negative"):
        values = getattr(thin, name)
        assert values is None or not values[gone].any()
    kept = np.setdiff1d(np.arange(table.item_id.size), gone)
    for name in ("exposed", "label", "pxtr", "rank_gap", "item_id"):
        assert np.array_equal(getattr(thin, name)[kept], getattr(table, name)[kept])
    assert np.array_equal(thin.pxtr, table.pxtr)
    assert np.array_equal(thin.rank_gap, table.rank_gap)
    thin.batch(np.arange(len(thin))).validate()


def test_the_seed_draws_and_the_whole_share_keeps_all(table_of: Make) -> None:
    table = table_of(40)
    assert positives(thin_positives(table, {"like": 0.5}, 1), "like") == positives(
        thin_positives(table, {"like": 0.5}, 1), "like"
    )
    assert positives(thin_positives(table, {"like": 0.5}, 1), "like") != positives(
        thin_positives(table, {"like": 0.5}, 2), "like"
    )
    assert thin_positives(table, {"like": 1.0}, 1).fingerprint() == table.fingerprint()
    assert positives(thin_positives(table, {"like": 0}, 1), "like") == set()


def test_only_training_is_thinned(table_of: Make) -> None:
    parts = {name: table_of(20, first_id=100 * i) for i, name in enumerate(("train", "validation", "test"))}
    splits = RequestDataModule(**parts, keep_positives={"like": 0.0}, seed=3).splits
    assert positives(splits.train, "like") == set()
    assert splits.validation.fingerprint() == parts["validation"].fingerprint()
    assert splits.test.fingerprint() == parts["test"].fingerprint()


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"like": 1.5}, r"loader\.keep_positives\.like is 1\.5; it must be a share from 0 to 1"),
        ({"like": "few"}, "is 'few'"),
        ({"likes": 0.5}, r"names likes; the log's labels are click, long_view, like"),
    ],
)
def test_wrong_shares_are_refused(table_of: Make, keep: dict[str, object], message: str) -> None:
    with pytest.raises(EmerError, match=message):
        thin_positives(table_of(), keep, 1)  # type: ignore[arg-type]


def test_a_stream_cannot_be_thinned(tmp_path) -> None:
    with pytest.raises(EmerError, match=r"keep_positives needs the log in memory: set loader\.stream=false"):
        RequestDataModule(root=tmp_path, stream=True, keep_positives={"like": 0.5})
