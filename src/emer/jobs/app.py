"""Runs a job under Hydra: composes its config, chooses its folder, and turns failures into short messages."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emer import schemas
from emer.errors import EmerError
from emer.labels import identity, run_label
from emer.run_folder import single_run_dir

Job = Callable[[DictConfig], Any]


def config_dir() -> Path:
    """The folder of configs: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise EmerError(f"the configs are missing: neither {package / 'conf'} nor {package.parents[1] / 'conf'} is there")


def register() -> None:
    """Make schemas and resolvers known to Hydra."""
    schemas.register()
    OmegaConf.register_new_resolver("emer.run_dir", lambda *, _root_: single_run_dir(_root_), replace=True)
    OmegaConf.register_new_resolver("emer.logs", available_logs, replace=True)
    OmegaConf.register_new_resolver("emer.real_data", real_data, replace=True)
    OmegaConf.register_new_resolver("emer.label", lambda *, _root_: run_label(_root_), replace=True)


def available_logs() -> str:
    """Comma-separated choices of ``data`` that need nothing more: kuairand where EMER_REAL_DATA names its folder."""
    return "simulated,kuairand" if os.environ.get("EMER_REAL_DATA") else "simulated"


def real_data() -> str:
    """The folder of the real log.

    Raises:
        EmerError: the environment does not name it.
    """
    folder = os.environ.get("EMER_REAL_DATA")
    if not folder:
        raise EmerError("data.root is not set; give it on the command line as data.root=..., or set EMER_REAL_DATA")
    return folder


def run(job: Job, config_name: str, arguments: Sequence[str]) -> int:
    """Compose ``config_name`` with the command line's ``arguments`` and call ``job`` (once, or per sweep member).

    Returns:
        Exit status: 0, 1 after an error that was reported on stderr, 130 after Ctrl-C.
    """
    register()
    show_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra's parser takes no overrides before a flag: `train seed=1 -m ...` would be an error.
    flags = [a for a in arguments if a in ("-m", "--multirun")]
    rest = [a for a in arguments if a not in flags]
    saved_argv, sys.argv = sys.argv, [f"emer {config_name}", *flags, *rest]
    # Otherwise Hydra prints tracebacks itself and exits; errors are to be reported here.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    failures: list[Exception] = []
    _terminate_like_ctrl_c()

    def task(cfg: DictConfig) -> Any:
        try:
            return job(with_run(cfg))
        except (EmerError, OmegaConfBaseException) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra goes on with the sweep and raises the first failure at its end
            failures.append(error)
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(task)()
        if failures:
            raise failures[0]
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (EmerError, HydraException, OmegaConfBaseException) as error:
        if show_all:
            traceback.print_exc()
        print(f"error: {explain(error, arguments)}", file=sys.stderr)
        return 1
    except Exception as error:
        print(f"error: {unexpected(error, show_all)}", file=sys.stderr)
        return 1
    finally:
        sys.argv = saved_argv
        if not show_all:
            del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _terminate_like_ctrl_c() -> None:
    """Let SIGTERM end a job as Ctrl-C does: what is half-written is removed, and the status says interrupted."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def with_run(cfg: DictConfig) -> DictConfig:
    """The config with its ``run`` node filled in and everything resolved, so that it means the same anywhere."""
    hydra_config = HydraConfig.get()
    if "run" in cfg and OmegaConf.is_config(cfg.run):
        sweep = hydra_config.mode == RunMode.MULTIRUN
        cfg.run.identity = identity(cfg)
        cfg.run.dir = hydra_config.runtime.output_dir
        cfg.run.group = Path(hydra_config.sweep.dir).name if sweep else None
        cfg.run.overrides = list(hydra_config.overrides.task)
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(resolved, DictConfig)
    OmegaConf.set_struct(resolved, True)
    return resolved


def explain(error: BaseException, arguments: Sequence[str]) -> str:
    """One short message: what was wrong and what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EmerError):
            return str(cause)
        cause = cause.__cause__
    refused = _refused_ablation(arguments, str(error))
    if refused is not None:
        return refused
    text = str(error)
    if error.__cause__ is not None and str(error.__cause__) not in text:
        text += f"\n{error.__cause__}"
    unresolved = re.match(r"EmerError raised while resolving interpolation: (.*)", text)
    if unresolved:
        return unresolved.group(1)
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is not set; give it on the command line as {missing.group(1)}=..."
    no_choice = re.search(
        r"Could not find '([^']+)/([^'/]+)'\s+Available options in '[^']+':\s+(.*?)Config search path",
        text,
        re.S,
    )
    if no_choice:
        group, name, listed = no_choice.groups()
        return f"there is no {group}={name}; choose one of {', '.join(listed.split())}"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        if "/" not in key and (config_dir() / key).is_dir():
            return f"{key} is added, not replaced: write +{key}=..."
        close = [name for name in difflib.get_close_matches(key, known_keys(), n=3) if name != key]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"the config has no key {key}{hint} (what there is: emer train --cfg job)"
    wrong_type = re.search(
        r"Value '(.*?)' of type '\w+' (could not be converted to \w+|is not.*)\s+full_key: (\S+)", text, re.S
    )
    if wrong_type:
        value, why, key = wrong_type.groups()
        return f"{key}={value}: the value {why}"
    return text


