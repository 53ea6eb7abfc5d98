"""What a run is called, and what makes two runs the same: both read off the resolved config."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
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
    "reuse",
    "task_name",
    "optimized_metric",
    "hparams_search",
)
"""Top-level keys that change where results go or how a run is started, not what it computes."""

_SETTINGS = ("method", "data", "trainer", "loader", "metrics", "monitor", "monitor_mode", "patience")


def method_label(method: DictConfig) -> str:
    """The method's name, a foreign objective, and every switch of either that is off: ``emer-no_post-no_evolve``,
    ``harmonrank+emer-no_gate-no_post``.

    Derived from the resolved values, never from the name of an ablation file.
    """
    name = str(method.name)
    if method.get("objective_name") != method.get("default_objective"):
        name += f"+{method.objective_name}"
    switches = {**(method.get("switches") or {}), **(method.get("objective_switches") or {})}
    return "-".join([name, *(switch for switch, what in switches.items() if what and _is_off(method, what))])


def _is_off(method: DictConfig, switch: str) -> bool:
    """Whether ``path`` is false, or for ``path=value`` has that value."""
    path, _, value = switch.partition("=")
    wanted = yaml.safe_load(value) if value else False
    found = OmegaConf.select(method, path)
    return type(found) is type(wanted) and found == wanted


def run_label(cfg: DictConfig) -> str:
    """Method label, data and seed."""
    return f"{method_label(cfg.method)}_{cfg.data.name}_seed{cfg.seed}"


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """Dotted key -> value of what runs must share for their results to be averaged: all but seeds and folders.

    Args:
        cfg: the resolved ``config.yaml`` of a run folder.
    """
    flat: dict[str, Any] = {}

    def walk(node: Any, key: str) -> None:
        if isinstance(node, dict) and node:
            for name, value in node.items():
                walk(value, f"{key}.{name}")
            return
        seed = key.endswith(".seed") and not key.startswith("data.")  # the data's are the same for all training seeds
        if not seed and not key.endswith(".root"):
            flat[key] = node

    for part in _SETTINGS:
        node = cfg.get(part)
        walk(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node, part)
    return flat


def group_identity(cfg: DictConfig) -> str:
    """Hash of :func:`settings_of` (12 hex digits): equal for runs that differ in seeds and folders alone."""
    return _hash(settings_of(cfg))


def identity(cfg: DictConfig) -> str:
    """Hash of everything in the config that decides the run's numbers (12 hex digits)."""
    content: dict[str, Any] = {}
    for key in cfg:
        if str(key) not in _NOT_IDENTITY:
            # Unresolved: an interpolation into an excluded key (a folder) must not change the identity.
            node = cfg._get_node(key)
            content[str(key)] = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else cfg[key]
    return _hash(content)


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def wandb_id(run_dir: str) -> str:
    """W&B run id of a run folder: the same when the run is resumed in it."""
    return hashlib.sha256(Path(run_dir).resolve().as_posix().encode()).hexdigest()[:16]
