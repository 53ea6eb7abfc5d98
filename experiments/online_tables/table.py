"""Tables 1, 4 and 5 of EMER beside what the simulated worlds say.

    python table.py <folder that has one ab-worlds folder per sweep>

Writes every number of every world (results.csv), the tables (tables.md) and a picture, beside this file.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from emer.files import write_text
from emer.online.consistency import INTERACTION_PXTRS, ONLINE
from emer.online.worlds import ROWS, OverWorlds, draw, over_worlds, read_worlds

HERE = Path(__file__).parent
BASE = "fusion_formula"
METRICS = [metric for metric, _ in ROWS if metric not in ("Dislike", "LT7")]
ARMS = ["emer", "emer-no_comp", "emer-no_post", "emer-no_prior", "emer-no_evolve", "emer-no_iput"]
PAPER = {
    "emer": [1.392, 1.542, 1.044, 0.435, 0.212, 0.695, 0.330],
    "emer-no_comp": [1.094, 1.309, 0.953, -1.740, -0.482, -0.720, -1.235],
    "emer-no_post": [1.045, 1.253, 0.960, -0.539, -1.525, -1.178, -1.448],
    "emer-no_prior": [0.939, 1.013, 0.802, -1.688, 0.045, -1.162, -1.542],
    "emer-no_evolve": [1.233, 1.689, -1.303, -1.494, -1.393, -7.414, -8.088],
    "emer-no_iput": [1.242, 1.409, 1.001, -1.649, -7.948, -6.664, -10.826],
}
"""Table 4, in per cent of the fusion formula, in the order of METRICS; EMER's row is Table 1, scenario 1."""
PAPER_GAUC = {
    "raw": {"emer": [0.706, 0.704, 0.706, 0.743], "emer-no_iput": [0.678, 0.680, 0.686, 0.709]},
    "iput": {"emer": [0.567, 0.587, 0.612, 0.574], "emer-no_iput": [0.516, 0.505, 0.521, 0.512]},
}
PAPER_BASE = {"raw": [0.556, 0.561, 0.567, 0.580], "iput": [0.555, 0.556, 0.598, 0.557]}
SWEEPS = {
    "main": "as the paper: list effects on, long views and interactions are positive",
    "interactions": "interactions alone are positive in the posterior pairs",
    "no_list": "no list effects",
    "strong_list": "list effects three times as strong",
    "no_rank": "without the NormalizedRank inputs (NoComp never has them)",
    "no_shift": "no request-level drift of the pxtrs",
}
Numbers = dict[tuple[str, str, str], list[float]]
"""(sweep, arm, name) -> one number per world."""


def main() -> None:
    root = Path(sys.argv[1])
    numbers = read(root)
    write_text(HERE / "results.csv", as_csv(numbers))
    write_text(HERE / "tables.md", "\n\n".join(sections(numbers)) + "\n")
    worlds = {int(path.name.removeprefix("world_")): path for path in sorted((root / "main").glob("world_*"))}
    draw(read_worlds(worlds, BASE), HERE / "worlds.png")
    print(HERE / "tables.md")


def read(root: Path) -> Numbers:
    """Online differences in per cent, and GAUC, of every sweep that is there."""
    found: Numbers = {}
    for sweep in SWEEPS:
        for folder in sorted((root / sweep).glob("world_*")):
            for e in json.loads((folder / "effects.json").read_text(encoding="utf-8")):
                if (e["metric"], e["kind"]) in ROWS and (e["design"], e["segment"]) == ("twin", "all"):
                    found.setdefault((sweep, e["arm"], e["metric"]), []).append(e["percent"])
            with (folder / "consistency.csv").open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    pxtr = INTERACTION_PXTRS[ONLINE.index(row["interaction"])]
                    for family in ("raw", "iput"):
                        name = f"{family}/{pxtr}"
                        found.setdefault((sweep, row["arm"], name), []).append(float(row[f"gauc_{family}"]))
                        if row["arm"] == BASE:
                            key = (sweep, "all arms", f"spearman {family} {row['interaction']}")
                            found.setdefault(key, []).append(float(row[f"spearman_{family}"]))
    return found


def as_csv(numbers: Numbers) -> str:
    lines = ["sweep,arm,name,world,value"]
    for (sweep, arm, name), values in numbers.items():
        lines += [f"{sweep},{arm},{name},{world},{value!r}" for world, value in enumerate(values, start=1)]
    return "\n".join(lines) + "\n"


