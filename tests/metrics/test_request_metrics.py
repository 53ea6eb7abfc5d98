"""Every metric per request against oracles, and the collector against any dealing-out of the requests."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from emer.data.table import RequestTable
from emer.errors import DataError, EmerError
from emer.metrics.request_metrics import RequestMetrics, column_names, request_values
from emer.requests import Objective, Role, Schema, Unit


def scores_of(table, seed=0):
    """One score vector per request, without ties."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, generator=g) for n in table.lengths.tolist()]


def evaluate(table, scores, batches):
    metric = RequestMetrics(table.schema)
    for rows in batches:
        padded = torch.nn.utils.rnn.pad_sequence([scores[r] for r in rows], batch_first=True)
        metric.update(padded, table.batch(rows))
    return metric.compute()


def assert_same(result, expected):
    """Bitwise equal summaries and per-request values."""
    assert result[0] == expected[0]
    assert result[1].keys() == expected[1].keys()
    for name, values in expected[1].items():
        np.testing.assert_array_equal(result[1][name], values, err_msg=name)


def pair_auc(scores, target):
    pairs = [(i, j) for i in range(len(target)) for j in range(len(target)) if target[i] > target[j]]
    agree = sum((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]) for i, j in pairs)
    return float(agree) / len(pairs) if pairs else math.nan


def test_every_value_of_every_request(make_table):
    table = make_table()
    scores = scores_of(table)
    batch = table.batch(np.arange(len(table)))
    padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=99.0)
    found = request_values(padded, batch, k=3)
    assert tuple(found) == column_names(table.schema, 3)
    for r in range(len(table)):
        part = slice(table.offsets[r], table.offsets[r + 1])
        s, pxtr, shown, label = scores[r].numpy(), table.pxtr[part], table.exposed[part], table.label[part]
        n, top = len(s), np.argsort(-s)[:3]
        value = {name: column[r].item() for name, column in found.items()}
        assert value["n_candidates"] == n and value["n_exposed"] == shown.sum()
        expected = {}
        for k, name in enumerate(table.schema.objective_names):
            p = pxtr[:, k].astype(np.float64)
            expected[f"pxtr_gauc/{name}"] = pair_auc(s, p)
            expected[f"exposed_pxtr_gauc/{name}"] = pair_auc(s[shown], p[shown])
            discount = 1 / np.log2(np.arange(len(top)) + 2)
            expected[f"dcg_at_3/{name}"] = p[top] @ discount
            expected[f"mean_at_3/{name}"] = p[top].mean()
            best = np.argsort(-p, kind="stable")[:3]
            expected[f"hit_rate_at_3/{name}"] = len(set(best) & set(top)) / len(top)
            expected[f"random/dcg_at_3/{name}"] = p.mean() * discount.sum()
            expected[f"random/mean_at_3/{name}"] = p.mean()
            expected[f"random/hit_rate_at_3/{name}"] = len(top) / n
        iput = pxtr[:, 2] / np.maximum(pxtr[:, 1], np.float32(1))
        expected["iput_gauc/pltr"] = pair_auc(s, iput)
        for m, name in enumerate(table.schema.feedback_names):
            y, t = label[shown, m], s[shown]
            both = 0 < y.sum() < len(y)
            expected[f"label_gauc/{name}"] = roc_auc_score(y, t) if both else math.nan
            if y.sum() == 0:
                expected[f"ndcg_at_3/{name}"] = math.nan
            else:
                expected[f"ndcg_at_3/{name}"] = ndcg_score([y], [t], k=3) if len(y) > 1 else 1.0
        for name, number in expected.items():
            assert value[name] == pytest.approx(number, rel=1e-6, nan_ok=True), (r, name)


def test_names_follow_the_schema():
    schema = Schema(objectives=(Objective("pctr"), Objective("pvtr", unit=Unit.SECONDS)))
    names = column_names(schema, 5)
    assert "dcg_at_5/pvtr" in names and not [n for n in names if n.startswith(("iput", "label", "ndcg"))]


def test_a_log_without_labels_or_exposure(make_table):
    full = make_table()
    schema = dataclasses.replace(
        full.schema,
        objectives=tuple(dataclasses.replace(o, feedback=None) for o in full.schema.objectives),
        feedback=(),
    )
    table = dataclasses.replace(full, schema=schema, exposed=np.zeros_like(full.exposed), label=full.label[:, :0])
    summary, _ = evaluate(table, scores_of(table), [np.arange(len(table))])
    assert summary["exposed_pxtr_gauc/pctr"] is None and summary["pxtr_gauc/pctr"] is not None
    assert not [name for name in summary if "label" in name]


def test_pxtr_as_score_is_perfect_and_its_negative_the_worst(make_table):
    table = make_table()
    pctr = [torch.from_numpy(table.pxtr[a:b, 0]) for a, b in zip(table.offsets, table.offsets[1:], strict=False)]
    rows = [np.arange(len(table))]
    assert evaluate(table, pctr, rows)[0]["pxtr_gauc/pctr"] == 1.0
    assert evaluate(table, [-p for p in pctr], rows)[0]["pxtr_gauc/pctr"] == 0.0


