"""What a run is called, and what makes two runs the same: both read off the resolved config."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

_NOT_IDENTITY = (
    "hydra",
    "paths",
    "run",
    "logger",
    "tags",
    "ckpt_path",
    "task_name",
    "optimized_metric",
    "hparams_search",
)
"""Top-level keys that change where results go or how a run is started, not what it computes."""


def method_label(method: DictConfig) -> str:
    """The method's name and every switch that is off, such as ``emer-no_post-no_evolve``.

    Derived from the resolved switches, never from the name of an ablation file.
    """
    off = [name for name, path in (method.get("switches") or {}).items() if OmegaConf.select(method, path) is False]
    return "-".join([str(method.name), *off])


def run_label(cfg: DictConfig) -> str:
    """Method label, data and seed."""
    return f"{method_label(cfg.method)}_{cfg.data.name}_seed{cfg.seed}"


def identity(cfg: DictConfig) -> str:
    """Hash of everything in the config that decides the run's numbers (12 hex digits)."""
    content: dict[str, Any] = {}
    for key in cfg:
        if str(key) not in _NOT_IDENTITY:
            # Unresolved: an interpolation into an excluded key (a folder) must not change the identity.
            node = cfg._get_node(key)
            content[str(key)] = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else cfg[key]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
