"""Tables of the experiment from its folders.

    python experiments/mmoe_stage/table.py outputs/ab_test outputs/calibrate     writes results.md, arms.csv, pxtrs.csv

The first folder holds the A/B tests, the second the simulation cards; both hold nothing else.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from emer.files import write_text
from emer.world.responses import OBJECTIVES

HERE = Path(__file__).parent
METRICS = ("Like, expected", "Like", "AppStayTime", "VideoView")
Row = dict[str, Any]


def stage_of(world: Any) -> str:
    """``parametric``, or the size of the log that the MMoE was trained on."""
    return "parametric" if world["stage"] is None else f"MMoE, {world['stage']['exposures']:,}"


def arms(folder: Path) -> list[Row]:
    """A row per test, arm and metric: difference from pltr in per cent, over twins."""
    rows = []
    for path in sorted(folder.glob("*/config.yaml")):
        world = OmegaConf.to_container(OmegaConf.load(path).world)
        own = {"stage": stage_of(world), "eta": world["parameters"]["eta"], "seed": world["seed"]}  # type: ignore[index, call-overload]
        for effect in json.loads((path.parent / "effects.json").read_text(encoding="utf-8")):
            name = effect["metric"] + (", expected" if effect["kind"] == "expected" else "")
            if (effect["design"], effect["segment"]) == ("twin", "all") and name in METRICS:
                numbers = {key: effect[key] for key in ("percent", "percent_low", "percent_high")}
                rows.append({**own, "arm": effect["arm"], "metric": name, **numbers})
    order = [row["stage"] for row in rows]
    return sorted(rows, key=lambda r: (order.index(r["stage"]), -r["eta"], r["arm"], r["seed"], r["metric"]))


def pxtrs(folder: Path) -> list[Row]:
    """A row per card and pxtr: AUC, and mean over the mean outcome, on shown videos."""
    rows = []
    for path in sorted(folder.glob("*/card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        for name in OBJECTIVES:
            auc, ratio = card["pxtr_auc"].get(name), card["pxtr_ratio"].get(name)
            rows.append({"stage": stage_of(card["world"]), "pxtr": name, "auc": auc, "ratio": ratio})
    return rows


def likes(rows: list[Row]) -> list[str]:
    """Expected likes, a line per stage, eta and arm, a column per seed."""
    seeds = sorted({row["seed"] for row in rows})
    found = {(r["stage"], r["eta"], r["arm"], r["seed"]): r for r in rows if r["metric"] == METRICS[0]}
    lines = [
        "| stage | eta | arm | " + " | ".join(f"seed {seed}" for seed in seeds) + " |",
        "|---" * (3 + len(seeds)) + "|",
    ]
    for stage, eta, arm in dict.fromkeys((s, e, a) for s, e, a, _ in found):
        cells = []
        for seed in seeds:
            r = found[stage, eta, arm, seed]
            cells.append(f"{r['percent']:+.1f} ± {(r['percent_high'] - r['percent_low']) / 2:.1f}")
        lines.append(f"| {stage} | {eta:g} | {arm} | " + " | ".join(cells) + " |")
    return lines


def means(rows: list[Row]) -> list[str]:
    """Every metric, mean over the seeds."""
    lines = ["| stage | eta | arm | " + " | ".join(METRICS) + " |", "|---" * (3 + len(METRICS)) + "|"]
    for stage, eta, arm in dict.fromkeys((r["stage"], r["eta"], r["arm"]) for r in rows):
        cells = []
        for metric in METRICS:
            values = [
                r["percent"] for r in rows if (r["stage"], r["eta"], r["arm"], r["metric"]) == (stage, eta, arm, metric)
            ]
            cells.append(f"{sum(values) / len(values):+.1f}")
        lines.append(f"| {stage} | {eta:g} | {arm} | " + " | ".join(cells) + " |")
    return lines


def quality(rows: list[Row], key: str, digits: int) -> list[str]:
    """A line per stage, a column per pxtr."""
    lines = ["| stage | " + " | ".join(OBJECTIVES) + " |", "|---" * (1 + len(OBJECTIVES)) + "|"]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        values = [row[key] for row in rows if row["stage"] == stage]
        lines.append(f"| {stage} | " + " | ".join("-" if v is None else f"{v:.{digits}f}" for v in values) + " |")
    return lines


def write_csv(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def main() -> None:
    tests, cards = arms(Path(sys.argv[1])), pxtrs(Path(sys.argv[2]))
    write_csv(HERE / "arms.csv", tests)
    write_csv(HERE / "pxtrs.csv", cards)
    sections = {
        "Expected likes, difference from pltr in per cent": likes(tests),
        "Mean over the seeds, difference from pltr in per cent": means(tests),
        "AUC of the pxtrs on shown videos": quality(cards, "auc", 3),
        "Mean pxtr over mean outcome on shown videos": quality(cards, "ratio", 2),
    }
    text = "\n\n".join("\n".join([f"## {title}", "", *lines]) for title, lines in sections.items())
    write_text(HERE / "results.md", f"# Results\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
