"""Run folders written by hand: no training, and numbers that are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from emer.files import write_json, write_text
from emer.metrics.summary import summarise


def made_run(
    root: Path,
    method: str = "emer",
    seed: int = 1,
    *,
    gain: float = 0.0,
    members: Sequence[str] = ("a", "b"),
    requests: int = 40,
    first: int = 0,
    data: str = "simulated",
    status: str = "finished",
    settings: Mapping[str, Any] | None = None,
    noise: float = 0.01,
    name: str | None = None,
) -> Path:
    """A finished run whose GAUC of member j is .5 + gain + j/100 and noise, on requests whose noise all runs share.

    Args:
        members: of each GAUC family.
        first: id of the first test request.
        settings: dotted key -> value, merged into the config.
        noise: standard deviation of the run's own noise.
        name: of the folder; by default it tells method, data and seed.
    """
    path = root / (name or f"{method}_{data}_seed{seed}")
    config = OmegaConf.create(
        {
            "method": {"name": method, "switches": {}, "optimizer": {"lr": 0.1}, "module": {"seed": seed}},
            "data": {"name": data, "root": f"/{seed}", "seed": 0},
            "loader": {"iput_floor": 1.0},
            "seed": seed,
            "run": {"identity": "x"},
        }
    )
    for key, value in (settings or {}).items():
        OmegaConf.update(config, key, value, force_add=True)
    write_text(path / "config.yaml", OmegaConf.to_yaml(config))
    why = {"error": "it broke"} if status == "failed" else {}
    write_json(path / "status.json", {"status": status, "label": f"{method}_{data}_seed{seed}", "seed": seed, **why})
    write_json(path / "environment.json", {"commit": "abc", "platform": "Linux", "processors": 2, "python": "3.11"})
    if status != "finished":
        return path
    shared = np.random.default_rng(0).normal(0.5, 0.05, requests)
    own = np.random.default_rng(seed + 100 * len(method)).normal(0, 1, requests) * noise
    columns: dict[str, np.ndarray] = {}
    for family in ("label_gauc", "pxtr_gauc", "iput_gauc"):
        columns |= {f"{family}/{m}": shared + own + gain + j / 100 for j, m in enumerate(members)}
    columns |= {"n_candidates": np.full(requests, 5.0), "n_exposed": np.full(requests, 3.0)}
    columns |= {"request_id": first + np.arange(requests), "user_id": np.arange(requests) // 2}
    pq.write_table(pa.table(columns), path / "per_request.parquet")
    summary = summarise(columns, dict.fromkeys(members, 0.5 + gain))
    write_json(path / "metrics.json", {f"test/{key}": value for key, value in summary.items()})
    write_json(path / "timing.json", {"parameters": 10, "train_rows_per_second": 2000.0 * seed, "fit_seconds": 4.0})
    return path


def write_rows(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """A CSV file with the columns of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def add_histories(path: Path, members: Sequence[str] = ("a", "b"), *, epochs: int = 5, steps: int = 40) -> None:
    """Epochs and weights beside a run: every loss falls as 1 / (1 + epoch), every GAUC rises, weights turn about 1."""
    seed = int(path.name.rsplit("seed", 1)[-1]) if "seed" in path.name else 1
    rows = []
    for epoch in range(epochs):
        fall = (1 + 0.1 * seed) / (1 + epoch)
        row: dict[str, float | str] = {"epoch": epoch, "step": 10 * epoch, "train/loss": fall, "val/loss": 1.1 * fall}
        row |= {"val/label_gauc/mean": 0.6 - 0.1 * fall, "val/pxtr_gauc/mean": 0.7 - 0.1 * fall, "weight/max": 3.0}
        row |= {f"val/prior/{m}": fall * (1 + 0.2 * j) for j, m in enumerate(members)}
        row |= {f"weight/{m}": 1 + 0.1 * j + 0.05 * epoch for j, m in enumerate(members)}
        rows.append(row)
    write_rows(path / "metrics.csv", rows)
    write_rows(
        path / "weights.csv",
        [{"step": 10 * i} | {m: 1 + 0.3 * np.sin(i / 9 + j) for j, m in enumerate(members)} for i in range(steps)],
    )


def add_segments(path: Path, values: int = 3) -> None:
    """The column ``segment/activity`` with ids from 0 on, by turns, and lists of 3 to 10 candidates."""
    columns = pq.read_table(path / "per_request.parquet")
    places = np.arange(columns.num_rows)
    columns = columns.append_column("segment/activity", pa.array((places % values).astype(np.int8)))
    lengths = columns.column_names.index("n_candidates")
    columns = columns.set_column(lengths, "n_candidates", pa.array(3.0 + places % 8))
    pq.write_table(columns, path / "per_request.parquet")


def add_archive(path: Path) -> None:
    """An archive of IPPO with two labels, one of whose GAUCs is not known."""
    entries = [
        {"round": 0, "model": "reference", "weights": [1.0, 1.0], "gaucs": [0.6, None]},
        {"round": 1, "model": "base", "weights": [1.5, 0.5], "gaucs": [0.55, 0.7]},
    ]
    write_json(path / "archive.json", {"labels": ["a", "b"], "rounds": [{"accepted": True}] * 3, "archive": entries})


def made_online(root: Path) -> list[Path]:
    """Folders of an A/B test, of one in several worlds, and of a closed loop."""
    test, worlds, loop = root / "ab_test", root / "ab_worlds", root / "loop"
    effect: dict[str, float | str] = {"arm": "emer", "metric": "Like", "kind": "observed", "design": "twin"}
    effect |= {"segment": "all", "adjusted_p": 0.02, "percent": 1.5, "percent_low": 0.5, "percent_high": 2.5, "p": 0.01}
    rows = [effect, effect | {"metric": "Forward", "percent_low": "", "percent_high": "", "p": "", "adjusted_p": ""}]
    for folder in (test, loop):
        write_rows(folder / "effects.csv", [*rows, effect | {"segment": "activity 0", "percent": 9.0}])
    write_text(test / "config.yaml", "arms: [fusion_formula, outputs/train/emer]\n")
    write_rows(loop / "hours.csv", [{"hour": 0}])
    mean: dict[str, float | str] = {"where": "online", "arm": "emer", "name": "Like", "mean": 1.0, "low": -1.0}
    mean |= {"high": 3.0, "same_sign": 4, "worlds": 6}
    write_rows(worlds / "worlds.csv", [mean, mean | {"where": "gauc", "name": "raw/pltr"}])
    write_text(worlds / "config.yaml", "arms: [fusion_formula]\n")
    return [test, worlds, loop]
