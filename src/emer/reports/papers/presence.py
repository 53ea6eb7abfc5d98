"""Variants of an experiment that have no numbers, and numbers that are of none of its variants."""

from __future__ import annotations

from collections.abc import Sequence

from emer.reports.papers.definitions import Experiment
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.offline import FLOOR
from emer.reports.papers.text import log_name
from emer.reports.runs import Problem


def variants_amiss(definition: Experiment, rows: Sequence[Number]) -> list[Problem]:
    """What a reader of the table would not see: a column that is not there, and runs that have none."""
    numbers = Numbers(rows)
    known = {*definition.variants, definition.reference, FLOOR}
    known |= {variant.rsplit("_", 1)[0] for variant in definition.variants if definition.kind == "front"}
    problems = []
    for data in numbers.logs:
        there = numbers.variants(data)
        for variant, heading in definition.variants.items():
            if variant not in there:
                why = f"no finished run of it ({variant}), so that it has no numbers; {log_name(data)}"
                problems.append(Problem(heading, "missing", why))
        for variant in there:
            if variant not in known:
                why = f"no variant of the table, so that its runs are in results.csv alone; {log_name(data)}"
                problems.append(Problem(variant, "unknown", why))
    return problems
