"""The windows that IPPO judges by, and the GAUCs in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emer.errors import EmerError
from emer.metrics.request_metrics import RequestMetrics
from emer.training.ippo_windows import earlier_part, round_length, window_gaucs


class Pxtr(torch.nn.Module):
    """Scores by one pxtr; asserts that it is evaluated, not trained."""

    def __init__(self, column: int, sign: int = 1) -> None:
        super().__init__()
        self.column, self.sign = column, sign

    def forward(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        return self.sign * batch.pxtr[..., self.column]


def label_gauc(model, batches, schema) -> np.ndarray:
    metrics = RequestMetrics(schema)
    model.eval()
    with torch.no_grad():
        for batch in batches:
            metrics.update(model(batch), batch)
    summary, _ = metrics.compute()
    return np.array([summary[f"label_gauc/{name}"] for name in schema.feedback_names])


def test_gaucs_are_those_that_the_metrics_report(batch_of, schema) -> None:
    whole = batch_of(40, 9, seed=3)
    batches = [whole.select(torch.arange(25)), whole.select(torch.arange(25, 40))]
    reference, base = Pxtr(0).train(), Pxtr(1, -1).eval()
    found = window_gaucs(reference, base, batches, samples=200, seed=0)
    assert reference.training and not base.training, "the modes come back"
    np.testing.assert_allclose(found.reference, label_gauc(Pxtr(0), batches, schema))
    np.testing.assert_allclose(found.base, label_gauc(Pxtr(1, -1), batches, schema))
    every = np.stack([label_gauc(Pxtr(k), batches, schema) for k in range(4)])
    np.testing.assert_allclose(found.best_pxtr, every.max(axis=0))
    assert (found.error > 0).all() and (found.error < 0.5).all()
    assert (window_gaucs(Pxtr(0), Pxtr(0), batches, samples=50, seed=0).error == 0).all()


def test_a_label_that_nobody_gives_has_no_gauc(batch_of) -> None:
    batch = batch_of(10, 9)
    batch.label[..., 1] = 0
    found = window_gaucs(Pxtr(0), Pxtr(1), [batch], samples=20, seed=0)
    for values in (found.reference, found.base, found.error, found.best_pxtr):
        assert np.isnan(values).tolist() == [False, True, False]


def test_the_held_out_part_is_later_than_all_others() -> None:
    time = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 5))
    early = earlier_part(time, 0.1)
    assert time[early].max() < time[~early].min()
    assert (~early).sum() == 20
    # Cut at the nearest change of timestamp: 7 or 10 of 10 requests are no part of it.
    assert earlier_part(np.array([1, 1, 1, 1, 1, 1, 1, 2, 2, 2]), 0.1).sum() == 7
    assert earlier_part(np.array([1, 2, 2, 2, 2, 2, 2, 2, 2, 2]), 0.1).sum() == 1
    with pytest.raises(EmerError, match=r"method\.module\.held_out .*no two distinct time_ms.*window=next"):
        earlier_part(np.full(9, 4), 0.1)


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ([50, 30, 12, 8], 92),
        ([40, 44, 16], 84),
        ([80, 20], 80),
        ([88, 5, 7], 88),
        ([86, 5, 9], 91),
        ([30, 70], 30),
        ([99, 1], 99),
    ],
)
def test_days_are_cut_where_it_is_nearest_to_the_share(counts, kept, caplog) -> None:
    """Stamps as coarse as days: no cut within a day, and of those between days none is nearer to 90 of 100."""
    time = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    early = earlier_part(time, 0.1)
    assert early.sum() == kept and time[early].max() < time[~early].min()
    assert min(abs(sum(counts[:day]) - 90) for day in range(1, len(counts))) == abs(kept - 90)
    # Told where it is far off: twice as many, or half of them.
    far = not 5 <= 100 - kept <= 20
    assert far == (kept in (30, 99))
    assert ("method.module.held_out is 0.1" in caplog.text) == far
    if far:
        assert f"{100 - kept} % of the training requests are held out ({100 - kept} of 100)" in caplog.text


@pytest.mark.parametrize(
    ("batches", "rounds", "accumulate", "expected"),
    [(100, 20, 1, 5), (101, 20, 1, 6), (3, 20, 1, 1), (100, 20, 4, 8), (7, 1, 2, 8), (100, 100, 1, 1)],
)
def test_rounds_are_equal_and_whole_steps(batches, rounds, accumulate, expected) -> None:
    assert round_length(batches, rounds, accumulate) == expected
    assert expected % accumulate == 0 and -(-batches // expected) <= rounds
