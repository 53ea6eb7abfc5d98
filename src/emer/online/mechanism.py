"""Why a count can rise online while its metric falls offline: ranking by log pxtr - alpha log(pvtr + 1.2), in worlds
whose sessions end by time (eta = 1), by the number of videos (eta = 0), or in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.consistency import INTERACTION_PXTRS, ONLINE, offline_gauc
from emer.online.experiment import twins
from emer.online.presentation import csv_text, interval_text, save_png
from emer.online.setting import Setting
from emer.online.simulate import simulate
from emer.online.statistics import Difference
from emer.online.totals import EXPECTED
from emer.pages.svg import COLOURS


@dataclass(frozen=True)
class Mechanism:
    """Attributes:
    pxtr: the interaction's pxtr.
    metric: its online metric, as probabilities given what was watched.
    gauc: (eta, alpha) -> GAUC against the raw pxtr, on the requests that alpha = 0 serves (which depend on eta).
    online: (eta, alpha) -> difference from alpha = 0; none for alpha = 0.
    """

    pxtr: str
    metric: str
    gauc: dict[tuple[float, float], float]
    online: dict[tuple[float, float], Difference]


def mechanism(
    setting: Setting,
    pxtr: str,
    etas: Sequence[float],
    alphas: Sequence[float],
    *,
    users: int,
    days: int,
    processes: int = 1,
    progress: Callable[[int], None] = lambda users: None,
) -> Mechanism:
    """Every alpha against alpha = 0, in the same world with every eta.

    Raises:
        EmerError: the pxtr is none of the interactions', an eta is outside [0, 1], an alpha is not positive, a list is
            empty or names something twice.
    """
    if pxtr not in INTERACTION_PXTRS:
        raise EmerError(f"pxtr is {pxtr}; it must be one of {', '.join(INTERACTION_PXTRS)}")
    for name, values in (("etas", etas), ("alphas", alphas)):
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise EmerError(f"{name} is {list(values)}; give numbers")
        if not values or len(set(values)) != len(values):
            raise EmerError(f"{name} is {list(values)}; give numbers, each once")
    if not all(0 <= eta <= 1 for eta in etas):
        raise EmerError(f"etas is {list(etas)}; each must lie in [0, 1]")
    if not all(0 < alpha < np.inf for alpha in alphas):
        raise EmerError(f"alphas is {list(alphas)}; each must be positive, and 0 is always there")
    place = INTERACTION_PXTRS.index(pxtr)
    metric, expected = ONLINE[place], EXPECTED[place]
    gauc: dict[tuple[float, float], float] = {}
    online: dict[tuple[float, float], Difference] = {}
    for eta in etas:
        world = replace(setting, parameters={**setting.parameters, "eta": float(eta)})
        names = {0.0: pxtr, **{float(alpha): f"{pxtr}:{alpha}" for alpha in alphas}}
        arms = {name: NamedArm(name).score for name in names.values()}
        told = simulate(world, arms, users, days, processes=processes, progress=progress).totals
        counts = {name: of_arm.per_user(expected) for name, of_arm in told.items()}
        rankers = {name: load(world.world) for name, load in arms.items()}
        offline = offline_gauc(world, rankers, np.arange(min(users, 500)), 500)
        for alpha, name in names.items():
            gauc[eta, alpha] = offline[name][f"raw/{pxtr}"]
            if alpha > 0 and users > 1 and counts[pxtr].any():
                online[eta, alpha] = twins(counts[name], counts[pxtr])
    return Mechanism(pxtr, metric, gauc, online)


def as_markdown(found: Mechanism) -> str:
    """Alphas as rows, etas as columns."""
    etas, alphas = _axes(found.gauc)
    lines = [
        f"Ranking by log {found.pxtr} - alpha log(pvtr + 1.2): {found.metric} (expected) in per cent of alpha = 0, "
        "with 95 % interval, where a session's budget is spent in seconds (eta = 1), in videos (eta = 0), or in both.",
        "",
        f"| alpha | GAUC with {found.pxtr}, eta = {etas[0]:g} | " + " | ".join(f"eta = {eta:g}" for eta in etas) + " |",
        "|---" * (len(etas) + 2) + "|",
    ]
    for alpha in alphas:
        cells = ["0" if alpha == 0 else _cell(found.online.get((eta, alpha))) for eta in etas]
        lines.append(f"| {alpha:g} | {found.gauc[etas[0], alpha]:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def as_csv(found: Mechanism) -> str:
    """One row for each eta and alpha."""
    numbers = ("percent", "percent_low", "percent_high")
    rows = (
        [eta, alpha, gauc, *(getattr(found.online.get((eta, alpha)), n, "") for n in numbers)]
        for (eta, alpha), gauc in found.gauc.items()
    )
    return csv_text(["eta", "alpha", "gauc", *numbers], rows)


def draw(found: Mechanism, target: Path) -> None:
    """The online difference over alpha, one line per eta, with its interval; above, the offline GAUC."""
    etas, alphas = _axes(found.gauc)
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    above.plot(alphas, [found.gauc[etas[0], alpha] for alpha in alphas], "o-", color="0.3", ms=4)
    above.set_ylabel(f"offline GAUC\nwith {found.pxtr},\neta = {etas[0]:g}")
    for index, eta in enumerate(etas):
        told = [found.online.get((eta, alpha)) for alpha in alphas]
        middle, low, high = (
            [
                0.0 if alpha == 0 else np.nan if d is None else getattr(d, name)
                for alpha, d in zip(alphas, told, strict=True)
            ]
            for name in ("percent", "percent_low", "percent_high")
        )
        colour = COLOURS[index % len(COLOURS)]
        below.plot(alphas, middle, "o-", color=colour, ms=4, label=f"eta = {eta:g}")
        below.fill_between(alphas, low, high, color=colour, alpha=0.2, lw=0)
    below.axhline(0, color="0.5", lw=0.8)
    below.set_xlabel("alpha: exponent by which predicted watch time divides")
    below.set_ylabel(f"online {found.metric},\n% of alpha = 0")
    below.legend(frameon=False, fontsize=9)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    save_png(figure, target, dpi=140)


def _axes(found: Mapping[tuple[float, float], float]) -> tuple[list[float], list[float]]:
    return list(dict.fromkeys(eta for eta, _ in found)), sorted({alpha for _, alpha in found})


def _cell(difference: Difference | None) -> str:
    return "-" if difference is None else interval_text(difference, 1)
