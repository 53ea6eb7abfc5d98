"""``emer report``: any set of runs in one page."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.errors import EmerError
from emer.jobs.simulation import result_folder
from emer.progress import counting
from emer.reports.by_objective import FAMILIES
from emer.reports.content import report_content, work
from emer.reports.groups import group_runs
from emer.reports.markdown import report_markdown
from emer.reports.online_results import read_online
from emer.reports.runs import find_runs, read_runs
from emer.reports.segments import SEGMENT
from emer.reports.words import plural
from emer.reports.write import check_folder, write_report

PUBLISHERS = {"wandb": "emer.reports.wandb_report"}
"""``publish`` -> the module whose ``publish`` does it, imported when it is asked for: it needs an extra."""


def report(cfg: DictConfig) -> None:
    """Read the runs, write ``report.{html,md,json}``, and publish it where that is asked for.

    Raises:
        EmerError: there is no run or nothing to show, or a setting is wrong.
    """
    if cfg.publish is not None and cfg.publish not in PUBLISHERS:
        raise EmerError(f"publish is {cfg.publish!r}; it is null or one of {', '.join(PUBLISHERS)}")
    online = read_online(_names(cfg, "online"))
    wanted = _names(cfg, "runs")
    if not wanted and not online:
        raise EmerError("runs is not set; name run folders, a sweep or a pattern: runs=outputs/multirun/...")
    folders = find_runs(wanted)
    folder = result_folder(cfg, _name(wanted))
    check_folder(folder)
    segments = None if cfg.segments is None else _names(cfg, "segments")
    with counting("Runs", len(folders)) as advance:
        runs, problems = read_runs(folders, advance, (*FAMILIES, SEGMENT))
    with counting("Comparisons", work(group_runs(runs), segments)) as advance:
        content = report_content(
            runs,
            problems,
            online,
            title=str(cfg.title or f"Report on {', '.join(map(str, wanted)) or 'online results'}"),
            reference=cfg.reference,
            wanted_fronts=_plain(cfg, "fronts"),
            segments=segments,
            advance=advance,
        )
    write_report(folder, content)
    _say(content, folder)
    if cfg.publish is not None:
        first = content["sections"][0]["reference"] if content["sections"] else ""
        address = import_module(PUBLISHERS[cfg.publish]).publish(
            folders,
            title=content["title"],
            markdown=report_markdown(content),
            reference=first,
            entity=cfg.wandb.entity,
            project=cfg.wandb.project,
        )
        Console().print(address, soft_wrap=True, highlight=False)


def _say(content: dict[str, Any], folder: Path) -> None:
    """Counts and problems, and where the page lies."""
    out, of = Console(), content["overview"]
    text = f"{plural(of['found'], 'run')}, {of['counted']} in the tables of {plural(len(content['sections']), 'log')}"
    for line in [text, *(f"{one['kind']}: {one['run']}: {one['why']}" for one in content["problems"]), *of["warnings"]]:
        out.print(line, soft_wrap=True, highlight=False, markup=False)
    out.print(str(folder / "report.html"), soft_wrap=True, highlight=False, markup=False)


def _names(cfg: DictConfig, key: str) -> list[str]:
    """One name or a list of them; none if null."""
    found = _plain(cfg, key)
    return [str(one) for one in (found if isinstance(found, list) else [] if found is None else [found])]


def _plain(cfg: DictConfig, key: str) -> Any:
    node = cfg[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _name(wanted: list[str]) -> str:
    """Of the report's folder: that of the first thing it is about, without what file names dislike."""
    first = Path(wanted[0]).name if wanted else "online"
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in first) or "runs"
