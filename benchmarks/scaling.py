"""Cost against the number of candidates, and its figure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.pairwise import inputs, ours
from benchmarks.report import Section, Table, cell
from benchmarks.timing import Setting, Timing, measure
from emer.files import atomic_path

REQUESTS, OBJECTIVES = 8, 12
CANDIDATES, QUICK_CANDIDATES = (32, 100, 316, 1000, 3162, 10_000, 31_623), (16, 64)

MOST_SECONDS = 3.0

PRINTED, COMPILED = "printed formula", "collapsed, torch.compile"
NEAR_LINEAR, KERNEL, SORT = "ours: near_linear", "ours: kernel", "torch.sort of the scores"
STYLE = {
    PRINTED: ("#b2182b", "o"),
    COMPILED: ("#ef8a62", "s"),
    NEAR_LINEAR: ("#67a9cf", "^"),
    KERNEL: ("#2166ac", "D"),
    SORT: ("#777777", "x"),
}


def run(setting: Setting) -> Section:
    """The section that the figure is drawn from; with the first number of threads only."""
    threads = setting.threads[0]
    section = Section(
        "scaling",
        "Cost against N",
        f"Pairwise loss, forward and backward, {REQUESTS} requests and {OBJECTIVES} objectives, ranks given; a curve "
        f"ends where the next point would take over {MOST_SECONDS:g} s. `x` is against the printed formula.",
    )
    compiled = peers.compiled_collapsed(threads, "eager" if setting.quick else "inductor")
    points: dict[int, dict[str, Timing]] = {}
    too_slow: set[str] = set()
    sizes = QUICK_CANDIDATES if setting.quick else CANDIDATES
    for N in sizes:
        scores, targets, ranks = inputs((REQUESTS, OBJECTIVES, N))
        weights = torch.ones(REQUESTS, OBJECTIVES)
        cases: dict[str, Callable[[], object]] = {
            PRINTED: functools.partial(peers.printed_formula, scores, targets),
            COMPILED: functools.partial(compiled, scores, ranks, weights),
            NEAR_LINEAR: functools.partial(ours, scores, None, ranks, "near_linear"),
            KERNEL: functools.partial(ours, scores, None, ranks, "kernel"),
            SORT: functools.partial(torch.sort, scores),
        }
        cases = {name: call for name, call in cases.items() if name not in too_slow}
        points[N] = measure(cases, setting, threads, f"scaling N = {N}", once=(PRINTED,))
        section.keep(f"({REQUESTS}, {OBJECTIVES}, {N}) threads {threads}", points[N])
        # The next N is about 3.2 times as large, and ten times as many pairs.
        too_slow |= {
            name for name in (PRINTED, COMPILED) if name in cases and points[N][name].seconds * 10 > MOST_SECONDS
        }
    rows = [
        (name, *(cell(points[N].get(name), points[N].get(PRINTED), "") for N in sizes)) for name in STYLE
    ]  # fmt: skip
    clock = "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
    section.tables.append(Table(clock, ("", *(f"N = {N:,}" for N in sizes)), rows))
    return section


def draw(section: Section, target: Path) -> None:
    """The figure of the section's times, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "emer"  # the same figure gives the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    by_size = sorted((int(key.split(", ")[2].partition(")")[0]), times) for key, times in section.raw.items())
    for name, (color, marker) in STYLE.items():
        points = [(N, times[name]) for N, times in by_size if name in times]
        milliseconds = [1000 * time["median_seconds"] for _, time in points]
        axes.loglog([N for N, _ in points], milliseconds, color=color, marker=marker, markersize=5, label=name)
    axes.set_xlabel("candidates per request, N")
    axes.set_ylabel("forward + backward, ms")
    axes.set_title(f"Pairwise logistic loss, {REQUESTS} requests, {OBJECTIVES} objectives", fontsize=11)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(figure)