def test_iput_example_of_the_paper():
    schema = Schema(objectives=(Objective("pvtr", unit=Unit.SECONDS), Objective("pltr", role=Role.INTERACTION)))
    table = RequestTable.build(
        schema=schema,
        offsets=[0, 3],
        request_id=[1],
        user_id=[1],
        time_ms=[0],
        item_id=[1, 2, 3],
        pxtr=[[20, 0.8], [10, 0.7], [5, 0.4]],
        exposed=[0, 0, 0],
        label=np.zeros((3, 0), dtype=bool),
    )
    raw_order = [torch.tensor([3.0, 2.0, 1.0])]
    summary, _ = evaluate(table, raw_order, [[0]])
    assert summary["pxtr_gauc/pltr"] == 1.0 and summary["iput_gauc/pltr"] == 0.0


def test_pooled_auc_runs_over_all_exposed_candidates(make_table):
    table = make_table()
    scores = scores_of(table)
    summary, _ = evaluate(table, scores, [np.arange(5), np.arange(5, len(table))])
    flat = torch.cat(scores).numpy()[table.exposed]
    auc = [roc_auc_score(table.label[table.exposed, m], flat) for m in (0, 1)]
    assert summary["label_auc/click"] == pytest.approx(auc[0], abs=1e-12)
    assert summary["label_auc/like"] == pytest.approx(auc[1], abs=1e-12)
    assert summary["label_auc/follow"] is None
    assert summary["label_auc/sum"] == pytest.approx(sum(auc), abs=1e-12)


def test_result_does_not_depend_on_batches_order_or_repeats(make_table):
    table = make_table()
    scores = scores_of(table)
    everything = np.arange(len(table))
    whole = evaluate(table, scores, [everything])
    np.testing.assert_array_equal(whole[1]["row"], everything)
    np.testing.assert_array_equal(whole[1]["request_id"], table.request_id)
    assert_same(evaluate(table, scores, [[r] for r in everything]), whole)
    assert_same(evaluate(table, scores, [everything[::-1]]), whole)
    # A sampler that pads its last batch shows a request twice.
    assert_same(evaluate(table, scores, [everything[:8], everything[8:], [0, 1, 5]]), whole)


def test_two_processes_agree_with_one(make_table, on_two_processes):
    table = make_table()
    scores = scores_of(table)
    rows = np.arange(len(table))
    cases = {
        "uneven": ([rows[:7], rows[7:9]], [rows[9:]]),
        "second process idle": ([rows], []),
        "padded by the sampler": ([rows[::2]], [rows[1::2], rows[:1]]),
    }

    def share(rank):
        metric = RequestMetrics(table.schema)
        results = []
        for shares in cases.values():
            for part in shares[rank]:
                padded = torch.nn.utils.rnn.pad_sequence([scores[r] for r in part], batch_first=True)
                metric.update(padded, table.batch(part))
            results.append(metric.compute())
            metric.reset()
        return results

    expected = evaluate(table, scores, [rows])
    for results in on_two_processes(share):
        assert len(results) == len(cases)
        for result in results:
            assert_same(result, expected)


def test_reset_forgets_and_nothing_seen_is_no_number(make_table):
    table = make_table()
    metric = RequestMetrics(table.schema)
    metric.update(torch.zeros(1, int(table.lengths[0])), table.batch([0]))
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        summary, per_request = metric.compute()
    assert per_request["row"].size == 0
    assert all(v is None or (v == 0 and n.startswith("groups/")) for n, v in summary.items())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_no_number_is_refused(make_table, bad):
    table = make_table()
    batch = table.batch([2, 3])
    scores = torch.zeros(batch.mask.shape)
    metric = RequestMetrics(table.schema)
    metric.update(scores.masked_fill(~batch.mask, bad), batch)  # padding is not read
    scores[1, 0] = bad
    item, request = table.item_id[table.offsets[3]], table.request_id[3]
    with pytest.raises(EmerError, match=f"item {item} of request {request}"):
        metric.update(scores, batch)


def test_two_requests_in_one_row_are_refused(make_table):
    table = make_table()
    metric = RequestMetrics(table.schema)
    batch = dataclasses.replace(table.batch([2, 3]), row=torch.tensor([4, 4]))
    metric.update(torch.zeros(batch.mask.shape), batch)
    with pytest.raises(DataError, match="both claim row 4"):
        metric.compute()


def test_an_impossible_k_is_refused():
    with pytest.raises(EmerError, match="top_k is 0"):
        RequestMetrics(Schema(objectives=(Objective("pctr"),)), k=0)


def test_random_scores_reach_the_floor_of_every_metric(make_table):
    table = make_table(requests=3000, seed=1)
    summary, _ = evaluate(table, scores_of(table, seed=2), [np.arange(3000)])
    names = [n for n in summary if f"random/{n}" in summary and summary[n] is not None]
    assert len(names) > 20 and "label_gauc/like" in names and "hit_rate_at_10/pvtr" in names
    for name in names:
        assert summary[name] == pytest.approx(summary[f"random/{name}"], rel=0.03), name


def test_half_precision_scores_are_compared_as_they_are(make_table):
    table = make_table()
    scores = [s.to(torch.bfloat16) for s in scores_of(table)]
    assert_same(
        evaluate(table, scores, [np.arange(len(table))]),
        evaluate(table, [s.float() for s in scores], [np.arange(len(table))]),
    )