def sections(n: Numbers) -> Iterable[str]:
    yield "# Tables 1, 4 and 5 in six simulated worlds"
    yield "Made by table.py. Means over the worlds with 95 % t-intervals; bold: 0 is outside."
    yield "## Tables 1 and 4: online, % of the fusion formula\n\n" + online(n, "main")
    yield "## Which signs and orders hold\n\n" + verdicts(n)
    yield "## Table 5: offline GAUC and online differences\n\n" + table_5(n)
    for sweep, title in list(SWEEPS.items())[1:]:
        if any(key[0] == sweep for key in n):
            text = f"## {title[0].upper()}{title[1:]}\n\n" + online(n, sweep)
            yield text + "\n\nAgainst EMER of the same worlds, percentage points:\n\n" + against_emer(n, sweep)


def online(n: Numbers, sweep: str) -> str:
    arms = [arm for arm in ARMS if (sweep, arm, METRICS[0]) in n]
    rows = []
    for index, metric in enumerate(METRICS):
        cells = []
        for arm in arms:
            text = cell(over_worlds(n[sweep, arm, metric]))
            cells.append(f"{text} / {PAPER[arm][index]:+.2f}" if sweep == "main" else text)
        rows.append([metric, *cells])
    title = "ours / paper" if sweep == "main" else ""
    return table([title, *arms], rows)


def against_emer(n: Numbers, sweep: str) -> str:
    arms = [arm for arm in ARMS[1:] if (sweep, arm, METRICS[0]) in n]
    rows = [[m, *(cell(gap(n, sweep, arm, m)) for arm in arms)] for m in METRICS]
    return table(["", *(f"{arm} - emer" for arm in arms)], rows)


def gap(n: Numbers, sweep: str, arm: str, name: str) -> OverWorlds:
    pairs = zip(n[sweep, arm, name], n[sweep, "emer", name], strict=True)
    return over_worlds([one - other for one, other in pairs])


def verdicts(n: Numbers) -> str:
    """Paper's sign against the formula, and of ablation minus EMER, each held against ours."""
    rows, counts = [], {"supported": 0, "contradicted": 0, "open": 0}
    for arm in ARMS:
        signs, orders = [], []
        for index, metric in enumerate(METRICS):
            verdict = judge(over_worlds(n["main", arm, metric]), PAPER[arm][index])
            counts[verdict] += 1
            signs.append(MARK[verdict])
            if arm != "emer":
                verdict = judge(gap(n, "main", arm, metric), PAPER[arm][index] - PAPER["emer"][index])
                counts[verdict] += 1
                orders.append(MARK[verdict])
        rows.append([f"sign of {arm} against the formula", *signs])
        if orders:
            rows.append([f"order of {arm} and emer", *orders])
    text = "+: ours has the paper's sign, beyond its interval; -: the opposite, beyond its interval; .: undecided.\n\n"
    text += table(["", *METRICS], rows)
    return text + "\n\nIn all: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."


MARK = {"supported": "+", "contradicted": "-", "open": "."}


def judge(found: OverWorlds, paper: float) -> str:
    if not found.certain:
        return "open"
    return "supported" if (found.mean > 0) == (paper > 0) else "contradicted"


def table_5(n: Numbers) -> str:
    rows = []
    for family in ("raw", "iput"):
        for index, pxtr in enumerate(INTERACTION_PXTRS):
            name = f"{family}/{pxtr}"
            base = over_worlds(n["main", BASE, name]).mean
            cells = [f"{base:.3f} / {PAPER_BASE[family][index]:.3f}"]
            for arm in ("emer-no_iput", "emer"):
                mean = over_worlds(n["main", arm, name]).mean
                gain = [a - b for a, b in zip(n["main", arm, name], n["main", BASE, name], strict=True)]
                cells.append(f"{mean:.3f} ({cell(over_worlds(gain), 3)}) / {PAPER_GAUC[family][arm][index]:.3f}")
            rows.append([f"{pxtr}{' IPUT' if family == 'iput' else ''}", *cells])
    text = table(["GAUC, ours (difference from the formula) / paper", "formula", "emer-no_iput", "emer"], rows)
    lines = []
    for family in ("raw", "iput"):
        told = [f"{m} {cell(over_worlds(n['main', 'all arms', f'spearman {family} {m}']))}" for m in ONLINE]
        per_world = zip(*(n["main", "all arms", f"spearman {family} {m}"] for m in ONLINE), strict=True)
        mean = over_worlds([sum(values) / len(values) for values in per_world])
        lines.append(f"- {family} GAUC: {', '.join(told)}; mean {cell(mean)}")
    return text + "\n\nSpearman's correlation over the seven arms of GAUC and online difference:\n\n" + "\n".join(lines)


def cell(found: OverWorlds, digits: int = 2) -> str:
    text = f"{found.mean:+.{digits}f} ± {found.high - found.mean:.{digits}f}"
    return f"**{text}**" if found.certain else text


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    main()
