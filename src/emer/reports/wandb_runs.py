"""What run folders say of their W&B runs: under which id they were logged, what tells them apart, what to upload."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from emer.labels import wandb_id
from emer.reports.runs import Run, differing
from emer.run_folder import RunFolder


@dataclass(frozen=True)
class LoggedRun:
    """A run that was logged to W&B, online or offline.

    Attributes:
        sweep: W&B's group, None for a run that was no part of a sweep.
        wandb_id: W&B's id of the run.
        project, entity: where it was logged to; no entity is the account's own.
        offline: folders that ``wandb sync`` uploads; several if the run was resumed.
        uploaded: whether ``wandb sync`` left its mark in all of these, and so would pass over them.
    """

    run: Run
    sweep: str | None
    wandb_id: str
    project: str
    entity: str | None
    offline: tuple[Path, ...]
    uploaded: bool


def logged_run(run: Run) -> LoggedRun | None:
    """What the run's folder says of its W&B run; None if it had no such logger."""
    cfg = RunFolder(run.path).load_config()
    logger = (cfg.get("logger") or {}).get("wandb")
    if logger is None:
        return None
    files = sorted(run.path.glob("wandb/offline-run-*/*.wandb"))
    return LoggedRun(
        run=run,
        sweep=cfg.run.get("group"),
        wandb_id=_wandb_id(run.path, cfg),
        project=str(logger.project),
        entity=logger.get("entity"),
        offline=tuple(file.parent.absolute() for file in files),
        uploaded=bool(files) and all(file.with_name(f"{file.name}.synced").exists() for file in files),
    )


def _wandb_id(path: Path, cfg: DictConfig) -> str:
    """The id in the name of the folder that W&B wrote, which stays true when the run folder is moved."""
    written = sorted([*path.glob("wandb/offline-run-*"), *path.glob("wandb/run-*")])
    if written:
        return written[-1].name.rpartition("-")[2]
    # Deleted after the upload, by `wandb clean` for example.
    return wandb_id(str(cfg.run.dir))


def grouping_keys(runs: Sequence[Run], *, labelled: bool) -> list[str]:
    """The fewest config keys, or nearly, by which W&B can tell runs apart that differ in more than the seed.

    Args:
        labelled: whether the runs' W&B config has ``label``; without it the method's name comes first.
    """
    known = [{"label": run.label, **run.settings} for run in runs]
    keys = ["label" if labelled else "method.name"]
    candidates = differing([run.settings for run in runs])
    candidates.sort(key=lambda key: any(isinstance(facts.get(key), list | dict) for facts in known))

    def parts(chosen: Sequence[str]) -> int:
        return len({tuple(str(facts.get(key)) for key in chosen) for facts in known})

    groups = len({run.group for run in runs})
    while parts(keys) < groups and candidates:
        best = max(candidates, key=lambda key: parts([*keys, key]))
        candidates.remove(best)
        keys.append(best)
    return keys


def axes(runs: Sequence[Run]) -> list[str]:
    """The settings, sorted, that differ and of which every run has one value, so that a line can go through it.

    The names of classes are left out: the method's name says it.
    """
    known = [run.settings for run in runs]
    found = [key for key in differing(known) if not key.endswith("_target_")]
    return [key for key in found if all(key in facts and not isinstance(facts[key], list | dict) for facts in known)]


def how_to_upload(runs: Sequence[LoggedRun], project: str | None, entity: str | None) -> str:
    """What to type so that ``runs`` are in the project: one ``wandb sync`` for each, of its own offline folders.

    Args:
        project, entity: named in the commands if given; else the runs go to where they were logged to.
    """
    where = [*(["-e", entity] if entity else []), *(["-p", project] if project else [])]
    offline = [one for one in runs if one.offline]
    lines = ["Upload what was logged offline, then give the same command again:"] if offline else []
    for one in offline:
        again = ["--include-synced"] if one.uploaded else []  # to another project, or it was deleted there
        lines.append(f"  {shlex.join(['wandb', 'sync', *again, *where, *map(str, one.offline)])}")
    lines += [
        f"{one.run.folder} has nothing to upload (no wandb/offline-run-* in its folder)."
        for one in runs
        if not one.offline
    ]
    return "\n".join(lines)
