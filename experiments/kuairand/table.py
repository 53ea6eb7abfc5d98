"""Tables and the picture of the real log's comparison, from the sweep's folder.

python experiments/kuairand/table.py outputs/multirun/<the sweep>
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from emer.files import atomic_path, write_text
from emer.reports.method_table import method_rows
from emer.reports.runs import METRICS, Run, read_runs

HERE = Path(__file__).parent
REFERENCE = "emer"
LABELS = ("click", "long_view", "complete", "like", "profile", "comment_stay")
CONTROLS = ("random", "best_pxtr", "borda", "reciprocal_rank", "linear", "pointwise_mlp", "mean_pool")
COLOURS = {"network": "#0072B2", "formula": "#E69F00", "control": "#009E73"}


def kind(label: str) -> str:
    """Of the method: its colour."""
    if label.startswith("fusion_formula"):
        return "formula"
    return "control" if label in CONTROLS else "network"


def by_label(runs: list[Run], order: list[str]) -> str:
    """Label GAUC of every label, mean over seeds and, where seeds differ, their range."""
    lines = [
        "| method | " + " | ".join(LABELS) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    for name in order:
        cells = []
        for label in LABELS:
            values = [run.metrics[f"label_gauc/{label}"] for run in runs if run.label == name]
            found = np.array([value for value in values if value is not None])
            spread = np.ptp(found)
            cells.append(
                f"{found.mean():.4f}" + (f" ({found.min():.3f} to {found.max():.3f})" if spread > 1e-6 else "")
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    groups = [f"{int(runs[0].metrics[f'groups/label_gauc/{label}'] or 0):,}" for label in LABELS]
    lines.append("| *requests it rests on* | " + " | ".join(groups) + " |")
    return "\n".join(lines)


def draw(runs: list[Run], target: Path) -> None:
    """Label GAUC and pxtr GAUC of every method with their intervals."""
    rows = method_rows(runs, REFERENCE)
    order = [row.label for row in rows]
    figure = Figure(figsize=(9, 0.34 * len(order) + 1.2), layout="constrained")
    titles = ("label GAUC, mean: what users did", "pxtr GAUC, mean: what was predicted")
    for axes, metric, title in zip(figure.subplots(1, 2, sharey=True), METRICS[:2], titles, strict=True):
        for row in rows:
            value = row.values[metric]
            half = (value.high - value.low) / 2
            axes.errorbar(
                value.estimate,
                order.index(row.label),
                xerr=half,
                fmt="o",
                ms=5,
                capsize=2,
                color=COLOURS[kind(row.label)],
            )
        axes.axvline(0.5, color="0.4", lw=0.8, ls=":")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("share of pairs in order (dotted: random order)", fontsize=8)
        axes.set_yticks(range(len(order)), order, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    for name, colour in COLOURS.items():
        figure.axes[0].plot([], [], "o", color=colour, label=name)
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    FigureCanvasAgg(figure)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=140, format="png")


def main(sweep: Path) -> None:
    """Write results.md, methods.csv and gauc.png beside this file."""
    runs, missing = read_runs(sorted(path.parent for path in sweep.glob("*/status.json")))
    order = [row.label for row in method_rows(runs, REFERENCE)]
    text = (sweep / "methods.md").read_text(encoding="utf-8").rstrip()
    note = "".join(f"\n{line}" for line in missing)
    write_text(HERE / "results.md", f"{text}{note}\n\n## By label\n\n{by_label(runs, order)}\n")
    shutil.copy(sweep / "methods.csv", HERE / "methods.csv")
    draw(runs, HERE / "gauc.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
