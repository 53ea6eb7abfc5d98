"""The same A/B test in several worlds: what holds whatever the users, the videos and the luck."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emer.errors import EmerError
from emer.metrics.seed_intervals import interval_over_seeds
from emer.online.consistency import INTERACTION_PXTRS, ONLINE
from emer.online.experiment import METRICS
from emer.online.presentation import csv_text, save_png
from emer.pages.svg import COLOURS

ROWS = (
    *((metric, "observed" if expected is None else "expected") for metric, (_, expected) in METRICS.items()),
    ("LT7", "expected"),
)
"""Metric and kind of the table's rows: interactions as their probabilities given what was watched. LT7 is there after
seven days."""


@dataclass(frozen=True)
class OverWorlds:
    """One number over W worlds.

    Attributes:
        mean: over the worlds.
        low, high: 95 % t-interval of the mean, the worlds being the sample; NaN for a single one, or equal ones.
        same_sign: worlds whose number has the sign of the mean.
        worlds: W.
    """

    mean: float
    low: float
    high: float
    same_sign: int
    worlds: int

    @property
    def certain(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


def over_worlds(values: Sequence[float]) -> OverWorlds:
    """Mean and interval of one number per world."""
    found = interval_over_seeds(values)
    same_sign = int((np.sign(values) == np.sign(found.estimate)).sum())
    return OverWorlds(found.estimate, found.low, found.high, same_sign, found.seeds)


@dataclass(frozen=True)
class WorldsTable:
    """Attributes:
    base: the arm that the others are compared with.
    arms: the others.
    online: (arm, metric) -> difference from the base in per cent.
    gauc: (arm, ``raw/<pxtr>`` or ``iput/<pxtr>``) -> difference of the offline GAUC from the base's.
    spearman: ``raw`` and ``iput`` -> Spearman's correlation over the arms, mean over the interactions.
    of_world: (arm, metric) -> seed of the world -> its number.
    """

    base: str
    arms: tuple[str, ...]
    online: dict[tuple[str, str], OverWorlds]
    gauc: dict[tuple[str, str], OverWorlds]
    spearman: dict[str, OverWorlds]
    of_world: dict[tuple[str, str], dict[int, float]]


def read_worlds(folders: Mapping[int, Path], base: str) -> WorldsTable:
    """Gather the tests that :func:`emer.online.outcome_folder.write_outcome` left, by the world's seed.

    Raises:
        EmerError: there is none, or they have different arms.
    """
    if not folders:
        raise EmerError("there is no test to gather")
    online: dict[tuple[str, str], dict[int, float]] = {}
    gauc: dict[tuple[str, str], list[float]] = {}
    spearman: dict[str, list[float]] = {"raw": [], "iput": []}
    arms: tuple[str, ...] | None = None
    for seed, folder in folders.items():
        effects = json.loads((folder / "effects.json").read_text(encoding="utf-8"))
        mine = [e for e in effects if e["design"] == "twin" and e["segment"] == "all"]
        here = tuple(dict.fromkeys(e["arm"] for e in mine))
        arms = arms or here
        if set(here) != set(arms):
            raise EmerError(f"{folder} has the arms {', '.join(here)}, another world {', '.join(arms)}")
        for e in mine:
            if (e["metric"], e["kind"]) in ROWS and e["percent"] is not None:
                online.setdefault((e["arm"], e["metric"]), {})[seed] = e["percent"]
        _gather_offline(folder / "consistency.csv", base, gauc, spearman)
    return WorldsTable(
        base,
        arms or (),
        {key: over_worlds(list(values.values())) for key, values in online.items()},
        {key: over_worlds(values) for key, values in gauc.items()},
        {key: over_worlds(values) for key, values in spearman.items() if values},
        online,
    )


def _gather_offline(
    path: Path, base: str, gauc: dict[tuple[str, str], list[float]], spearman: dict[str, list[float]]
) -> None:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of_base = {row["interaction"]: row for row in rows if row["arm"] == base}
    pxtr_of = dict(zip(ONLINE, INTERACTION_PXTRS, strict=True))
    for row in rows:
        for family in ("raw", "iput"):
            mine, theirs = (r[f"gauc_{family}"] for r in (row, of_base[row["interaction"]]))
            if row["arm"] != base and mine and theirs:
                gain = float(mine) - float(theirs)
                gauc.setdefault((row["arm"], f"{family}/{pxtr_of[row['interaction']]}"), []).append(gain)
    for family, found in spearman.items():
        told = [row[f"spearman_{family}"] for row in of_base.values()]
        if all(told):  # a mean over fewer interactions would be another number
            found.append(float(np.mean([float(value) for value in told])))


def as_markdown(table: WorldsTable) -> str:
    """Online differences, then offline GAUC, then their correlation."""
    worlds = next(iter(table.online.values())).worlds
    head = ["| | " + " | ".join(table.arms) + " |", "|---" * (len(table.arms) + 1) + "|"]
    lines = [
        f"Mean over {worlds} worlds and its 95 % interval, the worlds being the sample; bold where it leaves out 0, "
        "not corrected for their number; in round brackets how many of the worlds have the mean's sign.",
        "",
        f"Online, difference from {table.base} in per cent (twins; interactions as their probabilities given what was "
        "watched):",
        "",
        *head,
    ]
    for metric, _ in ROWS:
        cells = [_cell(table.online.get((arm, metric)), 2) for arm in table.arms]
        if set(cells) == {"-"}:
            continue
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    if table.gauc:
        lines += ["", f"Offline GAUC, difference from {table.base} on the requests that it serves:", "", *head]
        for family, title in (("raw", ""), ("iput", " IPUT")):
            for pxtr in INTERACTION_PXTRS:
                cells = [_cell(table.gauc.get((arm, f"{family}/{pxtr}")), 4) for arm in table.arms]
                lines.append(f"| {pxtr}{title} | " + " | ".join(cells) + " |")
    if table.spearman:
        told = ", ".join(f"{name} {_cell(found, 2)}" for name, found in table.spearman.items())
        lines += ["", "Spearman's correlation over the arms of GAUC with the online difference, mean over the four"]
        lines[-1] += f" interactions: {told}."
    return "\n".join(lines) + "\n"


def as_csv(table: WorldsTable) -> str:
    """Every number of every world and the means."""
    rows: list[list[object]] = []
    for where, found in (("online", table.online), ("gauc", table.gauc)):
        rows += [[where, arm, name, *vars(value).values()] for (arm, name), value in found.items()]
    rows += [["spearman", "", family, *vars(value).values()] for family, value in table.spearman.items()]
    for (arm, name), percents in table.of_world.items():
        rows += [[f"online, world {seed}", arm, name, percent, "", "", "", 1] for seed, percent in percents.items()]
    return csv_text(["where", "arm", "name", "mean", "low", "high", "same_sign", "worlds"], rows)


def draw(table: WorldsTable, target: Path) -> None:
    """One panel per metric: every arm's mean with its interval, and each world as a dot."""
    told = {metric for _, metric in table.online}
    metrics = [metric for metric, _ in ROWS if metric in told and metric != "Dislike"]
    columns = 4
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(13, 0.6 + rows * (0.9 + 0.26 * len(table.arms))), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        for place, arm in enumerate(table.arms):
            found = table.online.get((arm, metric))
            if found is None:
                continue
            axes.plot(list(table.of_world[arm, metric].values()), [place] * found.worlds, ".", color="0.65", ms=5)
            half = [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar([found.mean], [place], xerr=half, fmt="o", color=COLOURS[0], ms=4, capsize=2)
        axes.axvline(0, color="0.5", lw=0.8)
        axes.set_title(metric, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    panels[0].set_yticks(range(len(table.arms)), table.arms)
    panels[0].invert_yaxis()
    figure.supxlabel(f"difference from {table.base}, %: every world (grey), mean and 95 % interval (blue)", fontsize=10)
    save_png(figure, target, dpi=140)


def _cell(found: OverWorlds | None, digits: int) -> str:
    if found is None:
        return "-"
    text = f"{found.mean:+.{digits}f}"
    if not np.isnan(found.low):
        text += f" [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    text = f"**{text}**" if found.certain else text
    return f"{text} ({found.same_sign}/{found.worlds})"


def arms_by_world(settings: Mapping[Path, tuple[int, str, object]]) -> dict[int, dict[str, Path]]:
    """World seed -> label -> run.

    Args:
        settings: run -> (seed of its world, its label, everything else about the world).

    Raises:
        EmerError: two runs of one world have the same label, worlds differ in more than their seed, or a world lacks an
            arm that another has.
    """
    found: dict[int, dict[str, Path]] = {}
    first: tuple[Path, object] | None = None
    for run, (seed, label, rest) in settings.items():
        first = first or (run, rest)
        if rest != first[1]:
            raise EmerError(f"runs: {run} learnt in another kind of world than {first[0]}; only seeds may differ")
        here = found.setdefault(seed, {})
        if label in here:
            raise EmerError(f"runs: {run} and {here[label]} are both {label} in world {seed}; one run each is wanted")
        here[label] = run
    every = {label for here in found.values() for label in here}
    for seed, here in found.items():
        if missing := sorted(every - set(here)):
            raise EmerError(f"runs: world {seed} has no {', '.join(missing)}, which another world has")
    return {seed: dict(sorted(here.items())) for seed, here in sorted(found.items())}
