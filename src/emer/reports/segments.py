"""Where a method is better: by kind of user or request, and by the length of the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emer.errors import EmerError
from emer.reports.groups import Section
from emer.reports.runs import METRICS
from emer.reports.section_intervals import SectionIntervals, plain, without_p

SEGMENT = "segment"
_PREFIX = f"{SEGMENT}/"
LENGTH = "list length"


def segments_of(section: Section, wanted: Sequence[str] | None = None) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Segment -> (R,) index into its labels, and the labels; those with two values at least.

    Args:
        section: one log.
        wanted: names of the segments; all if None.
    """
    found: dict[str, tuple[np.ndarray, list[str]]] = {}
    # The same test requests are in the same segments whatever ranks them; older runs may not have noted them.
    for run in section.runs:
        for column in run.per_request:
            name = column.removeprefix(_PREFIX)
            if column.startswith(_PREFIX) and name not in found:
                found[name] = by_value(run.per_request[column])
    lengths = section.runs[0].per_request.get("n_candidates")
    if lengths is not None:
        found[LENGTH] = by_length(lengths)
    return {name: segment for name, segment in found.items() if _shown(name, segment[0], wanted)}


def by_value(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(R,) id of a category from 0 (unknown) on for each request, and a label for every id."""
    index = values.astype(np.int64)
    return index, ["0 (unknown)", *map(str, range(1, int(index.max(initial=0)) + 1))]


def by_length(lengths: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(R,) quarter of the requests by their number of candidates, shortest first, and the quarters' ranges.

    Equal lengths are in one quarter, so that there may be fewer than four.
    """
    edges = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.searchsorted(edges, lengths, side="left")
    there, index = np.unique(place, return_inverse=True)
    ranges = [(int(lengths[place == one].min()), int(lengths[place == one].max())) for one in there]
    return index, [f"{a}–{b} candidates" if a < b else f"{a} candidates" for a, b in ranges]


def by_segment(
    section: Section, reference: str, wanted: Sequence[str] | None, advance: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Each segment of :func:`segments_of`: ``name`` and ``parts``.

    A part has ``label``, ``requests``, ``users``, and ``methods``: group -> metric -> its mean over seeds and its
    difference from the reference in these requests, both with 95 % intervals.
    """
    groups = {group.name: group for group in section.groups}
    users = section.runs[0].per_request["user_id"]
    found = []
    for name, (index, labels) in segments_of(section, wanted).items():
        parts = []
        for i in np.unique(index):
            where = index == i
            methods: dict[str, dict[str, Any]] = {name: {} for name in groups}
            for metric in METRICS:
                intervals = SectionIntervals(section, metric, where)
                for method, group in groups.items():
                    value = {"value": without_p(intervals.of(group))}
                    if method != reference:
                        value["difference"] = plain(intervals.between(group, groups[reference]))
                    methods[method][metric] = value
            sizes = {"requests": int(where.sum()), "users": int(np.unique(users[where]).size)}
            parts.append({"label": labels[i], **sizes, "methods": methods})
        found.append({"name": name, "parts": parts})
        advance(1)
    return found


def check_segments(sections: Sequence[Section], wanted: Sequence[str] | None) -> None:
    """That what is asked for is there.

    Raises:
        EmerError: no section has it.
    """
    there = sorted({name for section in sections for name in segments_of(section)})
    for name in wanted or ():
        if sections and name not in there:
            raise EmerError(f"segments: no log has {name!r} with more than one value; there are {', '.join(there)}")


def _shown(name: str, index: np.ndarray, wanted: Sequence[str] | None) -> bool:
    return (wanted is None or name in wanted) and np.unique(index).size > 1