def unexpected(error: Exception, show_all: bool) -> str:
    """The message for an error that nobody foresaw; the traceback goes to a file, or to stderr where asked for."""
    first = (str(error).strip().splitlines() or [""])[0]
    if show_all:
        traceback.print_exception(error)
        return f"{type(error).__name__}: {first}"
    with tempfile.NamedTemporaryFile("w", prefix="emer-traceback-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {first}\nThe traceback is in {file.name}"


def known_keys() -> list[str]:
    """Every dotted key that a file in the config folder sets, for suggestions."""
    keys: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                keys.add(f"{prefix}{name}")
                walk(value, f"{prefix}{name}.")

    root = config_dir()
    for path in root.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        group = path.parent.relative_to(root).as_posix()
        walk(yaml.safe_load(text), "" if group == "." or "@package _global_" in text else f"{group}.")
    return sorted(keys)


def _choices(arguments: Sequence[str], group: str) -> list[str]:
    """Every value that the command line gives to a config group, sweeps and lists included."""
    found: list[str] = []
    for override in OverridesParser.create().parse_overrides([a for a in arguments if "=" in a]):
        if override.key_or_group == group:
            found += re.findall(r"[\w/]+", str(override.get_value_string()))
    return found


def ablations_of(method: str) -> list[str]:
    """The ablations that a method has: ``full`` and its switches that have a file in conf/ablation."""
    path = config_dir() / "method" / f"{method}.yaml"
    switches = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("switches") or {}
    files = {p.stem for p in (config_dir() / "ablation").glob("*.yaml")}
    names = [name for name in switches if name in files]
    return ["full", *names] if names else []


def _refused_ablation(arguments: Sequence[str], text: str) -> str | None:
    """The message for an ablation that the chosen method or objective lacks, or None if that is not what happened."""
    try:
        asked = _choices(arguments, "ablation")
        methods = _choices(arguments, "method") or ["emer"]
        objectives = _choices(arguments, "objective")
    except HydraException:
        return None
    for method in methods:
        if not (config_dir() / "method" / f"{method}.yaml").is_file():
            continue
        has = ablations_of(method)
        lacking = [name for name in asked if name not in has]
        if lacking:
            listed = ", ".join(has) if has else "none"
            return f"method {method} has no ablation {', '.join(lacking)}; it has: {listed}"
    if asked and objectives and "In 'ablation/" in text:
        return f"objective {', '.join(objectives)} does not have what the ablation {', '.join(asked)} switches off"
    return None
