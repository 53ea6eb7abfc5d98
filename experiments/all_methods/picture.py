"""Label GAUC of every method with its interval, one panel for each log, from the sweep's folder.

python experiments/all_methods/picture.py outputs/multirun/<the sweep>
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from emer.files import atomic_path
from emer.reports.method_table import method_rows
from emer.reports.runs import METRICS, read_runs

REFERENCE = "emer"
CONTROLS = ("linear", "pointwise_mlp", "mean_pool", "random", "best_pxtr", "borda", "reciprocal_rank")
COLOURS = {"network": "#0072B2", "formula": "#E69F00", "control": "#009E73"}


def kind(label: str) -> str:
    """Of the method: its colour."""
    if label.startswith("fusion_formula"):
        return "formula"
    return "control" if label in CONTROLS else "network"


def main(sweep: Path, target: Path) -> None:
    """Draw the picture."""
    runs, _ = read_runs(sorted(path.parent for path in sweep.glob("*/status.json")))
    logs = list(dict.fromkeys(run.data for run in runs))
    tables = {log: method_rows([run for run in runs if run.data == log], REFERENCE) for log in logs}
    order = [row.label for row in tables[logs[0]]]
    figure = Figure(figsize=(5 + 3 * len(logs), 0.24 * len(order) + 1), layout="constrained")
    for axes, log in zip(figure.subplots(1, len(logs), sharey=True, squeeze=False)[0], logs, strict=True):
        for row in tables[log]:
            value = row.values[METRICS[0]]
            half = (value.high - value.low) / 2
            colour = COLOURS[kind(row.label)]
            axes.errorbar(value.estimate, order.index(row.label), xerr=half, fmt="o", ms=4, color=colour)
            if row.label == REFERENCE:
                axes.axvline(value.estimate, color="0.7", lw=0.8)
        axes.axvline(0.5, color="0.4", lw=0.8, ls=":")
        axes.set_title(log)
        axes.set_xlabel("label GAUC, mean (dotted: random order)")
        axes.set_yticks(range(len(order)), order, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    for name, colour in COLOURS.items():
        figure.axes[0].plot([], [], "o", color=colour, label=name)
    figure.axes[0].legend(frameon=False, fontsize=7)
    FigureCanvasAgg(figure)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=140, format="png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("label_gauc.png"))
