"""Times of soft ranks, forward and backward."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import rank_peers
from benchmarks.report import Section, Table, cell
from benchmarks.timing import Setting, Timing, measure
from emer.losses.soft_rank import soft_rank

SHAPES, QUICK_SHAPES = ((64, 500), (5, 10_240)), ((2, 30), (1, 100))

TORCHSORT, SCIPY = "torchsort", "SciPy, loop over rows"
KERNEL, TORCH, SORT = "**ours: kernel**", "**ours: torch**", "floor: torch.sort"


def epsilons(N: int) -> dict[str, float]:
    """Name -> regularisation: our default strength 2 at scores of deviation 1, and two that others use."""
    return {"2 / N": 2 / N, "0.01": 0.01, "1": 1.0}


def run(setting: Setting) -> Section:
    """Section E of the report."""
    shapes = QUICK_SHAPES if setting.quick else SHAPES
    section = Section(
        "soft_rank",
        "Soft ranks",
        "Soft ranks of (B, N) normal scores with quadratic regularisation epsilon, forward and backward, float32. "
        "2 / N is our default strength. `x` is against torchsort (compiled C++), or against SciPy without it. Small "
        "epsilon leaves many blocks; at 1 there is a single one.",
    )
    columns = [(shape, name, e) for shape in shapes for name, e in epsilons(shape[1]).items()]
    for threads in setting.threads:
        timings: list[dict[str, Timing]] = []
        for shape, name, epsilon in columns:
            g = torch.Generator().manual_seed(0)
            scores, slope = torch.randn(shape, generator=g), torch.randn(shape, generator=g)
            timed = measure(_cases(scores, slope, epsilon), setting, threads, f"soft_rank {shape}", once=(SCIPY,))
            section.keep(f"{shape} epsilon {name} threads {threads}", timed)
            timings.append(timed)
        baseline = TORCHSORT if rank_peers.TORCHSORT else SCIPY
        missing = "not installed: `pip install torchsort`"
        rows = [
            (row, *(cell(timed.get(row), timed[baseline], missing) for timed in timings))
            for row in (TORCHSORT, SCIPY, TORCH, KERNEL, SORT)
        ]
        clock = "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
        header = ("", *(f"{shape}, epsilon {name}" for shape, name, _ in columns))
        section.tables.append(Table(clock, header, rows))
    return section


def _cases(scores: Tensor, slope: Tensor, epsilon: float) -> dict[str, Callable[[], object]]:
    def both(ranks: Callable[[Tensor], Tensor]) -> None:
        s = scores.detach().requires_grad_()
        ranks(s).backward(slope)

    cases: dict[str, Callable[[], object]] = {
        SCIPY: functools.partial(both, functools.partial(rank_peers.scipy_ranks, epsilon=epsilon)),
        TORCH: functools.partial(both, functools.partial(soft_rank, epsilon=epsilon, method="torch")),
        KERNEL: functools.partial(both, functools.partial(soft_rank, epsilon=epsilon, method="kernel")),
        SORT: functools.partial(torch.sort, scores),
    }
    if rank_peers.TORCHSORT:
        cases[TORCHSORT] = functools.partial(both, functools.partial(rank_peers.torchsort_ranks, epsilon=epsilon))
    return cases
