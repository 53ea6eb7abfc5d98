"""Numbers of runs that were trained and tested: means over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from emer.errors import EmerError
from emer.metrics.seed_intervals import interval_over_seeds, seed_difference, seed_interval
from emer.reports.groups import Grouped, Section
from emer.reports.papers.definitions import Experiment
from emer.reports.papers.numbers import Number
from emer.reports.runs import Run
from emer.run_folder import RunFolder

FLOOR = "random order"
"""Variant of what a random order is expected to have."""

SUM = "auc_sum/"
"""``auc_sum/click,like``: the sum of these labels' pooled AUCs (HarmonRank, eq. 3)."""

Variants = dict[str, dict[int, Run]]
"""Variant -> seed -> run."""


def variants_of(section: Section) -> Variants:
    """The groups of a section by variant: a run's first tag, or its label where it has none.

    Raises:
        EmerError: two groups are one variant.
    """
    found: Variants = {}
    whose: dict[str, str] = {}
    for group in section.groups:
        tags = RunFolder(group.runs[0].path).load_config().get("tags") or []
        name = str(tags[0]) if tags else group.label
        if name in found:
            raise EmerError(
                f"two kinds of runs are both {name} on {section.name}: {whose[name]} and {group.name}; "
                "give each a tag of its own (tags=[...]), or report one sweep at a time"
            )
        found[name], whose[name] = group.by_seed(), group.name
    return found


def check_logs(grouped: Grouped) -> None:
    """Raises:
    EmerError: one log was tested on in several ways, so that its runs cannot be paired.
    """
    names = [section.data for section in grouped.sections]
    for name in names:
        if names.count(name) > 1:
            several = ", ".join(section.name for section in grouped.sections if section.data == name)
            raise EmerError(
                f"the runs on {name} were tested on different requests ({several}); give those of one sweep"
            )


def offline_numbers(definition: Experiment, grouped: Grouped) -> list[Number]:
    """Every number of an experiment whose runs are compared on their test requests.

    Differences of averages over requests have users and seeds in their interval, those of pooled AUCs, losses and
    speeds the seeds alone.
    """
    check_logs(grouped)
    rows: list[Number] = []
    metrics = wanted_metrics(definition)
    for section in grouped.sections:
        variants = variants_of(section)
        for variant, runs in variants.items():
            rows += [row for metric in metrics for row in _values(section.data, variant, metric, runs)]
        for variant, against in definition.pairs:
            if variant in variants and against in variants:
                pair = variants[variant], variants[against]
                found = (_difference(section.data, variant, against, metric, *pair) for metric in metrics)
                rows += [row for row in found if row is not None]
        some = next(iter(next(iter(variants.values())).values()))
        for metric in metrics:
            floor = value_of(some, metric, floor=True)
            if floor is not None:
                rows.append(Number(section.data, FLOOR, "", metric, None, floor))
    return rows


def wanted_metrics(definition: Experiment) -> list[str]:
    """Those of the table, of what stands beside it and of the claims, each once."""
    of_claims = (part.metric for claim in definition.claims for part in claim.components)
    return list(dict.fromkeys([*definition.metrics, *definition.also, *of_claims]))


def value_of(run: Run, metric: str, floor: bool = False) -> float | None:
    """One number of one run; None if it has none.

    Args:
        run: a finished run.
        metric: a test metric, ``auc_sum/<labels>``, or ``log_speed`` (natural logarithm of candidates per second).
        floor: what a random order is expected to have.
    """
    if metric.startswith(SUM):
        names = metric.removeprefix(SUM).split(",")
        found = [run.metrics.get(f"{'random/' * floor}label_auc/{name}") for name in names]
        return None if any(v is None for v in found) else sum(v for v in found if v is not None)
    if floor:
        return run.metrics.get(f"random/{metric}")
    if metric == "log_speed":
        speed = run.costs.get("train_rows_per_second")
        return math.log(speed) if speed else None
    return run.metrics.get(metric)


def _values(data: str, variant: str, metric: str, runs: Mapping[int, Run]) -> list[Number]:
    single = {seed: value for seed, run in sorted(runs.items()) if (value := value_of(run, metric)) is not None}
    if not single:
        return []
    rows = [Number(data, variant, "", metric, seed, value) for seed, value in single.items()]
    if _by_request(runs.values(), metric):
        found = seed_interval([runs[seed].per_request for seed in single], metric)
    else:
        found = interval_over_seeds(list(single.values()))
    return [*rows, Number.mean(data, variant, "", metric, found)]


def _difference(
    data: str, variant: str, against: str, metric: str, mine: Mapping[int, Run], theirs: Mapping[int, Run]
) -> Number | None:
    common = [
        seed
        for seed in sorted(set(mine) & set(theirs))
        if value_of(mine[seed], metric) is not None and value_of(theirs[seed], metric) is not None
    ]
    if not common:
        return None
    if _by_request([*mine.values(), *theirs.values()], metric):
        first, second = ([side[seed].per_request for seed in common] for side in (mine, theirs))
        return Number.mean(data, variant, against, metric, seed_difference(first, second, metric))
    gaps = [(value_of(mine[seed], metric) or 0.0) - (value_of(theirs[seed], metric) or 0.0) for seed in common]
    return Number.mean(data, variant, against, metric, interval_over_seeds(gaps))


def _by_request(runs: Iterable[Run], metric: str) -> bool:
    """Whether the metric is an average over requests that every run kept."""
    family = metric.split("/", 1)[0]
    return all(
        metric in run.per_request
        or (metric.endswith("/mean") and any(name.startswith(f"{family}/") for name in run.per_request))
        for run in runs
    )
