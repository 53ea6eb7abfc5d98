"""Tables of the main job from its runs: metrics over seeds, and how far each network is from its optimum.

    python experiments/main_job/table.py outputs/multirun/<sweep> [...]     writes results.md and runs.csv

The gap compares the prior loss at equal weights on held-out requests with the least that any scores could reach
there, one free score per candidate, found by gradient descent (the problem is convex). It says whether the network
is trained, whatever the metrics say.
"""

from __future__ import annotations

import argparse
import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from emer.data.splits import read_splits
from emer.files import atomic_path, write_text
from emer.jobs.app import register
from emer.jobs.prepare import prepare_data
from emer.jobs.train import best_checkpoint, build_datamodule, build_module
from emer.labels import method_label
from emer.losses.pairwise import pairwise_logistic_loss
from emer.requests import RequestBatch
from emer.run_folder import RunFolder

REQUESTS = 1024
"""Test requests that the gap is measured on."""

METRICS = ("pxtr_gauc/mean", "iput_gauc/mean", "label_gauc/mean", "label_gauc/click", "label_gauc/long_view")
METRICS += ("label_gauc/like", "label_auc/sum")


def interval(values: list[float], digits: int = 4) -> str:
    """Mean and 95 % t interval over seeds."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def prior_loss(scores: torch.Tensor, batch: RequestBatch, iput: bool) -> torch.Tensor:
    ranks = batch.iput_rank_gap if iput else batch.rank_gap
    return pairwise_logistic_loss(scores, None, ranks=ranks, where=batch.mask)


@cache
def held_out(root: Path) -> RequestBatch:
    test = read_splits(root).test
    return test.batch(np.arange(min(REQUESTS, len(test))))


@cache
@torch.enable_grad()
def optimum(root: Path, iput: bool) -> float:
    """Least prior loss on the held-out requests over free scores."""
    batch = held_out(root)
    scores = torch.zeros(batch.mask.shape, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300)
    for _ in range(300):
        optimiser.zero_grad()
        # Each request is a problem of its own, so the sum keeps the step size independent of their number.
        (prior_loss(scores, batch, iput) * len(batch)).backward()
        optimiser.step()
        schedule.step()
    return prior_loss(scores.detach(), batch, iput).item()


@torch.no_grad()
def gap(folder: RunFolder) -> float | None:
    """Relative excess of the run's held-out prior loss over the optimum; None for a method without objective."""
    cfg = folder.load_config()
    if "objective" not in cfg.method:
        return None
    root = prepare_data(cfg)
    module = build_module(cfg, build_datamodule(cfg, root))
    state = torch.load(best_checkpoint(folder), weights_only=False, map_location="cpu")
    module.load_state_dict(state["state_dict"])
    iput = bool(cfg.method.objective.iput)
    return prior_loss(module.eval()(held_out(root)), held_out(root), iput).item() / optimum(root, iput) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", type=Path, help="folders that hold run folders")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where results.md and runs.csv go")
    arguments = parser.parse_args()
    register()
    runs = [row_of(RunFolder(p.parent)) for sweep in arguments.sweeps for p in sorted(sweep.glob("*/status.json"))]
    write_csv(arguments.out / "runs.csv", runs)
    lines = ["| method | seeds | " + " | ".join(METRICS) + " | prior loss above optimum |"]
    lines.append("|" + "---|" * (len(METRICS) + 3))
    for label in dict.fromkeys(row["method"] for row in runs):
        rows = [row for row in runs if row["method"] == label]
        cells = [interval([row[name] for row in rows if row[name] is not None]) for name in METRICS]
        gaps = [100 * row["gap"] for row in rows if row["gap"] is not None]
        cells.append(f"{interval(gaps, 2)} %" if gaps else "-")
        lines.append(f"| {label} | {len(rows)} | " + " | ".join(cells) + " |")
    lines.append("| random | - | " + " | ".join(f"{runs[0]['random/' + name]:.4f}" for name in METRICS) + " | - |")
    write_text(arguments.out / "results.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def row_of(folder: RunFolder) -> dict[str, Any]:
    """One run: what it was, its metrics, its gap."""
    cfg, metrics = folder.load_config(), folder.read("metrics.json")
    label = method_label(cfg.method)
    if "tuner" in cfg.method:
        label += f" ({cfg.method.tuner.objective}, {cfg.method.tuner.n_trials} trials)"
    row: dict[str, Any] = {"method": label, "data": cfg.data.name, "seed": cfg.seed, "identity": cfg.run.identity}
    row |= {"status": folder.status()["status"], "gap": gap(folder)}
    row |= {name: metrics[f"test/{name}"] for name in METRICS}
    return row | {f"random/{name}": metrics[f"test/random/{name}"] for name in METRICS}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
