"""The torchmetrics classes against scikit-learn, SciPy and torchmetrics, and over batches and processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.metrics import dcg_score, roc_auc_score
from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG

from emer.metrics.means import DCG, GAUC, MAP, NDCG, HitRate, MeanAtK, RequestMean

B, N, K = 12, 15, 2


def log(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores without ties, labels (some requests have one class only), values and valid candidates."""
    g = torch.Generator().manual_seed(seed)
    scores, values = torch.randn(B, N, generator=g), torch.rand(B, N, K, generator=g)
    where = torch.rand(B, N, generator=g) < 0.8
    labels = (torch.rand(B, N, K, generator=g) < torch.tensor([0.5, 0.06])).float()
    return scores, labels, values, where


def metrics() -> dict[str, RequestMean]:
    return {
        "gauc": GAUC(K),
        "dcg": DCG(K, k=4),
        "ndcg": NDCG(K, k=4),
        "map": MAP(K, k=4),
        "hit_rate": HitRate(K, k=4),
        "mean": MeanAtK(K, k=4),
    }


@pytest.mark.parametrize("weigh_by", ["candidates", "requests"])
def test_gauc_of_labels_is_scikit_learns(weigh_by: str) -> None:
    scores, labels, _, where = log()
    metric = GAUC(K, weigh_by=weigh_by)
    metric.update(scores, labels, where)
    for k in range(K):
        auc, weight = [], []
        for b in range(B):
            y, s = labels[b, where[b], k].numpy(), scores[b, where[b]].numpy()
            if 0 < y.sum() < len(y):
                auc.append(roc_auc_score(y, s))
                weight.append(len(y) if weigh_by == "candidates" else 1)
        assert k == 0 or len(auc) < B
        assert metric.compute()[k].item() == pytest.approx(np.average(auc, weights=weight), abs=1e-12)


def test_gauc_of_values_is_kendalls_tau() -> None:
    scores, _, values, where = log()
    metric = GAUC(K)
    metric.update(scores, values, where)
    n = where.sum(dim=1).numpy()
    for k in range(K):
        tau = [kendalltau(scores[b, where[b]], values[b, where[b], k]).statistic for b in range(B)]
        assert metric.compute()[k].item() == pytest.approx(np.average((np.array(tau) + 1) / 2, weights=n), abs=1e-12)


def test_gauc_weighs_by_each_objectives_own_candidates() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    targets = torch.tensor([[[2.0], [1.0], [0.0]], [[2.0], [1.0], [0.0]]])
    where = torch.tensor([[[True], [True], [True]], [[True], [True], [False]]])
    metric = GAUC()
    metric.update(scores, targets, where)
    assert metric.compute().item() == (3 * 1 + 2 * 0) / (3 + 2)


@pytest.mark.parametrize("k", [3, N])
def test_retrieval_metrics_of_torchmetrics(k: int) -> None:
    scores, labels, _, where = log()
    index = torch.arange(B).unsqueeze(1).expand(B, N)[where]
    ndcg, average_precision = NDCG(K, k=k), MAP(K, k=N)
    for metric in (ndcg, average_precision):
        metric.update(scores, labels, where)
    for m in range(K):
        # Its average precision forgets positives with a score of at most 0.
        arguments = scores[where].sigmoid(), labels[..., m][where].bool()
        oracle = RetrievalNormalizedDCG(empty_target_action="skip", top_k=k)
        assert ndcg.compute()[m].item() == pytest.approx(oracle(*arguments, indexes=index).item(), abs=1e-6)
        oracle = RetrievalMAP(empty_target_action="skip")
        found = average_precision.compute()[m].item()
        assert found == pytest.approx(oracle(*arguments, indexes=index).item(), abs=1e-6)


def test_dcg_mean_and_hit_rate() -> None:
    scores, _, values, where = log()
    found = {name: metric for name, metric in metrics().items() if name in ("dcg", "mean", "hit_rate")}
    for metric in found.values():
        metric.update(scores, values, where)
    for k in range(K):
        kept = [(values[b, where[b], k].numpy(), scores[b, where[b]].numpy()) for b in range(B)]
        dcg = [dcg_score(v[None], s[None], k=4) for v, s in kept]
        mean = [v[np.argsort(-s)[:4]].mean() for v, s in kept]
        hit = [len({*np.argsort(-s)[:4]} & {*np.argsort(-v)[:4]}) / 4 for v, s in kept]
        for name, expected in (("dcg", dcg), ("mean", mean), ("hit_rate", hit)):
            assert found[name].compute()[k].item() == pytest.approx(np.mean(expected), rel=1e-6), name


