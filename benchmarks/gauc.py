"""Times of the concordance AUC (GAUC's part for each request)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from benchmarks import rank_peers
from benchmarks.pairwise import Shape, inputs
from benchmarks.report import Goal, Section, Table, cell
from benchmarks.timing import Setting, Timing, measure
from emer.metrics.concordance import concordance_auc

SHAPES: tuple[Shape, ...] = ((64, 12, 100), (64, 12, 500), (8, 12, 2000), (1, 12, 10_000))
QUICK_SHAPES: tuple[Shape, ...] = ((3, 2, 30), (2, 2, 60))

SCIPY, TORCHMETRICS = "scipy.stats.kendalltau, loop", "torchmetrics kendall_rank_corrcoef, loop"
KERNEL, GAPS, TORCH = "**ours: kernel**", "**ours: kernel**, rank gaps", "ours: torch"
SKLEARN, BINARY = "binary labels: sklearn roc_auc_score, loop", "binary labels: **ours: kernel**"
BASELINES = (SCIPY, TORCHMETRICS, SKLEARN, TORCH)
ROWS = (SCIPY, TORCHMETRICS, TORCH, KERNEL, GAPS, SKLEARN, BINARY)

TORCHMETRICS_PAIRS = 200_000_000
"""B K N^2 up to which torchmetrics is measured."""

OVER = {SCIPY: 8.0, TORCHMETRICS: 150.0}
GOAL_SHAPE = SHAPES[1]


def run(setting: Setting) -> Section:
    """Section F of the report."""
    shapes = QUICK_SHAPES if setting.quick else SHAPES
    section = Section(
        "gauc",
        "Concordance (GAUC)",
        "Concordance AUC of each request and objective, continuous targets given as float32 or, where the row says so, "
        "as stored rank gaps; below, binary labels of 30 % positives. `x` is against the SciPy loop, for binary labels "
        "against scikit-learn's.",
    )
    for threads in setting.threads:
        by_shape: dict[Shape, dict[str, Timing]] = {}
        for shape in shapes:
            cases = _cases(shape)
            timed = by_shape[shape] = measure(
                cases, setting, threads, f"gauc {shape}", once=(SCIPY, TORCHMETRICS, SKLEARN, TORCH)
            )
            section.keep(f"{shape} threads {threads}", timed)
            if shape == GOAL_SHAPE:
                at = f"{shape}, {threads} thread{'s' * (threads > 1)}"
                section.goals += [
                    Goal(f"GAUC over {name}, {at}", timed[name].over(timed[KERNEL]), required)
                    for name, required in OVER.items()
                ]
        rows = [
            (row, *(_cell(by_shape[shape], row) for shape in shapes))
            for row in ROWS
        ]  # fmt: skip
        clock = "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
        section.tables.append(Table(f"{clock}, (B, K, N)", ("", *map(str, shapes)), rows))
    return section


def _cell(timed: dict[str, Timing], row: str) -> str:
    skipped = f"over {TORCHMETRICS_PAIRS:,} comparisons"
    return cell(timed.get(row), timed[SKLEARN if row in (SKLEARN, BINARY) else SCIPY], skipped)


def _cases(shape: Shape) -> dict[str, Callable[[], object]]:
    B, K, N = shape
    scores, targets, ranks = inputs(shape)
    labels = (targets < 0.3).float()
    labels[:, 0], labels[:, 1] = 0, 1  # scikit-learn refuses a single class
    cases: dict[str, Callable[[], object]] = {
        SCIPY: functools.partial(rank_peers.scipy_concordance, scores, targets),
        TORCH: functools.partial(concordance_auc, scores, targets, method="torch"),
        KERNEL: functools.partial(concordance_auc, scores, targets, method="kernel"),
        GAPS: functools.partial(concordance_auc, scores, ranks, method="kernel"),
        SKLEARN: functools.partial(rank_peers.sklearn_auc, scores, labels),
        BINARY: functools.partial(concordance_auc, scores, labels, method="kernel"),
    }
    if B * K * N * N <= TORCHMETRICS_PAIRS:
        cases[TORCHMETRICS] = functools.partial(rank_peers.torchmetrics_concordance, scores, targets)
    return cases
