"""Numbers of the figures: what users do by activity and category, losses, fronts, relations, and IPPO's rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.hypervolume import hypervolume
from emer.reports.groups import Grouped
from emer.reports.histories import PRIOR
from emer.reports.papers.definitions import Experiment
from emer.reports.papers.numbers import Number, with_means
from emer.reports.papers.offline import value_of, variants_of
from emer.reports.runs import Run
from emer.run_folder import RunFolder
from emer.world.population import ACTIVITY_LEVELS

LOSS = "loss/"
HYPERVOLUME = "hypervolume"
AGREEMENT = "agreement"
DROP = "drop"


def activity_numbers(logs: Mapping[int, Iterable[RequestTable]], data: str) -> list[Number]:
    """``rate/<label>`` of shown videos, by activity of the user (``new`` .. ``full``) and by category of the video.

    Args:
        logs: seed of a simulated world -> the tables of its log.
        data: what the log is called.

    Raises:
        EmerError: the log has no activity of users or no category of videos.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    for seed, tables in logs.items():
        for key, rate in _rates(list(tables)).items():
            found.setdefault(key, {})[seed] = rate
    return with_means(data, found)


def _rates(tables: list[RequestTable]) -> dict[tuple[str, str], float]:
    schema = tables[0].schema
    users, videos = ([c.name for c in of] for of in (schema.user_categories, schema.item_categories))
    if "activity" not in users or "category" not in videos:
        raise EmerError(
            f"the log has the user categories {', '.join(users) or 'none'} and the item categories "
            f"{', '.join(videos) or 'none'}; activity and category are wanted, as data=simulated has them"
        )
    activity, category = users.index("activity"), videos.index("category")
    shown = [table.exposed for table in tables]
    labels = np.concatenate([table.label[keep] for table, keep in zip(tables, shown, strict=True)])
    levels = np.concatenate(
        [np.repeat(t.user_categories[:, activity], t.lengths)[keep] for t, keep in zip(tables, shown, strict=True)]
    )
    kinds = np.concatenate([t.item_categories[keep, category] for t, keep in zip(tables, shown, strict=True)])
    rates: dict[tuple[str, str], float] = {}
    groups = [(name, levels == index + 1) for index, name in enumerate(ACTIVITY_LEVELS)]
    groups += [(f"category {index}", kinds == index) for index in range(1, schema.item_categories[category].size)]
    for name, rows in groups:
        if rows.any():
            rates |= {
                (name, f"rate/{label}"): float(labels[rows, m].mean()) for m, label in enumerate(schema.feedback_names)
            }
    return rates


def loss_numbers(grouped: Grouped) -> list[Number]:
    """``loss/<objective>`` of every variant, with ``loss/mean`` and ``loss/sd`` over the objectives."""
    return _of_runs(grouped, lambda run: {LOSS + name: value for name, value in losses(run).items()})


def losses(run: Run) -> dict[str, float]:
    """Objective -> its prior loss (EMER eq. 3) on the validation requests at the epoch whose checkpoint was kept.

    ``sd`` is the standard deviation over the objectives, ``mean`` their mean.
    """
    best = RunFolder(run.path).read("validation.json")
    of = {name.removeprefix(PRIOR): value for name, value in best.items() if name.startswith(PRIOR)}
    if len(of) < 2:
        return of
    return {**of, "mean": statistics.fmean(of.values()), "sd": statistics.stdev(of.values())}


def front_numbers(definition: Experiment, grouped: Grouped) -> list[Number]:
    """``hypervolume`` of each method's front, seed by seed, from the random order.

    A method is what stands before the last ``_`` of its variants, which differ in the weights of their labels. A seed
    that lacks one of them has no hypervolume: fewer points dominate less, whatever the method.
    """
    metrics = list(definition.metrics)
    rows: list[Number] = []
    for section in grouped.sections:
        variants = variants_of(section)
        found: dict[tuple[str, str], dict[int, float]] = {}
        for method in dict.fromkeys(variant.rsplit("_", 1)[0] for variant in definition.variants):
            members = [variants.get(name, {}) for name in definition.variants if name.rsplit("_", 1)[0] == method]
            for seed in sorted(set.intersection(*map(set, members))):
                points = [[value_of(runs[seed], metric) for metric in metrics] for runs in members]
                origin = [value_of(members[0][seed], metric, floor=True) for metric in metrics]
                if not any(value is None for point in [*points, origin] for value in point):
                    volume = hypervolume(np.array(points, dtype=np.float64), np.array(origin, dtype=np.float64))
                    found.setdefault((method, HYPERVOLUME), {})[seed] = volume
        rows += with_means(section.data, found)
    return rows


