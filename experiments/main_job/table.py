"""Tables of the main job from its runs: metrics over seeds, and how far each network is from its optimum.

    python experiments/main_job/table.py outputs/multirun/<sweep> [...] > experiments/main_job/results.md

The gap compares the prior loss at equal weights on held-out requests with the least that any scores could reach
there, one free score per candidate, found by gradient descent (the problem is convex). It says whether the network
is trained, whatever the metrics say.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from emer.data.splits import read_splits
from emer.jobs.app import register
from emer.jobs.evaluate import best_checkpoint
from emer.jobs.prepare import prepare_data
from emer.jobs.train import build_datamodule, build_module
from emer.labels import method_label
from emer.losses.pairwise import pairwise_logistic_loss
from emer.requests import RequestBatch
from emer.run_folder import RunFolder

REQUESTS = 1024
"""Test requests that the gap is measured on."""

METRICS = ("pxtr_gauc/mean", "iput_gauc/mean", "label_gauc/mean", "label_gauc/click", "label_gauc/long_view")
METRICS += ("label_gauc/like", "label_auc/sum")


def interval(values: list[float]) -> str:
    """Mean and 95 % t interval over seeds."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.4f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:.4f} ± {half:.4f}"


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
    register()
    runs: dict[str, list[RunFolder]] = defaultdict(list)
    for sweep in parser.parse_args().sweeps:
        for status in sorted(sweep.glob("*/status.json")):
            folder = RunFolder(status.parent)
            if folder.status().get("status") == "finished":
                cfg = folder.load_config()
                label = f"{method_label(cfg.method)} on {cfg.data.name}"
                if "tuner" in cfg.method:
                    label += f" ({cfg.method.tuner.objective}, {cfg.method.tuner.n_trials} trials)"
                runs[label].append(folder)
    print("| method | seeds | " + " | ".join(METRICS) + " | prior loss above optimum |")
    print("|" + "---|" * (len(METRICS) + 3))
    random: dict[str, float] = {}
    for label, folders in runs.items():
        values: dict[str, list[float]] = defaultdict(list)
        for folder in folders:
            metrics = json.loads((folder.path / "metrics.json").read_text())
            for name in METRICS:
                if metrics.get(f"test/{name}") is not None:
                    values[name].append(metrics[f"test/{name}"])
                    random[name] = metrics[f"test/random/{name}"]
        gaps = [g for g in map(gap, folders) if g is not None]
        cells = [interval(values[name]) if values[name] else "-" for name in METRICS]
        shown = re.sub(r"(\d\.\d+)", lambda m: f"{float(m.group()) * 100:.2f} %", interval(gaps)) if gaps else "-"
        print(f"| {label} | {len(folders)} | " + " | ".join(cells) + f" | {shown} |")
    print("| random | - | " + " | ".join(f"{random[name]:.4f}" for name in METRICS if name in random) + " | - |")


if __name__ == "__main__":
    main()
