"""Impressions per second of the simulated world, and SARDINE's."""

from __future__ import annotations

import functools
import importlib.util
import resource
import time
from collections.abc import Callable

import numpy as np

from benchmarks.report import Goal, Section, Table
from benchmarks.timing import Setting, Timing, measure, three_digits
from emer.online.arms import NamedArm
from emer.online.setting import Setting as Platform
from emer.online.simulate import simulate
from emer.online.totals import walk_totals

SARDINE = all(importlib.util.find_spec(name) is not None for name in ("sardine", "gymnasium"))
"""Whether SARDINE can be imported; see :data:`MISSING`."""

MISSING = "not installed: `pip install --no-deps sardine-rec==1.0.8 gymnasium farama-notifications`"
PEER, PEER_STEPS = "SARDINE, sardine/SlateTopK-Bored-v0", 1000
SMALL, PAPER = ("64", 64), ("500", 500)
LIST_EFFECTS = {
    "list_fatigue": 0.12,
    "list_contrast": 0.15,
    "return_sensitivity": 0.5,
}  # as in conf/world, whose fitted rates cost no time
BACKENDS = ("numpy", "numba")
GOALS = {("numpy", 64): 60_000, ("numpy", 500): 15_000, ("numba", 64): 100_000, ("numba", 500): 25_000}

ARM = "fusion_formula"
PROCESSES, SAMPLES = 2, 3
ONE_PROCESS_USERS, TWO_PROCESSES_USERS = 1000, {64: 10_000, 500: 5_000}


def run(setting: Setting) -> Section:
    """Section H of the report."""
    section = Section(
        "world",
        "Simulated world",
        "One day of users under the fusion formula with list effects and request drift, from drawing candidates to a "
        "user's totals. An impression is a video that was shown. SARDINE's are its slate steps times its 10 videos, "
        "with slates drawn beforehand: one user at a time, clicks only, no candidates to retrieve and no pxtrs. `x` is "
        "against it. Two processes are measured while both work: from the moment half of the users are done to the end "
        "of `simulate`, which leaves out that they start, import and build the world. Beside it is what they would do "
        "without other programs: twice the impressions per second of CPU time, less what a simulation of two users "
        "takes.",
    )
    presets = (("quick", 16),) if setting.quick else (SMALL, PAPER)
    platforms = {
        (backend, candidates): Platform(
            name=name,
            candidates=candidates,
            backend=backend,
            parameters=LIST_EFFECTS,
            users=60 if setting.quick else 20_000,
            videos=400 if setting.quick else 40_000,
        )
        for name, candidates in presets
        for backend in BACKENDS
    }
    section.tables.append(_one_process(section, setting, platforms))
    if max(setting.threads) >= PROCESSES and not setting.quick:
        section.tables.append(_two_processes(section, setting, platforms))
    return section


def label(backend: str, candidates: int) -> str:
    """Name of a row."""
    return f"**ours: {backend}**, {candidates} candidates"


def _one_process(section: Section, setting: Setting, platforms: dict[tuple[str, int], Platform]) -> Table:
    users = 40 if setting.quick else ONE_PROCESS_USERS
    cases: dict[str, Callable[[], object]] = {}
    impressions: dict[str, float] = {}
    if SARDINE:
        cases[PEER], impressions[PEER] = _sardine(20 if setting.quick else PEER_STEPS)
    for (backend, candidates), platform in platforms.items():
        day = functools.partial(_day, platform, users)
        cases[label(backend, candidates)], impressions[label(backend, candidates)] = day, day()
    timed = measure(cases, setting, 1, "world")
    section.keep(f"{users} users, threads 1", timed)
    rows = []
    for name in (PEER, *(label(*key) for key in platforms)):
        if name not in timed:
            rows.append((name, MISSING, ""))
            continue
        rate = _rate(impressions[name], timed[name])
        over = "" if name == PEER or not SARDINE else f"{three_digits(rate / _rate(impressions[PEER], timed[PEER]))}x"
        rows.append((name, f"{rate:,.0f} (n {timed[name].samples})", over))
    return Table("1 process, CPU time", ("", "impressions per second", "over SARDINE"), rows)


def _two_processes(section: Section, setting: Setting, platforms: dict[tuple[str, int], Platform]) -> Table:
    rows = []
    for (backend, candidates), platform in platforms.items():
        users = TWO_PROCESSES_USERS[candidates]
        setting.tell(f"world, {backend}, {candidates} candidates, {PROCESSES} processes: start")
        start = _second_half(platform, PROCESSES)[2]
        taken = []
        for sample in range(SAMPLES):
            setting.tell(f"world, {backend}, {candidates} candidates, {PROCESSES} processes, sample {sample + 1}")
            rate, impressions, spent, whole = _second_half(platform, users)
            taken.append((rate, PROCESSES * impressions / (spent - start), impressions / whole))
        rate, unhindered, whole = (float(value) for value in np.median(taken, axis=0))
        section.raw[f"{backend} {candidates} candidates, {PROCESSES} processes"] = {
            "impressions_per_second": rate,
            "by_cpu_time": unhindered,
            "with_start": whole,
            "samples": SAMPLES,
        }
        figures = (f"{value:,.0f} (n {SAMPLES})" for value in (rate, unhindered, whole))
        rows.append((label(backend, candidates), *figures, f"{users:,}"))
        what = f"impressions per second, {backend}, {candidates} candidates, {PROCESSES} processes"
        section.goals.append(Goal(what, rate, GOALS[backend, candidates], unit="/ s"))
    header = ("", "impressions per second", "by CPU time", "with the start", "users")
    return Table(f"{PROCESSES} processes, wall time", header, rows)


def _day(platform: Platform, users: int) -> float:
    """Impressions of one day."""
    totals = walk_totals(platform.walk(np.arange(users)), NamedArm(ARM).score(platform.world), 1)
    return float(totals.values["video_views"].sum())


def _second_half(platform: Platform, users: int) -> tuple[float, float, float, float]:
    """(impressions per second while the second half of the users walks, impressions, CPU seconds, seconds) of a run."""
    done: list[tuple[float, int]] = []

    def progress(count: int) -> None:
        done.append((time.perf_counter(), count + (done[-1][1] if done else 0)))

    start, spent = time.perf_counter(), _cpu_of_children()
    found = simulate(platform, {ARM: NamedArm(ARM).score}, users, 1, processes=PROCESSES, progress=progress)
    spent, whole = _cpu_of_children() - spent, time.perf_counter() - start
    impressions = float(found.totals[ARM].values["video_views"].sum())
    half = next(i for i, (_, count) in enumerate(done) if 2 * count >= users)
    share = (users - done[half][1]) / users
    return share * impressions / (done[-1][0] - done[half][0]), impressions, spent, whole


def _cpu_of_children() -> float:
    """Seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sardine(steps: int) -> tuple[Callable[[], object], float]:
    """Slate steps of SARDINE's environment without its wrappers, and how many impressions they are."""
    import gymnasium
    import sardine  # noqa: F401  # registers its environments

    env = gymnasium.make(PEER.partition(", ")[2], disable_env_checker=True).unwrapped
    slates = np.random.default_rng(0).integers(env.num_items, size=(steps, env.slate_size))
    env.reset(seed=0)

    def walk() -> None:
        for slate in slates:
            _, _, terminated, truncated, _ = env.step(slate)
            if terminated or truncated:
                env.reset()

    return walk, float(steps * env.slate_size)


def _rate(impressions: float, timing: Timing) -> float:
    return impressions / timing.seconds
