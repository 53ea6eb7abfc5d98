"""How a run measures: which clock, how often, and what it hands back."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

SLOW_SECONDS = 4.0
"""A call of a baseline that takes longer is its only sample."""

_ROUND_SECONDS = 0.02
_CASE_SECONDS = 6.0


@dataclass(frozen=True)
class Setting:
    """Attributes:
    threads: numbers of threads to measure with, ascending.
    quick: small sizes and few samples: a test of the benchmark, not a measurement.
    tell: called with what is being measured.
    """

    threads: tuple[int, ...]
    quick: bool
    tell: Callable[[str], None]

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 7


@dataclass(frozen=True)
class Timing:
    """Attributes:
    seconds: median of the samples.
    samples: how many; one sample is the mean of as many calls as fill 20 ms.
    """

    seconds: float
    samples: int

    def over(self, other: Timing) -> float:
        """How many times as long as ``other`` this takes."""
        return self.seconds / other.seconds

    def __str__(self) -> str:
        return f"{duration(self.seconds)} (n {self.samples})"


def measure(
    cases: Mapping[str, Callable[[], object]], setting: Setting, threads: int, where: str, once: Collection[str] = ()
) -> dict[str, Timing]:
    """Median time of every case, in rounds that go through all of them, so that a busy moment meets all alike.

    One thread is timed with the process's CPU clock, which other programs do not move; more with the wall clock.

    Args:
        cases: name -> what to call. The first call warms up and is not a sample.
        setting: see there.
        threads: what torch and the kernels may use.
        where: named in the progress line.
        once: baselines without anything to compile. They get no sample after :data:`SLOW_SECONDS`, and their first
            call is the only one if it takes longer.
    """
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    samples: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    for name, call in cases.items():
        setting.tell(f"{where}, {threads} thread{'s' * (threads > 1)}: {name}")
        gc.collect()
        start = clock()
        call()
        first = clock() - start
        if name in once and first > _ROUND_SECONDS:
            samples[name], calls[name] = [first] if first > SLOW_SECONDS else [], 1
            continue
        # The first call may have compiled something; the second is what a call takes.
        start = clock()
        call()
        samples[name], calls[name] = [], min(200, math.ceil(_ROUND_SECONDS / max(clock() - start, 1e-6)))
    setting.tell(f"{where}, {threads} thread{'s' * (threads > 1)}: rounds")
    for _ in range(setting.rounds):
        for name, taken in samples.items():
            spent = sum(taken) * calls[name]
            if (name in once and spent > SLOW_SECONDS) or (len(taken) >= 3 and spent > _CASE_SECONDS):
                continue
            call = cases[name]
            if calls[name] > 1:
                call()  # what the case before left in the caches is gone
            start = clock()
            for _ in range(calls[name]):
                call()
            taken.append((clock() - start) / calls[name])
    return {name: Timing(statistics.median(taken), len(taken)) for name, taken in samples.items()}


def duration(seconds: float) -> str:
    """Three digits in a fitting unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{three_digits(seconds / size)} {unit}"
    return f"{three_digits(seconds / 1e-6)} us"


def three_digits(number: float) -> str:
    """``number`` with three significant digits, thousands separated."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    rounded = float(f"{number:.2e}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
