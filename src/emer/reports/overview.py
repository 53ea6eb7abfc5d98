"""What a report compares: how many runs, from which code, on which machines, when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from emer.reports.groups import Grouped
from emer.reports.runs import Run


def overview(grouped: Grouped, runs: Sequence[Run]) -> dict[str, Any]:
    """Counts, and what the runs say of themselves.

    Args:
        grouped: of these runs.
        runs: the finished ones.
    """
    environments = [run.environment for run in runs]
    commits = _count(e.get("commit") or "unknown" for e in environments)
    machines = _count(_machine(e) for e in environments)
    versions = _count(_versions(e) for e in environments)
    written = sorted(_written(run) for run in runs)
    content = {
        "found": len(runs) + sum(problem.kind not in ("missing", "duplicate") for problem in grouped.problems),
        "finished": len(runs),
        "counted": sum(len(section.runs) for section in grouped.sections),
        "methods": len({group.name for section in grouped.sections for group in section.groups}),
        "logs": [section.name for section in grouped.sections],
        "commits": commits,
        "machines": machines,
        "versions": versions,
        "written": [written[0], written[-1]] if written else [],
    }
    return content | {"warnings": _warnings(commits, machines, versions)}


def _warnings(commits: dict[str, int], machines: dict[str, int], versions: dict[str, int]) -> list[str]:
    found = []
    if len(commits) > 1:
        found.append(f"The runs are of {len(commits)} commits ({_listed(commits)}): their code may differ.")
    if dirty := [commit for commit in commits if commit.endswith("-dirty")]:
        found.append(f"The code had changes that are in no commit ({', '.join(dirty)}): it cannot be had again.")
    if "unknown" in commits:
        found.append(f"{commits['unknown']} of the runs do not tell their commit.")
    if len(machines) > 1:
        found.append(f"The runs are from {len(machines)} kinds of machine: seconds and rows/s do not compare.")
    if len(versions) > 1:
        found.append(f"The runs used {len(versions)} sets of package versions; report.json lists them.")
    return found


def _count(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} in {count}" for name, count in counts.items())


def _machine(environment: dict[str, Any]) -> str:
    system, processors = environment.get("platform"), environment.get("processors")
    return "unknown" if system is None else f"{system}, {processors} processors"


def _versions(environment: dict[str, Any]) -> str:
    packages = {"python": environment.get("python"), **(environment.get("packages") or {})}
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _written(run: Run) -> str:
    """When the run's status was last written, in UTC; a copy of a folder may have lost it."""
    seconds = (run.path / "status.json").stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