@pytest.mark.parametrize("per_objective", [False, True])
def test_given_weights_take_the_place_of_the_metrics_own(per_objective: bool) -> None:
    scores = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    targets = torch.tensor([[[1.0], [0.0]], [[1.0], [0.0]], [[0.0], [0.0]]])
    weights = torch.tensor([3.0, 1.0, 100.0])
    metric = GAUC()
    metric.update(scores, targets, weights=weights.unsqueeze(-1) if per_objective else weights)
    # The last request has no pair, whatever it weighs.
    assert metric.compute().item() == (3 * 1 + 1 * 0) / (3 + 1)


@pytest.mark.parametrize("name", list(metrics()))
def test_batches_add_up_and_reset_forgets(name: str) -> None:
    scores, labels, values, where = log()
    whole, parts = metrics()[name], metrics()[name]
    targets = labels if name in ("ndcg", "map") else values
    whole.update(scores, targets, where)
    parts.update(scores, targets, where)
    parts.reset()
    for rows in (slice(0, 1), slice(1, 8), slice(8, B)):
        parts.update(scores[rows], targets[rows], where[rows])
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=1e-12, atol=0)
    assert whole.compute().dtype == torch.float64 and whole.higher_is_better and not whole.full_state_update
    assert whole.half().total.dtype == torch.float64


@pytest.mark.parametrize("name", list(metrics()))
def test_without_a_valid_request_the_mean_is_nan(name: str) -> None:
    metric = metrics()[name]
    metric.update(torch.zeros(2, 3), torch.zeros(2, 3, K), torch.zeros(2, 3, dtype=torch.bool))
    metric.update(torch.zeros(0, 3), torch.zeros(0, 3, K))
    assert metric.compute().shape == (K,) and all(math.isnan(x) for x in metric.compute().tolist())


def test_what_does_not_fit_is_refused() -> None:
    scores, targets = torch.zeros(2, 3), torch.zeros(2, 3, K)
    with pytest.raises(ValueError, match=r"needed are \(B, N\) and \(B, N, 2\)"):
        GAUC(K).update(scores, targets[..., :1])
    with pytest.raises(ValueError, match="where has shape"):
        NDCG(K).update(scores, targets, torch.ones(2, 1, dtype=torch.bool))
    for weights in ([1.0, -1.0], [1.0, math.nan], [1.0, math.inf]):
        with pytest.raises(ValueError, match=r"weights\[1\] is no weight"):
            GAUC(K).update(scores, targets, weights=torch.tensor(weights))
    with pytest.raises(ValueError, match="weights have shape"):
        GAUC(K).update(scores, targets, weights=torch.ones(3))
    with pytest.raises(ValueError, match="k is 0"):
        NDCG(K, k=0)
    with pytest.raises(ValueError, match="num_outputs is 0"):
        GAUC(0)
    with pytest.raises(ValueError, match="weigh_by must be"):
        GAUC(weigh_by="users")


def test_two_processes_add_up(on_two_processes: Callable[[Callable[[int], Any]], list[Any]]) -> None:
    scores, labels, values, where = log()
    cases = {"uneven": ([slice(0, 3), slice(3, 7)], [slice(7, B)]), "second process idle": ([slice(0, B)], [])}

    def share(rank: int) -> list[dict[str, torch.Tensor]]:
        results = []
        for shares in cases.values():
            result = metrics()
            for name, metric in result.items():
                for rows in shares[rank]:
                    metric.update(scores[rows], (labels if name in ("ndcg", "map") else values)[rows], where[rows])
            results.append({name: metric.compute() for name, metric in result.items()})
        return results

    both = on_two_processes(share)
    for name, metric in metrics().items():
        metric.update(scores, labels if name in ("ndcg", "map") else values, where)
        for results in both:
            assert len(results) == len(cases)
            for result in results:
                torch.testing.assert_close(result[name], metric.compute(), rtol=1e-12, atol=0)
