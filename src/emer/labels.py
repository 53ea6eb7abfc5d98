"""What a run is called, and what makes two runs the same: both read off the resolved config."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml
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
    """The method's name, a foreign objective, and every switch that is off: ``emer-no_post-no_evolve``,
    ``harmonrank+pairwise_logistic-no_gate``.

    Derived from the resolved values, never from the name of an ablation file.
    """
    name = str(method.name)
    if method.get("objective_name") != method.get("default_objective"):
        name += f"+{method.objective_name}"
    return "-".join(
        [name, *(switch for switch, what in (method.get("switches") or {}).items() if _is_off(method, what))]
    )


def _is_off(method: DictConfig, switch: str) -> bool:
    """Whether ``path`` is false, or for ``path=value`` has that value."""
    path, _, value = switch.partition("=")
    wanted = yaml.safe_load(value) if value else False
    found = OmegaConf.select(method, path)
    return type(found) is type(wanted) and found == wanted


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
