"""Publishes a comparison as a W&B Report of runs that are in a W&B project already; uploads no run and asks nothing."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emer.errors import EmerError
from emer.reports.groups import Grouped, group_runs
from emer.reports.runs import read_runs
from emer.reports.wandb_panels import comparison_report
from emer.reports.wandb_runs import LoggedRun, how_to_upload, logged_run

log = logging.getLogger(__name__)

_ACCOUNT = (
    "publish=wandb needs an account on a W&B server: set WANDB_API_KEY to its key (and WANDB_BASE_URL, if the server "
    "is your own). Nothing was sent. Without an account the local report has the same comparison."
)
_NO_LOGGER = "it was trained without W&B's logger; logger=wandb (the default) or logger=wandb_online has it"


def publish(
    runs: Sequence[Path],
    *,
    title: str,
    markdown: str,
    reference: str,
    entity: str | None = None,
    project: str | None = None,
) -> str:
    """Save the comparison as a W&B Report, and return its URL.

    The panels have the finished runs that are in the project; all others are named in the report and on the terminal.

    Args:
        runs: run folders.
        title, markdown: of the report; the local report's tables.
        reference: label of the method that ``markdown`` compares the others with.
        entity: team or user; None takes the one that the runs were logged for, else the account's own.
        project: None takes the one that the runs were logged to.

    Raises:
        EmerError: wandb-workspaces is not installed, no run was logged to W&B or is in the project (with the commands
            that upload them), there is no account, or the server refused or cannot be reached.
    """
    _check_installed()
    finished, problems = read_runs(runs)
    logged = {run.path: one for run in finished if (one := logged_run(run)) is not None}
    if not logged:
        lines = [str(problem) for problem in problems] + [f"{run.folder}: {_NO_LOGGER}" for run in finished]
        raise EmerError("publish=wandb: no finished run was logged to W&B\n" + "\n".join(lines))
    there = _Place(
        _one(entity, [one.entity for one in logged.values()], "entity"),
        _one(project, [one.project for one in logged.values()], "project"),
        (project, entity),
    )
    if not _has_account():
        offline = [one for one in logged.values() if one.offline and not one.uploaded]
        raise EmerError("\n".join([_ACCOUNT, *([how_to_upload(offline, project, entity)] if offline else [])]))

    from wandb.errors import Error

    try:
        return _publish(logged, there, group_runs(finished, problems), title, markdown, reference)
    except (Error, OSError) as error:
        raise EmerError(f"publish=wandb: {_address()} refused or cannot be reached: {error}") from error


class _Place(NamedTuple):
    """Entity and project of the report, and what the user named of them (project, entity)."""

    entity: str | None
    project: str
    named: tuple[str | None, str | None]


def _publish(
    logged: Mapping[Path, LoggedRun], place: _Place, grouped: Grouped, title: str, markdown: str, reference: str
) -> str:
    import wandb

    api = wandb.Api()
    entity = place.entity or api.default_entity
    if not entity:
        raise EmerError("publish=wandb: the account has no entity of its own; name a team or user as entity")
    configs = _configs_there(api, entity, place.project, [one.wandb_id for one in logged.values()])
    absent = [one for one in logged.values() if one.wandb_id not in configs]
    if not configs:
        todo = how_to_upload(absent, *place.named)
        raise EmerError(f"publish=wandb: none of the runs is in the W&B project {entity}/{place.project} yet.\n{todo}")
    left_out = [str(problem) for problem in grouped.problems]
    sections = {}
    for section in grouped.sections:
        members = [logged[run.path] for run in section.runs if run.path in logged]
        left_out += [f"{run.folder}: {_NO_LOGGER}" for run in section.runs if run.path not in logged]
        if found := [one for one in members if one.wandb_id in configs]:
            sections[section.name] = found
    left_out += [f"{one.run.folder}: it is not in the W&B project {entity}/{place.project}" for one in absent]
    for line in left_out:
        log.warning("the W&B report lacks %s", line)
    if absent:
        log.warning("%s", how_to_upload(absent, *place.named))
    report = comparison_report(
        sections,
        title=title,
        markdown=markdown,
        reference=reference,
        left_out=left_out,
        entity=entity,
        project=place.project,
        labelled=all("label" in config for config in configs.values()),
    )
    report.save()
    return _url(report)


def _url(report: Any) -> str:
    """The address, which the SDK makes with the title as it is; W&B goes by the id after the dashes."""
    head, _, tail = report.url.rpartition(report.title.replace(" ", "-") + "--")
    return f"{head}{re.sub(r'[^A-Za-z0-9._~-]+', '-', report.title)}--{tail}"


def _configs_there(api: Any, entity: str, project: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run id -> W&B config of those of ``ids`` that the project has; empty if there is no such project."""
    try:
        found = api.runs(f"{entity}/{project}", filters={"name": {"$in": list(ids)}}, per_page=100, lazy=False)
        return {run.id: run.config for run in found}
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise
        return {}


def _one(asked: str | None, logged: Sequence[str | None], what: str) -> Any:
    """The setting that was asked for, or else the one that all runs were logged with."""
    if asked is None and len(set(logged)) > 1:
        names = ", ".join(sorted(map(str, set(logged))))
        raise EmerError(f"publish=wandb: the runs were logged with several logger.wandb.{what} ({names}); name one")
    return logged[0] if asked is None else asked


def _has_account() -> bool:
    """Whether the environment, ``~/.netrc`` or W&B's settings have credentials; ``wandb.Api`` would ask for some."""
    from wandb.errors import Error
    from wandb.sdk.lib import wbauth

    try:
        return bool(
            wbauth.authenticate_session(host=_address(), source="emer report", prompt=False, update_session=False)
        )
    except Error as error:
        raise EmerError(f"publish=wandb: {error}") from error


def _address() -> str:
    import wandb

    return str(wandb.setup().settings.base_url)


def _check_installed() -> None:
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise EmerError("publish=wandb needs wandb-workspaces: pip install 'emer[reports]'")