def relation_numbers(grouped: Grouped) -> list[Number]:
    """``attention/<m>/<l>`` and ``correlation/<m>/<l>`` for labels m, l, and ``agreement`` of the two (Spearman).

    Attention between the objectives that predict two labels is made symmetric, as a correlation is.
    """
    return _of_runs(grouped, lambda run: _relations(RunFolder(run.path).read("relations.json")))


def _relations(content: Mapping[str, object]) -> dict[str, float]:
    if not content:
        return {}
    attention, correlation, predicts = (content[name] for name in ("attention", "label_correlation", "predicts"))
    assert isinstance(attention, dict) and isinstance(correlation, dict) and isinstance(predicts, dict)
    objectives = {label: attention["names"].index(objective) for objective, label in predicts.items()}
    labels = [label for label in correlation["names"] if label in objectives]
    told: dict[str, float] = {}
    pairs = []
    for i, one in enumerate(labels):
        for other in labels[i + 1 :]:
            m, n = objectives[one], objectives[other]
            both = (attention["matrix"][m][n] + attention["matrix"][n][m]) / 2
            r = correlation["matrix"][correlation["names"].index(one)][correlation["names"].index(other)]
            if r is not None:
                told |= {f"attention/{one}/{other}": both, f"correlation/{one}/{other}": r}
                pairs.append((both, r))
    if len(pairs) > 2:
        told[AGREEMENT] = float(spearmanr(*np.array(pairs).T).statistic)
    return told


def skew_numbers(definition: Experiment, grouped: Grouped) -> list[Number]:
    """``drop``: what a method loses of the table's metric when training has fewer positives.

    A variant is ``<method>_<share>``; the drop is from ``<method>_all`` of the same seed.
    """
    [metric] = definition.metrics
    rows: list[Number] = []
    for section in grouped.sections:
        variants = variants_of(section)
        found: dict[tuple[str, str], dict[int, float]] = {}
        for variant, runs in variants.items():
            if variant not in definition.variants:
                continue
            method, share = variant.rsplit("_", 1)
            whole = variants.get(f"{method}_all", {})
            for seed in sorted(set(runs) & set(whole)):
                before, after = value_of(whole[seed], metric), value_of(runs[seed], metric)
                if share != "all" and before is not None and after is not None:
                    found.setdefault((variant, DROP), {})[seed] = before - after
        rows += with_means(section.data, found)
    return rows


def ippo_numbers(grouped: Grouped) -> list[Number]:
    """``weight/<label>@<round>`` of the reference's label weights, and ``accepted``, ``rounds`` in all."""
    return _of_runs(grouped, lambda run: _rounds(RunFolder(run.path).read("archive.json")))


def _rounds(content: Mapping[str, Any]) -> dict[str, float]:
    rounds = content.get("rounds", [])
    if not rounds:
        return {}
    weights = {
        f"weight/{label}@{told['round']}": weight
        for told in rounds
        for label, weight in zip(content["labels"], told["weights"], strict=True)
    }
    return {**weights, "accepted": float(sum(told["accepted"] for told in rounds)), "rounds": float(len(rounds))}


def _of_runs(grouped: Grouped, told: Callable[[Run], Mapping[str, float]]) -> list[Number]:
    """What ``told`` says of every run, metric by metric, with means over the seeds."""
    rows: list[Number] = []
    for section in grouped.sections:
        found: dict[tuple[str, str], dict[int, float]] = {}
        for variant, runs in variants_of(section).items():
            for seed, run in runs.items():
                for metric, value in told(run).items():
                    found.setdefault((variant, metric), {})[seed] = value
        rows += with_means(section.data, found)
    return rows
