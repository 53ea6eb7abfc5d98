"""Analytic floors against the mean over all orders, or many random ones."""

import itertools
import math

import pytest
import torch

from emer.metrics import floors
from emer.metrics.auc import pooled_auc
from emer.metrics.concordance import concordance_auc
from emer.metrics.topk import dcg_at_k, hit_rate_at_k, map_at_k, mean_at_k, ndcg_at_k

ORDERS = torch.tensor(list(itertools.permutations(range(5)))).float()  # every order of 5 candidates
VALUES = torch.tensor([0.1, 2.0, 0.5, 0.5, 1.2], dtype=torch.float64)
LABELS = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
ALL = torch.ones(1, 5, dtype=torch.bool)


def over_orders(metric, values, k):
    every = metric(ORDERS, values.view(1, 5, 1).expand(len(ORDERS), 5, 1), k)
    return every.mean().item()


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_floors_are_the_mean_over_all_orders(k):
    values, labels = VALUES.view(1, 5, 1), LABELS.view(1, 5, 1)
    assert floors.random_dcg_at_k(values, k, where=ALL).item() == pytest.approx(over_orders(dcg_at_k, VALUES, k))
    assert floors.random_mean_at_k(values, where=ALL).item() == pytest.approx(over_orders(mean_at_k, VALUES, k))
    assert floors.random_hit_rate_at_k(k, where=ALL).item() == pytest.approx(over_orders(hit_rate_at_k, VALUES, k))
    assert floors.random_ndcg_at_k(labels, k, where=ALL).item() == pytest.approx(over_orders(ndcg_at_k, LABELS, k))
    assert floors.random_map_at_k(labels, k, where=ALL).item() == pytest.approx(over_orders(map_at_k, LABELS, k))


def test_the_auc_floor_is_the_mean_over_all_orders():
    copies = len(ORDERS)
    concordance = concordance_auc(ORDERS, VALUES.view(1, 5, 1).expand(copies, 5, 1))
    assert concordance.mean().item() == pytest.approx(floors.AUC)
    pooled = [pooled_auc(order, LABELS.view(5, 1)).item() for order in ORDERS]
    assert sum(pooled) / copies == pytest.approx(floors.AUC)


def test_dcg_floor_by_hand():
    values = torch.tensor([[[1.0], [2.0], [6.0]]])
    where = torch.ones(1, 3, dtype=torch.bool)
    assert floors.random_dcg_at_k(values, 2, where=where).item() == pytest.approx(3 * (1 + 1 / math.log2(3)))


def test_padding_is_not_counted():
    padded = torch.cat([VALUES.view(1, 5, 1), torch.full((1, 3, 1), 7.0, dtype=torch.float64)], dim=1)
    where = torch.cat([ALL, torch.zeros(1, 3, dtype=torch.bool)], dim=1)
    for k in (2, 10):
        for function, clean, dirty in (
            (floors.random_dcg_at_k, VALUES.view(1, 5, 1), padded),
            (floors.random_ndcg_at_k, LABELS.view(1, 5, 1), (padded > 1).double()),
        ):
            if function is floors.random_ndcg_at_k:
                clean = (VALUES.view(1, 5, 1) > 1).double()
            torch.testing.assert_close(function(dirty, k, where=where), function(clean, k, where=ALL))
        torch.testing.assert_close(
            floors.random_hit_rate_at_k(k, where=where), floors.random_hit_rate_at_k(k, where=ALL)
        )


def test_without_candidates_or_positives_the_floor_is_nan():
    none = torch.zeros(1, 5, dtype=torch.bool)
    assert floors.random_dcg_at_k(VALUES.view(1, 5, 1), 3, where=none).isnan().all()
    assert floors.random_mean_at_k(VALUES.view(1, 5, 1), where=none).isnan().all()
    assert floors.random_hit_rate_at_k(3, where=none).isnan().all()
    assert floors.random_ndcg_at_k(torch.zeros(1, 5, 2), 3, where=ALL).isnan().all()
    assert floors.random_map_at_k(torch.zeros(1, 5, 2), 3, where=ALL).isnan().all()
    assert floors.random_map_at_k(torch.ones(1, 5, 2), 3, where=none).isnan().all()


def test_map_floor_of_padded_requests():
    # One candidate, a positive: AP is 1. Two, one of them positive: 1 or 1/2.
    labels = torch.tensor([[[1.0], [1.0], [1.0]], [[0.0], [1.0], [1.0]]])
    where = torch.tensor([[True, False, False], [True, True, False]])
    assert floors.random_map_at_k(labels, 3, where=where)[:, 0].tolist() == [1.0, (1 + 1 / 2) / 2]
