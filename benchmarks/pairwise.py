"""Times of the multi-objective pairwise logistic loss, forward and backward."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.report import Goal, Section, Table, cell
from benchmarks.timing import Setting, Timing, measure
from emer.losses.pairwise import Method, pairwise_logistic_loss
from emer.ranking import rank_gap

Shape = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = ((64, 12, 100), (64, 12, 500), (16, 12, 2000), (1, 12, 10_000))
QUICK_SHAPES: tuple[Shape, ...] = ((4, 3, 20), (2, 3, 60))

PRINTED = "printed formula (EMER eq. 2-5, backward per objective)"
PAIR_LISTS = "allRank's style (pairs written out, label by label)"
WHERE_MASK = "Rax's style (pair matrix and mask, label by label)"
EAGER = "collapsed, dense, ranks given"
COMPILED = "collapsed, dense, ranks given, torch.compile"
NEAR_LINEAR, KERNEL = "**ours: near_linear**", "**ours: kernel**"
TORCH_SORT, PACKED_SORT, READ = (
    "floor: torch.sort of the scores",
    "floor: NumPy sort of packed keys",
    "floor: read pxtr",
)
ROWS = (
    PRINTED, PAIR_LISTS, WHERE_MASK, EAGER, COMPILED, "ours: dense", "ours: tiled", NEAR_LINEAR,
    f"{NEAR_LINEAR}, incl. ranks", KERNEL, f"{KERNEL}, incl. ranks", TORCH_SORT, PACKED_SORT, READ,
)  # fmt: skip
BASELINES = (PRINTED, PAIR_LISTS, WHERE_MASK, EAGER, "ours: dense", "ours: tiled")

TIE_METHODS: tuple[Method, ...] = ("near_linear", "kernel")

FEW, MANY = 200_000_000, 800_000_000
LIMITS = {PAIR_LISTS: FEW, WHERE_MASK: FEW, "ours: dense": FEW, "ours: tiled": MANY}
"""B K N^2 up to which a row is measured: a call beyond takes from half a minute to minutes."""

# Shape -> what pure torch and (as an aim) the kernel gain on the printed formula, and near_linear on the compiled one.
OVER_PRINTED: dict[Shape, tuple[float, float]] = dict(
    zip(SHAPES, ((30, 120), (500, 2000), (1400, 6000), (8000, 25_000)), strict=True)
)
OVER_COMPILED = dict(zip(SHAPES, (0.8, 3, 8, 40), strict=True))
KERNEL_OVER_SORT = {SHAPES[1]: (2.0, 1.2)}


def inputs(shape: Shape, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, N), targets (B, N, K) float32 and their rank gaps, int16 as they are stored (int32 where too long)."""
    B, K, N = shape
    g = torch.Generator().manual_seed(seed)
    targets = torch.rand(B, N, K, generator=g)
    return torch.randn(B, N, generator=g), targets, stored_ranks(targets)


def stored_ranks(targets: Tensor) -> Tensor:
    """Rank gaps as a request stores them."""
    gaps = rank_gap(targets, torch.ones(targets.shape[:2], dtype=torch.bool))
    return gaps.to(torch.int16) if targets.shape[1] <= 1 << 15 else gaps


def ours(scores: Tensor, targets: Tensor | None, ranks: Tensor | None, method: Method) -> peers.Result:
    """Our loss and its gradient, at weights 1."""
    K = (ranks if targets is None else targets).shape[-1]  # type: ignore[union-attr]
    s = scores.detach().requires_grad_()
    weights = torch.ones(len(scores), K)
    loss = pairwise_logistic_loss(s, targets, ranks=ranks, weights=weights, method=method)
    loss.backward()
    return loss.detach(), s.grad  # type: ignore[return-value]


def run(setting: Setting) -> Section:
    """Section A of the report."""
    shapes = QUICK_SHAPES if setting.quick else SHAPES
    section = Section(
        "pairwise",
        "Pairwise logistic loss",
        "Loss and gradient of (B requests, K objectives, N candidates), float32, targets uniform, scores normal, rank "
        "gaps given as int16 unless the row says *incl. ranks*, weights 1. `x` is against the printed formula. The "
        "collapsed form is EMER's loss with all objectives in one matrix, the best one over all pairs that we could "
        "write; it returns no loss per objective, ours does. Rows in a library's *style* are our own code after its "
        "way of computing. `floor` rows do only what the loss cannot do without. *Not run*: one call would take from "
        "half a minute to minutes, and several gigabytes.",
    )
    for threads in setting.threads:
        compiled = peers.compiled_collapsed(threads, "eager" if setting.quick else "inductor")
        by_shape: dict[Shape, dict[str, Timing]] = {}
        for shape in shapes:
            cases = _cases(shape, compiled, compare_all=threads == setting.threads[0])
            timed = by_shape[shape] = measure(cases, setting, threads, f"pairwise {shape}", once=BASELINES)
            section.keep(f"{shape} threads {threads}", timed)
            section.goals += _goals(shape, timed, threads)
        rows = [
            (row, *(cell(by_shape[shape].get(row), by_shape[shape][PRINTED]) for shape in shapes))
            for row in ROWS
            if any(row in timed for timed in by_shape.values())
        ]
        section.tables.append(Table(f"{_clock(threads)}, (B, K, N)", ("", *map(str, shapes)), rows))
    return section


