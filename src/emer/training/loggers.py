"""Weights & Biases: offline by default, without an account, and never a reason for a run to fail."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from emer.labels import wandb_id
from emer.processes import is_first_rank

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    project: str,
    offline: bool,
    timeout: int,
    run_dir: str,
    name: str,
    group: str | None,
    tags: list[str],
    config: dict[str, Any],
    entity: str | None = None,
) -> WandbLogger:
    """A W&B run whose id follows from the run folder, so that a resumed run stays one run.

    Online, if the server cannot be reached (or no account is set up) within ``timeout`` seconds, the run goes on
    offline and says so; ``wandb sync`` uploads it later.

    Args:
        project, entity: where the run appears.
        offline: write to the run folder only.
        timeout: seconds to wait for the server.
        run_dir: the run's folder.
        name, group, tags, config: what W&B shows; the group is the sweep.
        entity: team or user, None for the account's own.
    """
    if not is_first_rank():
        # Lightning hands ranks above 0 a logger that does nothing.
        return WandbLogger(id=wandb_id(run_dir), save_dir=run_dir, offline=True)
    # Imported late: it takes a second, and only runs that log to it should wait.
    import wandb
    from wandb.errors import Error

    os.environ.setdefault("WANDB_SILENT", "true")

    def start(mode: Literal["online", "offline"]) -> wandb.Run:
        return wandb.init(
            project=project,
            entity=entity,
            name=name,
            group=group,
            tags=tags,
            config=config,
            id=wandb_id(run_dir),
            dir=run_dir,
            mode=mode,
            resume="allow",
            settings=wandb.Settings(init_timeout=timeout, silent=True, console="off"),
        )

    try:
        run = start("offline" if offline else "online")
    except (Error, OSError) as error:
        reason = str(error).splitlines()[0]
        log.warning("W&B cannot be reached (%s); the run goes on offline, `wandb sync` uploads it later", reason)
        wandb.teardown()
        run = start("offline")
    return WandbLogger(experiment=run, save_dir=run_dir)


def define_summaries(loggers: list[pl.loggers.Logger], monitor: str, mode: str) -> None:
    """Let W&B's summary show each metric's best value instead of its last."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and is_first_rank():
            logger.experiment.define_metric(monitor, summary=mode)
            for family in ("pxtr_gauc", "iput_gauc", "label_gauc"):
                logger.experiment.define_metric(f"val/{family}/*", summary="max")
