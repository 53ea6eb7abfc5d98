"""What ``emer ab-test``, ``emer ab-worlds`` and ``emer online`` left, for a report."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from emer.errors import EmerError

FORMULA = "fusion_formula"
_KINDS = {"worlds.csv": "worlds", "hours.csv": "loop", "effects.csv": "test"}
_NUMBERS = ("percent", "percent_low", "percent_high", "p", "adjusted_p")


def read_online(folders: Iterable[str | Path]) -> list[dict[str, Any]]:
    """The differences of every folder.

    Returns:
        Each with ``folder``, ``kind`` (test, worlds or loop), ``base`` and ``effects``: rows with ``arm``, ``metric``,
        ``kind``, ``design`` and in per cent ``percent``, ``percent_low``, ``percent_high``; tests and loops with ``p``
        and ``adjusted_p`` (Holm), worlds with ``same_sign`` and ``worlds``. All users; segments stay in the folder.

    Raises:
        EmerError: a folder is none of these, or cannot be read.
    """
    return [_read(Path(folder)) for folder in folders]


def _read(folder: Path) -> dict[str, Any]:
    kind = next((kind for name, kind in _KINDS.items() if (folder / name).is_file()), None)
    if kind is None:
        raise EmerError(
            f"online: {folder} has none of {', '.join(_KINDS)}; name what emer ab-test, ab-worlds or online left"
        )
    try:
        effects = _worlds(folder / "worlds.csv") if kind == "worlds" else _effects(folder / "effects.csv")
    except (OSError, KeyError, ValueError) as error:
        raise EmerError(f"online: {folder} cannot be read ({type(error).__name__}: {error})") from error
    return {"folder": folder.name, "kind": kind, "base": _base(folder, kind), "effects": effects}


def _effects(path: Path) -> list[dict[str, Any]]:
    return [
        {name: row[name] for name in ("arm", "metric", "kind", "design")}
        | {name: _number(row.get(name)) for name in _NUMBERS}
        for row in _rows(path)
        if row["segment"] == "all"
    ]


def _worlds(path: Path) -> list[dict[str, Any]]:
    return [
        {"arm": row["arm"], "metric": row["name"], "kind": "", "design": "mean over worlds"}
        | {"percent": _number(row["mean"]), "percent_low": _number(row["low"]), "percent_high": _number(row["high"])}
        | {"same_sign": int(row["same_sign"]), "worlds": int(row["worlds"])}
        for row in _rows(path)
        if row["where"] == "online"
    ]


def _base(folder: Path, kind: str) -> str:
    """What the arms are compared with: the first arm, in a closed loop the formula."""
    if kind == "loop":
        return FORMULA
    try:
        return Path(str(OmegaConf.select(OmegaConf.load(folder / "config.yaml"), "arms")[0])).name
    except (OSError, IndexError, TypeError):
        return "the base"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(cell: str | None) -> float | None:
    value = float(cell) if cell else math.nan
    return value if math.isfinite(value) else None
