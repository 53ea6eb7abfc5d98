"""Every peer in benchmarks/ computes our number, and a quick run writes the whole report."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from benchmarks import (
    accuracy,
    batch,
    long_rows,
    memory,
    pairwise,
    peers,
    prepare,
    rank_peers,
    reading,
    run,
    step,
    timing,
    world,
)
from benchmarks.report import Goal, Table, markdown
from emer.data.parquet import write_requests
from emer.losses.auc_pairs import auc_pair_loss
from emer.losses.pairwise import Method, pairwise_logistic_loss
from emer.losses.soft_rank import soft_rank
from emer.metrics.concordance import concordance_auc
from emer.online.setting import Setting as Platform
from emer.requests import RequestBatch

ROOT = Path(__file__).parents[1]
SHAPE = (3, 4, 25)


def reference(scores: Tensor, targets: Tensor, ties: str) -> peers.Result:
    s = scores.clone().requires_grad_()
    loss = pairwise_logistic_loss(s, targets, ties=ties, method="dense")  # type: ignore[arg-type]
    loss.backward()
    return loss.detach(), s.grad  # type: ignore[return-value]


def assert_same(ours: peers.Result, theirs: peers.Result) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(b.double(), a.double(), rtol=1e-5, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("levels", [None, 5])
def test_the_printed_formula_is_ours_with_ties_as_halves(levels: int | None) -> None:
    scores, targets, _ = pairwise.inputs(SHAPE)
    targets = targets if levels is None else (targets * levels).floor()
    assert_same(reference(scores, targets, "half"), peers.printed_formula(scores, targets))


@pytest.mark.parametrize("levels", [None, 5])
def test_the_mask_of_pairs_is_ours_without_ties(levels: int | None) -> None:
    scores, targets, _ = pairwise.inputs(SHAPE)
    targets = targets if levels is None else (targets * levels).floor()
    assert_same(reference(scores, targets, "exclude"), peers.where_mask(scores, targets))


def test_written_out_pairs_are_ours() -> None:
    scores, targets, _ = pairwise.inputs(SHAPE)
    assert_same(reference(scores, targets, "exclude"), peers.pair_lists(scores, targets))


def test_the_collapsed_form_is_ours() -> None:
    scores, targets, ranks = pairwise.inputs(SHAPE)
    assert ranks.dtype == torch.int16
    assert_same(reference(scores, targets, "half"), peers.collapsed(scores, ranks, torch.ones(3, 4)))


@pytest.mark.slow
def test_the_compiled_form_is_ours() -> None:
    scores, targets, ranks = pairwise.inputs(SHAPE)
    compiled = peers.compiled_collapsed(1)
    assert_same(reference(scores, targets, "half"), compiled(scores, ranks, torch.ones(3, 4)))


@pytest.mark.parametrize("method", ["kernel", "near_linear", "tiled"])
def test_what_is_timed_as_ours_is_the_loss(method: Method) -> None:
    scores, targets, ranks = pairwise.inputs(SHAPE)
    assert_same(reference(scores, targets, "exclude"), pairwise.ours(scores, None, ranks, method))
    assert_same(reference(scores, targets, "exclude"), pairwise.ours(scores, targets, None, method))


@pytest.mark.parametrize("ties", ["exclude", "half"])
@pytest.mark.parametrize("name", accuracy.DISTRIBUTIONS)
def test_the_oracle_is_the_derivative_of_its_loss(name: str, ties: str) -> None:
    """Against autograd of BCE with logits, pair by pair on what the mask leaves."""
    for scores, targets, where in accuracy.examples((2, 3, 20), torch.float64, name):
        loss, gradient = accuracy.oracle(scores, targets, where, ties)  # type: ignore[arg-type]
        s = scores.clone().requires_grad_()
        total = torch.zeros((), dtype=torch.float64)
        for b in range(2):
            for k in range(3):
                x, t = s[b, where[b]], targets[b, where[b], k]
                i, j = torch.combinations(torch.arange(len(x))).unbind(1)
                label = (torch.sign(t[i] - t[j]).double() + 1) / 2
                each = torch.nn.functional.binary_cross_entropy_with_logits(x[i] - x[j], label, reduction="none")
                chosen = each if ties == "half" else each[t[i] != t[j]]
                total = total + chosen.mean() / 6
        torch.testing.assert_close(loss.mean(), total.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, torch.autograd.grad(total, s)[0], rtol=1e-10, atol=1e-12)


def test_positives_times_negatives_is_ours() -> None:
    scores, labels = batch.auc_inputs(200, (0.5, 0.1, 0.02))
    labels[:, 2] = False  # a label without positives
    compact = peers.compact_auc(scores, labels)
    assert_same(batch.of_loss(auc_pair_loss, scores, labels), compact)
    d = scores.double().unsqueeze(0) - scores.double().unsqueeze(1)
    expected = [torch.log1p(torch.exp(d[y][:, ~y])).mean() for y in labels.T[:2]]
    assert compact[0].item() == pytest.approx(sum(x.item() for x in expected) / 3, rel=1e-5)


@pytest.mark.parametrize("epsilon", [2 / 50, 0.01, 1.0])
def test_soft_ranks_of_libraries_are_ours(epsilon: float) -> None:
    g = torch.Generator().manual_seed(0)
    scores, slope = torch.randn(4, 50, generator=g), torch.randn(4, 50, generator=g)
    results = []
    for ranks in (soft_rank, rank_peers.scipy_ranks, *([rank_peers.torchsort_ranks] if rank_peers.TORCHSORT else [])):
        s = scores.clone().requires_grad_()
        value = ranks(s, epsilon=epsilon)
        value.backward(slope)
        assert s.grad is not None
        results.append((value.detach(), s.grad))
    for other in results[1:]:
        assert_same(results[0], other)


def test_concordances_of_libraries_are_ours() -> None:
    scores, targets, ranks = pairwise.inputs(SHAPE)
    expected = concordance_auc(scores, targets)
    for other in (
        rank_peers.scipy_concordance(scores, targets),
        rank_peers.torchmetrics_concordance(scores, targets),
        concordance_auc(scores, ranks),
    ):
        torch.testing.assert_close(other.double(), expected, rtol=1e-5, atol=1e-5)
    labels = (targets > 0.7).float()
    torch.testing.assert_close(
        rank_peers.sklearn_auc(scores, labels).double(), concordance_auc(scores, labels), rtol=1e-12, atol=1e-12
    )


def test_the_packed_sort_sorts() -> None:
    scores = torch.tensor([[0.5, -2.0, 3.0, -0.25, 0.0]])
    assert (peers.packed_sort(scores) & 0xFFFFFFFF).tolist() == scores.argsort(dim=1).tolist()


def test_the_step_is_emers() -> None:
    made = step.request_batch(2, 30)
    assert isinstance(made, RequestBatch)
    assert made.exposed.sum(dim=1).tolist() == [step.EXPOSED, step.EXPOSED]
    before, parts = torch.get_num_threads(), step._parts(made)
    for call in parts.values():
        call()
    assert torch.get_num_threads() == before
    assert list(parts) == [step.NETWORK, step.PREVIOUS, step.OPTIMIZER, step.LOSS, step.METRICS]


def test_measure_takes_the_median_and_samples_a_slow_baseline_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    lasts = {"fast": iter([9.0, 0.5, 1.0, 2.0, 5.0, 3.0, 4.0, 6.0, 7.0]), "slow": iter([5.0])}
    monkeypatch.setattr(timing.time, "process_time", lambda: clock[0])

    def call(name: str) -> None:
        clock[0] += next(lasts[name])

    setting = timing.Setting((1,), quick=False, tell=lambda what: None)
    cases = {name: lambda name=name: call(name) for name in lasts}  # type: ignore[misc]
    timed = timing.measure(cases, setting, 1, "test", once=("slow",))
    # The first three samples of the fast one, 1, 2 and 5, have used up the time of a case; warm-ups do not count.
    assert timed == {"fast": timing.Timing(2.0, 3), "slow": timing.Timing(5.0, 1)}
    assert timed["slow"].over(timed["fast"]) == 5.0 / 2.0


@pytest.mark.parametrize(
    ("number", "text"), [(0.05678, "0.0568"), (1.0, "1.00"), (9.999, "10.0"), (1234.5, "1,230"), (0.0, "0")]
)
def test_three_digits(number: float, text: str) -> None:
    assert timing.three_digits(number) == text


def test_goals_compare_the_right_way() -> None:
    faster = Goal("speed", 30.0, required=20.0, aim=40.0)
    assert faster.row() == ("speed", ">= 20.0x", ">= 40.0x", "30.0x", "pass")
    assert Goal("memory", 3.0, required=2.0, unit="MB", at_most=True).row()[-1] == "**miss**"
    assert Goal("memory", 1.0, required=2.0, aim=1.5, unit="MB", at_most=True).row()[-1] == "pass, aim too"


@pytest.mark.skipif(not world.SARDINE, reason="SARDINE is not installed")
def test_sardine_counts_a_slate_as_its_videos() -> None:
    walk, impressions = world._sardine(120)  # longer than an episode
    walk()
    assert impressions == 1200


def test_the_two_worlds_of_the_benchmark_show_the_same_videos() -> None:
    shown = [
        world._day(Platform(candidates=16, users=40, videos=400, backend=backend, parameters=world.LIST_EFFECTS), 40)
        for backend in world.BACKENDS
    ]
    assert shown[0] == shown[1] > 40


def test_batches_padded_by_hand_are_ours(tmp_path: Path) -> None:
    table = reading.request_table(10, 12).select([3, 0, 7, 9])
    write_requests(table, tmp_path / "a.parquet")
    (theirs,) = reading.arrow_batches(tmp_path / "a.parquet")
    ours = table.batch(range(4))
    for k, name in enumerate(reading.SCHEMA.objective_names):
        assert theirs[f"pxtr_{name}"].equal(ours.pxtr[..., k])
        assert theirs[f"rank_{name}"].equal(ours.rank_gap[..., k])
    assert theirs["label_like"].float().equal(ours.label[..., 2]) and theirs["item_id"].equal(ours.item_id)
    assert theirs["user_id"].equal(ours.user_id)


def test_the_timed_stream_gives_every_request(tmp_path: Path) -> None:
    write_requests(reading.request_table(70, 3), tmp_path / "a.parquet", 32)
    rows = [row for batch in reading.stream_loader(tmp_path / "a.parquet", 0) for row in batch.row.tolist()]
    assert sorted(rows) == list(range(70))


def test_pandas_makes_the_same_requests(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the extra `spark` is not installed")
    long_rows.write_rows(tmp_path / "rows", 5_000)
    for way, make in long_rows.WAYS.items():
        (tmp_path / way).mkdir()
        assert make(tmp_path / "rows", tmp_path / way) > 0
    (ours,) = (tmp_path / "ours" / "cache").iterdir()
    for split, requests in (("train", 70), ("validation", 10), ("test", 20)):
        mine = pl.read_parquet(ours / split / "*.parquet").sort("request_id")
        theirs = pl.read_parquet(tmp_path / "pandas" / split / "*.parquet").sort("request_id")
        assert theirs.height == requests
        for name in ("request_id", *long_rows.PER_REQUEST):
            assert mine[name].equals(theirs[name])
        order = [np.argsort(items) for items in theirs["item_id"].to_list()]
        for name, column in {"p0": "pxtr_p0", "pvtr": "pxtr_pvtr", "like": "label_like", "item_id": "item_id"}.items():
            sorted_ = [np.asarray(x)[o].tolist() for x, o in zip(theirs[name].to_list(), order, strict=True)]
            assert mine[column].to_list() == sorted_


def test_rows_of_a_request_lie_apart(tmp_path: Path) -> None:
    long_rows.write_rows(tmp_path / "rows", 5_000)
    rows = pl.read_parquet(tmp_path / "rows" / "*.parquet")
    assert rows.group_by("request_id").len()["len"].to_list() == [long_rows.CANDIDATES] * 100
    assert rows.group_by("request_id", "item_id").len().height == 5_000
    place = pl.col("row")
    spread = rows.with_row_index("row").group_by("request_id").agg((place.max() - place.min()).alias("spread"))
    assert spread["spread"].min() > 4_000  # type: ignore[operator]


def test_markdown() -> None:
    text = markdown(Table("Times", ("", "a"), [("x", "1 ms")]))
    assert text == "**Times**\n\n|  | a |\n| --- | --- |\n| x | 1 ms |\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_is_that_of_the_matrices() -> None:
    """At (4, 2, 500), a float32 matrix of all pairs has 4 MB, and the printed formula holds a few at a time."""
    matrix = 4 * 500 * 500 * 4 / 2**20
    assert 2 * matrix < memory._in_own_process("printed formula", (4, 2, 500)) < 10 * matrix


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """Section -> the rows of all its tables."""
    rows: dict[str, list[list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not set(line) <= set("|- "):
            rows.setdefault(section, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.slow
def test_a_quick_run_writes_the_whole_report(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/run.py", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RESULTS.md", "cost.svg", "results.json"]
    rows = tables_of((tmp_path / "RESULTS.md").read_text(encoding="utf-8"))
    first = {section: [row[0] for row in found] for section, found in rows.items()}
    assert set(pairwise.ROWS) <= set(first["Pairwise logistic loss"])
    assert {"continuous", "rounded to bfloat16", "20 levels", "70 % zeros", "all tied"} <= set(first["Tied targets"])
    assert {"printed formula", "ours: kernel"} <= set(first["Memory"])
    assert set(accuracy.DISTRIBUTIONS) | {"**worst**"} <= set(first["Accuracy"])
    assert {"0.5 %", "2 %", "10 %", "30 %", "50 %"} <= set(first["AUC pairs of a batch"])
    labels = torch.zeros(1, 5, dtype=torch.bool)
    assert set(batch.losses(labels)) <= set(first["Training speed under each loss"])
    assert {"torchsort", "**ours: kernel**", "**ours: torch**"} <= set(first["Soft ranks"])
    assert {"scipy.stats.kendalltau, loop", "**ours: kernel**, rank gaps"} <= set(first["Concordance (GAUC)"])
    assert {"loss and weights", "metrics", "**loss, weights and metrics**"} <= set(first["EMER's training step"])

    assert {"**ours: numpy**, 16 candidates", "**ours: numba**, 16 candidates"} <= set(first["Simulated world"])

    assert {reading.PASS, reading.STREAM, reading.WORKER, reading.ARROW} <= set(first["Reading request Parquet"])
    table = rows["Preparing a long table"]
    assert {row[0] for row in table} >= {"5,000", "20,000", "4.00x", "1,000", "2,000"}
    assert sum(row[1] == prepare.OURS for row in table) == 2

    raw = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    shape = str(pairwise.QUICK_SHAPES[0])
    times = raw["pairwise"][f"{shape} threads 1"]
    kernel = next(row for row in rows["Pairwise logistic loss"] if row[0] == pairwise.KERNEL)[1]
    ratio = float(re.fullmatch(r"[\d.,]+ (?:us|ms|s) \(n \d+\), ([\d.,]+)x", kernel)[1].replace(",", ""))  # type: ignore[index]
    expected = times[pairwise.PRINTED]["median_seconds"] / times[pairwise.KERNEL]["median_seconds"]
    assert ratio == pytest.approx(expected, rel=0.01)
    for section in ("Pairwise logistic loss", "Soft ranks", "Concordance (GAUC)", "AUC pairs of a batch"):
        for row in rows[section]:
            for found in re.findall(r"(\S+)x(?: |$)", " ".join(row[1:])):
                assert float(found.replace(",", "")) > 0


@pytest.mark.parametrize("text", ["0", "1,x", ""])
def test_wrong_threads_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a list of numbers such as 1,2"):
        run._threads(text)


def test_threads_ascend() -> None:
    assert run._threads("2,1,2") == (1, 2)
