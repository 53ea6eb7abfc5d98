"""The closed loop as curves: what users did hour by hour, the weights that evolved, and what the gate saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emer.online.loop import FORMULA
from emer.online.presentation import save_png
from emer.pages.svg import COLOURS

_PANELS = (("stay_time", "AppStayTime"), ("video_views", "VideoView"), ("like", "Like"))


def draw_loop(rows: Sequence[dict[str, float]], label: str, target: Path) -> None:
    """Write the picture.

    Args:
        rows: of :attr:`emer.online.loop.ClosedLoop.rows`.
        label: what the learning side is called.
        target: a PNG file.
    """
    hours = np.array([row["hour"] for row in rows])
    names = list(dict.fromkeys(name for row in rows for name in row if name.startswith("train/weight/")))
    figure = Figure(figsize=(10, 8), layout="constrained")
    (left, right), (weights, gate) = figure.subplots(2, 2)
    for axes, kinds in ((left, _PANELS[:1]), (right, _PANELS[1:])):
        for (key, title), colour in zip(kinds, COLOURS, strict=False):
            model, formula = (np.cumsum([row[f"{side}/{key}"] for row in rows]) for side in ("model", FORMULA))
            there = formula > 0
            axes.plot(hours[there], 100 * (model[there] / formula[there] - 1), color=colour, label=title)
        axes.axhline(0, color="0.5", lw=0.8)
        axes.set_ylabel(f"{label} against {FORMULA},\n% since the first hour")
        axes.legend(frameon=False)
    for index, name in enumerate(names):
        weights.plot(hours, _of(rows, name), color=f"C{index}", label=name.removeprefix("train/weight/"))
    weights.set_ylabel("mean weight of each objective" if names else "this objective has no weights")
    if names:
        weights.axhline(1, color="0.5", lw=0.8)
        weights.legend(frameon=False, fontsize=7, ncols=2)
    for name, colour in zip(("gate/candidate", "gate/serving"), COLOURS, strict=False):
        gate.plot(hours, _of(rows, name), color=colour, label=name.removeprefix("gate/"))
    refused = [row["hour"] for row in rows if row.get("published") == 0]
    for hour in refused:
        gate.axvline(hour, color="0.8", lw=1)
    gate.set_ylabel("label GAUC on held-out requests\n(grey: not published)")
    gate.legend(frameon=False)
    for axes in (left, right, weights, gate):
        axes.set_xlabel("simulated hour")
        axes.spines[["top", "right"]].set_visible(False)
    save_png(figure, target)


def _of(rows: Sequence[dict[str, float]], name: str) -> np.ndarray:
    return np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)