def run_ties(setting: Setting) -> Section:
    """Targets with equal values beside the continuous ones."""
    shape = QUICK_SHAPES[1] if setting.quick else SHAPES[1]
    section = Section(
        "ties",
        "Tied targets",
        f"The same loss at {shape} where targets are equal, ranks given, and tied pairs are left out (the default). "
        "`x` is the speed relative to continuous targets: 0.5x takes twice as long.",
    )
    scores, targets, _ = inputs(shape)
    kinds = {
        "continuous": targets,
        "rounded to bfloat16": targets.bfloat16().float(),
        "20 levels": (targets * 20).floor() / 20,
        "70 % zeros": targets * (targets > 0.7),
        "all tied": torch.zeros_like(targets),
    }
    for threads in setting.threads:
        cases: dict[str, Callable[[], object]] = {}
        for kind, values in kinds.items():
            ranks = stored_ranks(values)
            for method in TIE_METHODS:
                cases[f"{method}, {kind}"] = functools.partial(ours, scores, None, ranks, method)
        timed = measure(cases, setting, threads, "ties")
        section.keep(f"{shape} threads {threads}", timed)
        rows = [
            (kind, *(cell(timed[f"{m}, {kind}"], timed[f"{m}, continuous"]) for m in TIE_METHODS)) for kind in kinds
        ]
        section.tables.append(Table(_clock(threads), ("targets", *TIE_METHODS), rows))
    return section


def _cases(
    shape: Shape, compiled: Callable[[Tensor, Tensor, Tensor], peers.Result], compare_all: bool
) -> dict[str, Callable[[], object]]:
    scores, targets, ranks = inputs(shape)
    weights = torch.ones(shape[0], shape[1])
    slow: dict[str, Callable[[], object]] = {
        PAIR_LISTS: lambda: peers.pair_lists(scores, targets),
        WHERE_MASK: lambda: peers.where_mask(scores, targets),
        EAGER: lambda: peers.collapsed(scores, ranks, weights),
        "ours: dense": lambda: ours(scores, None, ranks, "dense"),
        "ours: tiled": lambda: ours(scores, None, ranks, "tiled"),
    }
    comparisons = ranks.numel() * shape[2]
    return {
        PRINTED: lambda: peers.printed_formula(scores, targets),
        **{name: call for name, call in slow.items() if compare_all and comparisons <= LIMITS.get(name, comparisons)},
        COMPILED: lambda: compiled(scores, ranks, weights),
        NEAR_LINEAR: lambda: ours(scores, None, ranks, "near_linear"),
        f"{NEAR_LINEAR}, incl. ranks": lambda: ours(scores, targets, None, "near_linear"),
        KERNEL: lambda: ours(scores, None, ranks, "kernel"),
        f"{KERNEL}, incl. ranks": lambda: ours(scores, targets, None, "kernel"),
        TORCH_SORT: lambda: torch.sort(scores),
        PACKED_SORT: lambda: peers.packed_sort(scores),
        READ: targets.sum,
    }


def _goals(shape: Shape, timed: dict[str, Timing], threads: int) -> list[Goal]:
    at = f"{shape}, {threads} thread{'s' * (threads > 1)}"
    goals = []
    if shape in OVER_PRINTED:
        required, aim = OVER_PRINTED[shape]
        gained = timed[PRINTED].over(timed[NEAR_LINEAR])
        goals.append(Goal(f"pure torch over the printed formula, {at}", gained, required))
        goals.append(Goal(f"kernel over the printed formula, {at}", timed[PRINTED].over(timed[KERNEL]), required, aim))
    if shape in OVER_COMPILED:
        gained = timed[COMPILED].over(timed[NEAR_LINEAR])
        goals.append(Goal(f"pure torch over the collapsed compiled form, {at}", gained, OVER_COMPILED[shape]))
    if shape in KERNEL_OVER_SORT:
        most, aim = KERNEL_OVER_SORT[shape]
        taken = timed[KERNEL].over(timed[TORCH_SORT])
        goals.append(Goal(f"kernel, as a multiple of torch.sort of the scores, {at}", taken, most, aim, at_most=True))
    return goals


def _clock(threads: int) -> str:
    return "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
