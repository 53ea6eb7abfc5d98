"""The table of methods: from run folders, by hand arithmetic; unfinished and doubled runs are named, not averaged."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from emer.errors import EmerError
from emer.files import write_json, write_text
from emer.metrics.seed_intervals import seed_difference
from emer.metrics.summary import summarise
from emer.reports.method_table import method_rows, write_method_table
from emer.reports.runs import read_runs

USERS = 40


def run_folder(
    root: Path, method: str, seed: int, gain: float, *, data: str = "simulated", status="finished", lr: float = 0.1
) -> Path:
    """A run whose label GAUC is .5 + gain and noise of the seed, on requests whose noise all runs share."""
    path = root / f"{method}_{data}_{seed}"
    write_text(
        path / "config.yaml",
        OmegaConf.to_yaml(
            {
                "method": {"name": method, "switches": {}, "optimizer": {"lr": lr}, "module": {"seed": seed}},
                "data": {"name": data, "root": f"/{seed}", "seed": 0},
                "seed": seed,
                "run": {"identity": "x"},
            }
        ),
    )
    write_json(path / "status.json", {"status": status, **({"error": "it broke"} if status == "failed" else {})})
    if status != "finished":
        return path
    shared = np.random.default_rng(0).normal(0.5, 0.05, USERS)
    own = np.random.default_rng(seed + 100 * len(method)).normal(0, 0.01, USERS)
    columns = {f"{family}/a": shared + own + gain for family in ("label_gauc", "pxtr_gauc", "iput_gauc")}
    columns |= {"n_candidates": np.full(USERS, 5.0), "n_exposed": np.full(USERS, 3.0)}
    columns |= {"request_id": np.arange(USERS), "user_id": np.arange(USERS)}
    pq.write_table(pa.table(columns), path / "per_request.parquet")
    summary = summarise(columns, {"a": 0.5 + gain})
    write_json(path / "metrics.json", {f"test/{name}": value for name, value in summary.items()})
    write_json(path / "timing.json", {"parameters": 10, "train_rows_per_second": 2000.0 * seed, "fit_seconds": 4.0})
    return path


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        run_folder(tmp_path, "emer", seed, 0.1)
        run_folder(tmp_path, "borda", seed, 0.2)
    return tmp_path


def folders(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob("*/status.json"))


def test_rows_are_means_over_seeds_best_first(sweep: Path) -> None:
    runs, missing = read_runs(folders(sweep))
    assert missing == []
    borda, emer = method_rows(runs, "emer")
    assert (borda.label, emer.label) == ("borda", "emer")
    assert borda.seeds == (1, 2, 3)
    of = {run.seed: run for run in runs if run.label == "borda"}
    expected = np.mean([of[s].metrics["label_gauc/mean"] for s in (1, 2, 3)])
    assert borda.values["label_gauc/mean"].estimate == pytest.approx(expected)
    assert borda.costs == {"parameters": 10, "train_rows_per_second": 4000, "fit_seconds": 4}


def test_the_difference_is_paired_by_seed_and_request(sweep: Path) -> None:
    runs, _ = read_runs(folders(sweep))
    borda, emer = method_rows(runs, "emer")
    assert emer.differences == {}
    sides = [
        [r.per_request for r in sorted(runs, key=lambda r: r.seed) if r.label == label] for label in ("borda", "emer")
    ]
    assert borda.differences["iput_gauc/mean"] == seed_difference(*sides, "iput_gauc/mean")
    assert borda.differences["label_auc/sum"].estimate == pytest.approx(0.1)
    assert borda.differences["label_gauc/mean"].p < 0.001


def test_only_common_seeds_are_compared(sweep: Path) -> None:
    run_folder(sweep, "borda", 4, 5.0)
    runs, _ = read_runs(folders(sweep))
    borda = next(row for row in method_rows(runs, "emer") if row.label == "borda")
    assert borda.seeds == (1, 2, 3, 4)
    assert borda.differences["label_gauc/mean"].seeds == 3
    assert borda.differences["label_gauc/mean"].estimate == pytest.approx(0.1, abs=0.01)


def test_what_did_not_finish_is_named(sweep: Path) -> None:
    run_folder(sweep, "urem", 1, 0.0, status="failed")
    run_folder(sweep, "intel", 1, 0.0, status="running")
    text = write_method_table(folders(sweep), sweep)
    assert "- urem_simulated_1: it broke" in text
    assert "- intel_simulated_1: running" in text
    assert "| urem" not in text
    assert text == (sweep / "methods.md").read_text(encoding="utf-8")


def test_each_log_has_its_table_and_its_floor(sweep: Path) -> None:
    run_folder(sweep, "emer", 1, 0.1, data="kuairand")
    text = write_method_table(folders(sweep), sweep)
    assert text.count("## simulated") == text.count("## kuairand") == 1
    assert text.count("| *expected of a random order* | | 0.5000 |") == 2


def test_every_run_stands_in_the_csv(sweep: Path) -> None:
    write_method_table(folders(sweep), sweep)
    rows = list(csv.DictReader(io.StringIO((sweep / "methods.csv").read_text(encoding="utf-8"))))
    assert [(row["method"], row["seed"]) for row in rows] == [(m, s) for m in ("borda", "emer") for s in "123"]
    runs, _ = read_runs(folders(sweep))
    assert float(rows[0]["label_gauc/mean"]) == next(
        run.metrics["label_gauc/mean"] for run in runs if (run.label, run.seed) == ("borda", 1)
    )


def test_two_runs_of_a_seed_are_refused(sweep: Path) -> None:
    path = run_folder(sweep, "borda", 1, 0.3, data="simulated").rename(sweep / "again")
    run_folder(sweep, "borda", 1, 0.2)
    assert path.exists()
    with pytest.raises(EmerError, match="borda has two runs with seed 1 on simulated"):
        write_method_table(folders(sweep), sweep)


def test_runs_of_different_settings_are_not_averaged(sweep: Path) -> None:
    run_folder(sweep, "borda", 4, 0.2, lr=0.5)
    message = (
        r"borda on simulated has runs of different settings \(method\.optimizer\.lr=0\.1 and 0\.5\) in "
        "borda_simulated_1 and borda_simulated_4"
    )
    with pytest.raises(EmerError, match=message):
        write_method_table(folders(sweep), sweep)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("per_request.parquet", b"no parquet", "cannot be read, ArrowInvalid"),
        ("config.yaml", b"", "cannot be read"),
        ("metrics.json", b"{}", "metrics.json has no test/label_gauc/mean"),
        ("timing.json", b"[]", "cannot be read"),
    ],
)
def test_a_damaged_run_does_not_cost_the_others_their_table(sweep: Path, file: str, content: bytes, why: str) -> None:
    path = run_folder(sweep, "intel", 1, 0.3)
    (path / file).write_bytes(content)
    text = write_method_table(folders(sweep), sweep)
    assert "| borda | 3 |" in text and "| intel" not in text
    [line] = [line for line in text.splitlines() if line.startswith("- intel_simulated_1: ")]
    assert why in line


def test_methods_on_other_requests_or_floors_are_not_compared(sweep: Path) -> None:
    path = run_folder(sweep, "intel", 1, 0.3)
    config = OmegaConf.load(path / "config.yaml")
    write_text(path / "config.yaml", OmegaConf.to_yaml(OmegaConf.merge(config, {"loader": {"iput_floor": 3.0}})))
    with pytest.raises(EmerError, match=r"differ in loader\.iput_floor \(None and 3\.0\)"):
        write_method_table(folders(sweep), sweep)
    write_text(path / "config.yaml", OmegaConf.to_yaml(config))
    columns = pq.read_table(path / "per_request.parquet")
    pq.write_table(columns.slice(1), path / "per_request.parquet")
    with pytest.raises(EmerError, match="on simulated were evaluated on different requests"):
        write_method_table(folders(sweep), sweep, reference="nothing")


def test_differences_that_are_clear_are_bold(sweep: Path) -> None:
    text = write_method_table(folders(sweep), sweep)
    [row] = [line for line in text.splitlines() if line.startswith("| borda") and "(p " in line]
    # Three with an interval that leaves out 0; the pooled AUC differs by the same for every seed, and so has none.
    assert row.count("**") == 6
    assert "| +0.1000 |" in row


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    run_folder(tmp_path, "borda", 1, 0.2)
    text = write_method_table(folders(tmp_path), tmp_path)
    assert "No difference from emer: no other method has a seed in common with it here." in text
    assert "p-value" not in text


def test_nothing_finished_is_an_error(tmp_path: Path) -> None:
    run_folder(tmp_path, "urem", 1, 0.0, status="failed")
    with pytest.raises(EmerError, match=r"no finished run.*\nurem_simulated_1: it broke"):
        write_method_table(folders(tmp_path), tmp_path)
