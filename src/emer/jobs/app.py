"""Runs a job under Hydra: composes its config, chooses its folder, and turns failures into short messages."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emer import schemas
from emer.config_files import config_dir
from emer.errors import EmerError
from emer.jobs.messages import explain, unexpected
from emer.labels import identity, run_label
from emer.run_folder import single_run_dir

Job = Callable[[DictConfig], Any]


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
