"""The learning rate of every network: best validation label GAUC of each run of experiment=learning_rates.

python experiments/all_methods/learning_rates.py outputs/multirun/<the sweep> [...]
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from emer.files import write_text
from emer.labels import method_label
from emer.run_folder import RunFolder

HERE = Path(__file__).parent
METRIC = "val/label_gauc/mean"


def main(sweeps: list[str]) -> None:
    """Write ``learning_rates.csv`` and print it with the choices."""
    found: dict[str, dict[float, tuple[float, int]]] = defaultdict(dict)
    for path in sorted(status.parent for sweep in sweeps for status in Path(sweep).glob("*/status.json")):
        folder = RunFolder(path)
        if folder.status().get("status") != "finished":
            print(f"left out, not finished: {path}")
            continue
        cfg = folder.load_config()
        with (path / "metrics.csv").open(encoding="utf-8", newline="") as file:
            values = [float(row[METRIC]) for row in csv.DictReader(file) if row.get(METRIC)]
        best = max(values)
        found[method_label(cfg.method)][float(cfg.method.optimizer.lr)] = best, values.index(best) + 1
    lines = ["method,learning_rate,best_validation_label_gauc,epoch,chosen"]
    for label, rates in found.items():
        chosen = max(rates, key=lambda rate: rates[rate][0])
        lines += [f"{label},{lr},{value:.4f},{epoch},{lr == chosen}" for lr, (value, epoch) in sorted(rates.items())]
    write_text(HERE / "learning_rates.csv", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
