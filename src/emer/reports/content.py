"""A report as plain numbers, from which the page and the Markdown are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emer.reports.by_objective import by_objective
from emer.reports.comparison import (
    COMPARED,
    DEFAULT_REFERENCE,
    check_reference,
    choose_reference,
    compared_settings,
    differences,
    floors,
    pairwise,
    table_rows,
)
from emer.reports.fronts import archives, check_fronts, fronts
from emer.reports.groups import Grouped, Section, group_runs
from emer.reports.histories import learning_curves, objectives_of_loss, prior_losses, weights
from emer.reports.overview import overview
from emer.reports.runs import METRICS, Problem, Run
from emer.reports.section_intervals import SectionIntervals
from emer.reports.segments import by_segment, check_segments, segments_of

FORMAT = 1
_DRAWN = 8
"""Methods that a picture of curves shows."""

NO_REFERENCE = (
    "There is no {name} on this log: the reference is the method with the best label GAUC here, and being chosen for "
    "that it looks better than it is."
)
_NO_EPOCHS = "no run has a metrics.csv; formulas and controls do not train"


def report_content(
    runs: Sequence[Run],
    problems: Sequence[Problem],
    online: Sequence[dict[str, Any]] = (),
    *,
    title: str,
    reference: str | None,
    wanted_fronts: Sequence[Sequence[str]],
    segments: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """All numbers of a report, ready for JSON.

    Args:
        runs, problems: from :func:`emer.reports.runs.read_runs`.
        online: from :func:`emer.reports.online_results.read_online`.
        title: of the report.
        reference: group or label that the others are compared with; ``emer``, or where it is not there the best, if
            None.
        wanted_fronts: two or three metrics for each Pareto front.
        segments: names of those that are looked at; all if None.
        advance: is told of every one of :func:`work` parts done.

    Raises:
        EmerError: no run has the reference, or a metric of a front.
    """
    grouped = group_runs(runs, problems)
    check_segments(grouped.sections, segments)
    check_reference(grouped.sections, reference)
    check_fronts(grouped.sections, wanted_fronts)
    return {
        "format": FORMAT,
        "title": title,
        "overview": overview(grouped, runs),
        "problems": [vars(problem) for problem in grouped.problems],
        "sections": [_section(one, reference, wanted_fronts, segments, advance) for one in grouped.sections],
        "online": list(online),
    }


def work(grouped: Grouped, segments: Sequence[str] | None = None) -> int:
    """Parts of the work of :func:`report_content`, for a bar: pairs of methods, and segments."""
    return sum(len(s.groups) * (len(s.groups) - 1) // 2 + len(segments_of(s, segments)) for s in grouped.sections)


def _section(
    section: Section,
    wanted: str | None,
    wanted_fronts: Sequence[Sequence[str]],
    segments: Sequence[str] | None,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    of = {name: SectionIntervals(section, name) for name in COMPARED}
    table = table_rows(section, of)
    order = [row["method"] for row in table]
    reference, chosen = choose_reference(section, order, wanted)
    content: dict[str, Any] = {
        "name": section.name,
        "data": section.data,
        "requests": section.requests,
        "users": section.users,
        "reference": reference,
        "reference_note": "" if chosen else NO_REFERENCE.format(name=wanted or DEFAULT_REFERENCE),
        "drawn": [reference, *(name for name in order if name != reference)][:_DRAWN],
        "table": table,
        "floors": floors(section),
        "differences": differences(section, of, reference),
        "pairwise": pairwise(section, of[METRICS[0]], order, advance),
        "settings": compared_settings(section),
        "objectives": by_objective(section),
        "curves": learning_curves(section),
        "loss_of": objectives_of_loss(section),
        "weights": weights(section),
        "losses": prior_losses(section),
        "fronts": fronts(section, wanted_fronts),
        "archives": archives(section),
        "segments": by_segment(section, reference, segments, advance),
    }
    return content | {"absent": _absent(content)}


def _absent(content: dict[str, Any]) -> dict[str, str]:
    """Part that is not shown -> why."""
    one = len(content["table"]) == 1
    why = {
        "differences": "there is one method" if one else "",
        "settings": "there is one method" if one else "the methods differ in no setting but their name",
        "curves": _NO_EPOCHS,
        "weights": "no run has weights.csv, or weight/... in metrics.csv; only EMER's evolving weights write them",
        "losses": "no run has val/prior/... in metrics.csv; only EMER's prior loss writes it",
        "fronts": "no method has all metrics of one",
        "archives": "no run has an archive.json; only IPPO (Pantheon) writes it",
        "segments": "none was asked for, or per_request.parquet has no segment/... columns and all lists one length",
    }
    return {part: reason for part, reason in why.items() if not content[part]}
