"""A log of exposures becomes requests with out-of-sample pxtrs: the steps in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emer.data.assemble import RequestSettings
from emer.data.assembly import Assembly
from emer.data.grouping import group
from emer.data.log_store import LogStore
from emer.data.metadata import SPLITS
from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.files import write_json
from emer.progress import counting
from emer.pxtr.calibration import calibration, draw_reliability
from emer.pxtr.features import Encoder
from emer.pxtr.forward_chain import ChainSettings
from emer.pxtr.scoring import Scoring
from emer.pxtr.targets import choose_feedback, choose_objectives
from emer.requests import Category, Schema

NEEDED = ("source.json", "calibration.json", "calibration.png")
"""Files of a complete folder, besides ``<split>/part-<bucket>.parquet``."""


@dataclass(frozen=True, kw_only=True)
class PxtrSettings:
    """Which pxtrs, by which model.

    Attributes:
        objectives: names out of :data:`emer.pxtr.targets.PREDICTS`.
        positive: labels that count towards satisfaction.
        noisy_below: an objective with fewer positives on the test days is marked noisy.
        smoothing: see :class:`emer.pxtr.history.History`.
        chain: the model and its schedule.
        seed: of the model.
        hidden: the towers' hidden states become item numbers, ``hidden_<objective>_<i>``.
    """

    objectives: tuple[str, ...]
    positive: tuple[str, ...]
    noisy_below: int
    smoothing: float
    chain: ChainSettings
    seed: int
    hidden: bool = False


def build_requests(
    store: LogStore,
    between: Path,
    result: Path,
    requests: RequestSettings,
    pxtr: PxtrSettings,
    *,
    about: dict[str, Any],
    reference: bool = False,
) -> None:
    """Write ``<split>/part-<bucket>.parquet`` and :data:`NEEDED` below ``result``.

    With ``reference``, gradient-boosted trees are fitted beside every model, which takes longer, and memory for all
    training rows; their AUC is saved in ``reference.json``.

    Args:
        store: the log.
        between: folder for what lies between; an earlier attempt's work there is used.
        result: the folder to fill.
        requests, pxtr: settings.
        about: goes into ``source.json``.
        reference: see above.

    Raises:
        DataError: the settings do not fit the log.
    """
    objectives = choose_objectives(
        store.tables,
        pxtr.objectives,
        watch=store.has_watch_time,
        positives=lambda label: store.positives(label, *requests.days["test"]),
        noisy_below=pxtr.noisy_below,
    )
    # Refuses what cannot work before anything is trained.
    schema = Schema(objectives=objectives, feedback=choose_feedback(store.tables, pxtr.positive))
    assembly = Assembly(store, requests, between)
    assembly.run()
    scoring = Scoring(
        assembly,
        objectives,
        pxtr.chain,
        seed=pxtr.seed,
        smoothing=pxtr.smoothing,
        hidden=pxtr.hidden,
        reference=reference,
    )
    scoring.run()
    counts = _write(scoring, schema, result)
    predicted, outcome, day = scoring.learnt.measured.arrays()
    quality = calibration(predicted, outcome, day, objectives)
    write_json(result / "calibration.json", quality)
    draw_reliability(result / "calibration.png", predicted, outcome, objectives)
    auc = None if scoring.learnt.reference is None else scoring.learnt.reference.auc()
    if auc is not None:
        write_json(result / "reference.json", {"model": "HistGradientBoostingClassifier", "auc": auc})
    settings = {"requests": asdict(requests), "pxtr": asdict(pxtr)}
    write_json(result / "source.json", {**about, "splits": counts, "settings": settings})


def _write(scoring: Scoring, schema: Schema, result: Path) -> dict[str, dict[str, int]]:
    """Requests of the splits. The ranker's own features are encoded by what was known when training ended."""
    tables, encoder = scoring.tables, scoring.learnt.features.settle()
    groups = {"user": tables.user_categories, "context": tables.context_categories, "item": tables.item_categories}
    sizes = iter(encoder.sizes)
    user, context, item = (tuple(Category(name, next(sizes)) for name in group) for group in groups.values())
    numbers = encoder.columns.numbers + scoring.hidden_names
    schema = Schema(schema.objectives, schema.feedback, user, context, item, numbers)
    names = [f"{kind}_{name}" for kind, group in groups.items() for name in group]
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    with counting("Writing", len(SPLITS) * scoring.store.buckets) as advance:
        for split in SPLITS:
            for bucket in range(scoring.store.buckets):
                rows = scoring.scored(split, bucket)
                if rows.height:
                    table = group(_encoded(rows, encoder, names, scoring), schema)
                    write_requests(table, result / split / f"part-{bucket:05}.parquet")
                    counts[split].update(_counts(table))
                advance(1)
    return {split: dict(found) for split, found in counts.items()}


def _encoded(rows: pl.DataFrame, encoder: Encoder, categories: Sequence[str], scoring: Scoring) -> pl.DataFrame:
    """Scored candidates with the names and types of request Parquet."""
    encoded, columns = encoder.transform(rows), encoder.columns
    labels = {label: f"label_{label}" for label in scoring.tables.labels}
    return (
        rows.drop(columns.categories, columns.numbers)
        .rename(
            labels | {"watch_seconds": "watch_time"} | {n: f"number_{n}" for n in scoring.hidden_names}, strict=False
        )
        .with_columns(pl.Series(name, encoded.categories[:, i]) for i, name in enumerate(categories))
        .with_columns(pl.Series(f"number_{n}", encoded.numbers[:, i]) for i, n in enumerate(columns.numbers))
    )


def _counts(table: RequestTable) -> dict[str, int]:
    positives = {f"positive_{name}": int(table.label[:, m].sum()) for m, name in enumerate(table.schema.feedback_names)}
    return {
        "requests": len(table),
        "candidates": int(table.offsets[-1]),
        "exposed": int(np.count_nonzero(table.exposed)),
        **positives,
    }
