"""The folder of configs, and its files as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from emer.errors import EmerError


def config_dir() -> Path:
    """The folder of configs: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise EmerError(f"the configs are missing: neither {package / 'conf'} nor {package.parents[1] / 'conf'} is there")


def read_config(group: str, name: str) -> dict[str, Any]:
    """The content of ``<group>/<name>.yaml``, nothing composed."""
    return yaml.safe_load((config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")) or {}
