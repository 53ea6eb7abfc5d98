"""Losses over all rows of a batch: AUC pairs, and what each loss leaves of a small network's training speed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.report import Goal, Section, Table, cell
from benchmarks.timing import Setting, Timing, duration, measure, three_digits
from emer.losses.auc_pairs import auc_pair_loss
from emer.losses.aucm import aucm_loss
from emer.losses.bce import multi_objective_bce_loss
from emer.losses.soft_rank import rank_sum_auc_loss

ROWS, QUICK_ROWS = 10_240, 400
OBJECTIVES = 5
SHARES = (0.005, 0.02, 0.1, 0.3, 0.5)
PREVALENCE = (0.5, 0.2, 0.1, 0.03, 0.01)
"""Positives of each objective in the training rows: from clicks to purchases."""

USER_WIDTH, HIDDEN = 32, 64

COMPACT = "positives x negatives, torch"
METHODS = ("torch", "near_linear", "kernel")


def auc_inputs(rows: int, shares: tuple[float, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores (N,) and labels (N, M) bool, one column for each share of positives."""
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, generator=g)
    return scores, torch.rand(rows, len(shares), generator=g) < torch.tensor(shares)


def of_loss(loss: Callable[..., Tensor], scores: Tensor, labels: Tensor, **options: Any) -> peers.Result:
    """One of our losses and its gradient."""
    s = scores.detach().requires_grad_()
    value = loss(s, labels, **options)
    value.backward()
    return value.detach(), s.grad  # type: ignore[return-value]


def run_auc_pairs(setting: Setting) -> Section:
    """Section D of the report, the loss."""
    rows = QUICK_ROWS if setting.quick else ROWS
    section = Section(
        "auc_pairs",
        "AUC pairs of a batch",
        f"Pairwise logistic loss of {rows:,} rows x {OBJECTIVES} labels, forward and backward, at several shares of "
        "positives. `x` is against the differences of positives x negatives, label by label. `torch` is the faster of "
        "`near_linear` and `compact`.",
    )
    for threads in setting.threads:
        columns: dict[float, dict[str, Timing]] = {}
        for share in SHARES:
            scores, labels = auc_inputs(rows, (share,) * OBJECTIVES)
            cases: dict[str, Callable[[], object]] = {COMPACT: functools.partial(peers.compact_auc, scores, labels)}
            for method in METHODS:
                cases[method] = functools.partial(of_loss, auc_pair_loss, scores, labels, method=method)
            columns[share] = measure(cases, setting, threads, f"auc_pairs {100 * share:g} %", once=(COMPACT,))
            section.keep(f"{rows} x {OBJECTIVES}, {100 * share:g} % positives, threads {threads}", columns[share])
            if not setting.quick:
                section.goals += _goals(share, columns[share], threads)
        table = [
            (share_text, *(cell(timed[name], timed[COMPACT]) for name in (COMPACT, *METHODS)))
            for share_text, timed in ((f"{100 * share:g} %", columns[share]) for share in SHARES)
        ]
        header = ("positives", COMPACT, *(f"ours: {m}" for m in METHODS))
        section.tables.append(Table(_clock(threads), header, table))
    return section


def _goals(share: float, timed: dict[str, Timing], threads: int) -> list[Goal]:
    at = f"{100 * share:g} % positives, {threads} thread{'s' * (threads > 1)}"
    gained = {name: timed[COMPACT].over(timed[name]) for name in METHODS}
    if share == 0.1:
        return [
            Goal(f"AUC pairs, kernel over positives x negatives, {at}", gained["kernel"], 100),
            Goal(f"AUC pairs, torch over positives x negatives, {at}", gained["torch"], 20),
        ]
    if share < 0.1:
        slower = 1 / gained["torch"]
        return [Goal(f"AUC pairs, torch as a multiple of positives x negatives, {at}", slower, 1.5, at_most=True)]
    return []


def losses(labels: Tensor) -> dict[str, Callable[[Tensor], peers.Result]]:
    """Scores (N,) -> (loss, gradient), by the name that the report uses."""
    y = labels.float()
    return {
        "multi-objective BCE": lambda s: of_loss(multi_objective_bce_loss, s, y),
        "AUCM, closed form": lambda s: of_loss(aucm_loss, s, y),
        "soft rank, kernel": lambda s: of_loss(rank_sum_auc_loss, s, y, method="kernel"),
        "soft rank, torch": lambda s: of_loss(rank_sum_auc_loss, s, y, method="torch"),
        "pairwise logistic, kernel": lambda s: of_loss(auc_pair_loss, s, labels, method="kernel"),
        "pairwise logistic, torch": lambda s: of_loss(auc_pair_loss, s, labels, method="torch"),
        "pairwise logistic, positives x negatives": lambda s: peers.compact_auc(s, labels),
    }


PAPER = {
    "multi-objective BCE": "27.4 K",
    "AUCM, closed form": "26.9 K",
    "soft rank, kernel": "26.0 K",
    "pairwise logistic, positives x negatives": "24.8 K",
}
"""Rows per second in HarmonRank's tables 5 and 9, on hardware of theirs."""


def run_training(setting: Setting) -> Section:
    """Section D of the report, training."""
    rows = QUICK_ROWS if setting.quick else ROWS
    scores, labels = auc_inputs(rows, PREVALENCE)
    section = Section(
        "training",
        "Training speed under each loss",
        f"HarmonRank's tables 5 and 9 again: one network, {OBJECTIVES} scores and a user of {USER_WIDTH} numbers -> "
        f"{HIDDEN} -> 1, {rows:,} rows a step, Adam. Positives: {', '.join(f'{100 * p:g} %' for p in PREVALENCE)}. The "
        "network is smaller than theirs and data are in memory, so that the loss shows; compare rows with each other, "
        "not with the paper's column.",
    )
    for threads in setting.threads:
        steps: dict[str, Callable[[], object]] = {}
        alone: dict[str, Callable[[], object]] = {}
        for name, loss in losses(labels).items():
            steps[name] = _step(loss, rows)
            alone[name] = functools.partial(loss, scores)
        slow = ("pairwise logistic, positives x negatives",)
        step_times = measure(steps, setting, threads, "training steps", once=slow)
        loss_times = measure(alone, setting, threads, "training losses", once=slow)
        section.keep(f"{rows} rows, step, threads {threads}", step_times)
        section.keep(f"{rows} rows, loss alone, threads {threads}", loss_times)
        table = [
            (
                name,
                f"{three_digits(rows / step_times[name].seconds / 1000)} K (n {step_times[name].samples})",
                duration(step_times[name].seconds),
                str(loss_times[name]),
                PAPER.get(name, ""),
            )
            for name in steps
        ]
        header = ("loss", "rows per second", "step", "loss alone", "paper, rows per second")
        section.tables.append(Table(_clock(threads), header, table))
    return section


def _step(loss: Callable[[Tensor], peers.Result], rows: int) -> Callable[[], None]:
    torch.manual_seed(0)
    inputs = torch.randn(rows, OBJECTIVES + USER_WIDTH)
    network = nn.Sequential(nn.Linear(OBJECTIVES + USER_WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        scores = network(inputs).squeeze(1)
        _, gradient = loss(scores)
        scores.backward(gradient)
        optimizer.step()

    return step


def _clock(threads: int) -> str:
    return "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
