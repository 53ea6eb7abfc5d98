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
