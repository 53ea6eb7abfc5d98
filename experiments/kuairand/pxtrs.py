"""AUC and ECE of pxtr models on one log, from folders that `emer prepare` printed.

python experiments/kuairand/pxtrs.py <folder> <folder> ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from emer.files import write_text

HERE = Path(__file__).parent


def cell(values: list[float], digits: int) -> str:
    """Mean, and half the 95 % t interval over seeds."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean} ± {half:.{digits}f}"


def main(folders: list[Path]) -> None:
    """Write pxtrs.md beside this file."""
    quality: dict[str, list[dict[str, Any]]] = {}
    trees: dict[str, float | None] = {}
    names: list[str] = []
    for folder in folders:
        settings = json.loads((folder / "source.json").read_text())["settings"]["pxtr"]
        names = settings["objectives"]
        found = json.loads((folder / "calibration.json").read_text())["pooled"]
        quality.setdefault(settings["chain"]["kind"], []).append(found)
        if (folder / "reference.json").is_file():
            trees = json.loads((folder / "reference.json").read_text())["auc"]
    seeds = {kind: len(found) for kind, found in quality.items()}
    lines = [f"Mean ± half the 95 % interval over seeds ({', '.join(f'{kind} {n}' for kind, n in seeds.items())}).", ""]
    for key, title, digits in (("auc", "AUC, out of sample (of pvtr: share of pairs in order)", 4), ("ece", "ECE", 4)):
        lines += [f"**{title}**", "", "| model | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for kind, found in quality.items():
            lines.append(f"| {kind} | " + " | ".join(cell([f[n][key] for f in found], digits) for n in names) + " |")
        if key == "auc" and trees:
            values = (trees.get(name) for name in names)
            lines.append("| boosted trees | " + " | ".join("-" if v is None else f"{v:.4f}" for v in values) + " |")
        lines.append("")
    rows = next(iter(quality.values()))[0]
    lines.append(f"{rows[names[0]]['rows']:,} exposures of days that the model had not seen; ECE of pvtr in seconds.")
    write_text(HERE / "pxtrs.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
