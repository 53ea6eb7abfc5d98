from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from emer.metrics.dependence import objective_dependence
from emer.ranking import rank_gap


def test_it_is_kendalls_tau_of_each_request(batch_of) -> None:
    batch = batch_of(4, 9)
    scores = torch.randn(4, 9, generator=torch.Generator().manual_seed(3)).round(decimals=1)
    found = objective_dependence(scores, batch)
    expected = np.array(
        [
            [stats.kendalltau(scores[b][batch.mask[b]], batch.pxtr[b, :, k][batch.mask[b]]).statistic for k in range(4)]
            for b in range(4)
        ]
    )
    np.testing.assert_allclose(found.per_request.numpy(), expected)
    np.testing.assert_allclose(found.mean.numpy(), expected.mean(axis=0))


def test_a_pxtr_depends_on_itself_alone(batch_of) -> None:
    batch = batch_of()
    assert (objective_dependence(batch.pxtr[..., 0], batch).mean[0] == 1).all()
    assert (objective_dependence(-batch.pxtr[..., 0], batch).mean[0] == -1).all()


def test_requests_without_an_order_are_left_out(batch_of) -> None:
    batch = batch_of(3, 9)
    pxtr = batch.pxtr.clone()
    pxtr[0, :, 1] = 0.5 * batch.mask[0]
    flat = replace(batch, pxtr=pxtr, rank_gap=rank_gap(pxtr, batch.mask))
    found = objective_dependence(batch.pxtr[..., 0], flat)
    assert found.per_request[0, 1].isnan()
    torch.testing.assert_close(found.mean[1], found.per_request[1:, 1].mean())
    assert objective_dependence(torch.zeros(3, 9), flat).mean.isnan().all()
