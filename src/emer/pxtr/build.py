"""A log of exposures becomes requests with out-of-sample pxtrs: the steps in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from emer.data.assemble import RequestSettings, build_table, candidates, request_rows
from emer.data.log import InteractionLog
from emer.data.metadata import SPLITS
from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.files import write_json
from emer.pxtr.calibration import calibration, calibration_tables, draw_reliability
from emer.pxtr.features import Columns, Encoder, feature_columns, feature_frame
from emer.pxtr.forward_chain import ChainSettings, ForwardChain
from emer.pxtr.history import History
from emer.pxtr.reference import Reference
from emer.pxtr.targets import choose_feedback, choose_objectives, target_matrix
from emer.requests import Category, Schema

NEEDED = (
    *(f"{split}/part-0.parquet" for split in SPLITS),
    "calibration.json",
    "calibration.png",
    "source.json",
)
"""Files of a complete folder."""


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
    """

    objectives: tuple[str, ...]
    positive: tuple[str, ...]
    noisy_below: int
    smoothing: float
    chain: ChainSettings
    seed: int


def build_requests(
    log: InteractionLog,
    folder: Path,
    requests: RequestSettings,
    pxtr: PxtrSettings,
    *,
    about: dict[str, Any],
    reference: bool = False,
) -> None:
    """Write ``<split>/part-0.parquet``, ``calibration.json``, ``calibration.png`` and ``source.json``.

    Prints the quality of the pxtrs. With ``reference``, gradient-boosted trees are fitted beside every
    model, which takes longer; their AUC is printed too, and saved in ``reference.json``.

    Raises:
        DataError: the settings do not fit the log.
    """
    objectives = choose_objectives(log, pxtr.objectives, requests.days["test"], pxtr.noisy_below)
    # Refuses what cannot work before anything is trained.
    schema = Schema(objectives=objectives, feedback=choose_feedback(log, pxtr.positive))
    with _progress() as say:
        say("Requests and features")
        splits = {split: candidates(log, requests, split) for split in SPLITS}
        history = History(log, [o.feedback for o in objectives if o.feedback is not None], pxtr.smoothing)
        columns = feature_columns(log, history)
        frame = feature_frame(log, history, log.exposures)
        shown = frame.filter(pl.any_horizontal(pl.col("day").is_between(*d) for d in requests.days.values()))
        features = feature_frame(log, history, pl.concat(splits.values()))
        targets = target_matrix(log, objectives)
        trees = Reference(frame, targets, objectives, say) if reference else None
        chain = ForwardChain(columns, len(objectives), schema.watch_index, pxtr.chain, pxtr.seed)
        predicted = chain.run(
            frame,
            targets,
            pl.concat([shown, features]),
            on_train=lambda block: say(f"Training the pxtr model for {block}"),
            on_block=trees,
        )
        say("Writing requests")
        tables = _tables(log, schema, splits, frame, features, predicted[shown.height :], requests)
        for split, table in tables.items():
            path = folder / split / "part-0.parquet"
            path.parent.mkdir(parents=True)
            write_requests(table, path)
    outcome = targets[np.isin(frame["day"].to_numpy(), shown["day"].unique().to_numpy())]
    quality = calibration(predicted[: shown.height], outcome, shown["day"].to_numpy(), objectives)
    write_json(folder / "calibration.json", quality)
    draw_reliability(folder / "calibration.png", predicted[: shown.height], outcome, objectives)
    auc = None if trees is None else trees.auc()
    if auc is not None:
        write_json(folder / "reference.json", {"model": "HistGradientBoostingClassifier", "auc": auc})
    write_json(
        folder / "source.json",
        {
            **about,
            "splits": {split: _counts(table) for split, table in tables.items()},
            "settings": {"requests": asdict(requests), "pxtr": asdict(pxtr)},
        },
    )
    for shown_table in calibration_tables(quality, auc):
        Console().print(shown_table)


def _tables(
    log: InteractionLog,
    schema: Schema,
    splits: dict[str, pl.DataFrame],
    frame: pl.DataFrame,
    features: pl.DataFrame,
    pxtr: np.ndarray,
    requests: RequestSettings,
) -> dict[str, RequestTable]:
    """Tables of the splits. The ranker's own features are encoded by what was known when training ended."""
    groups = (log.user_categories, log.context_categories, log.item_categories)
    numbers = tuple(c for c in features.columns if c in log.item_numbers or c.startswith(("item_age", "past_item_")))
    encoder = Encoder(Columns(tuple(c for group in groups for c in group), numbers))
    encoder.fit(frame.filter(pl.col("day") <= requests.days["train"][1]))
    sizes = iter(encoder.sizes)
    user, context, item = (tuple(Category(name, next(sizes)) for name in group) for group in groups)
    schema = Schema(schema.objectives, schema.feedback, user, context, item, numbers)
    tables: dict[str, RequestTable] = {}
    start = first_id = 0
    for name, split in splits.items():
        cut = slice(start, start + split.height)
        heads = encoder.transform(frame[request_rows(split)]).categories
        rows = encoder.transform(features[cut])
        tables[name] = build_table(
            log,
            split,
            schema,
            pxtr=pxtr[cut],
            user_categories=heads[:, : len(user)],
            context_categories=heads[:, len(user) : len(user) + len(context)],
            item_categories=rows.categories[:, len(user) + len(context) :],
            item_numbers=rows.numbers,
            first_id=first_id,
        )
        start, first_id = cut.stop, first_id + len(tables[name])
    return tables


def _counts(table: RequestTable) -> dict[str, int]:
    positives = {f"positive_{name}": int(table.label[:, m].sum()) for m, name in enumerate(table.schema.feedback_names)}
    return {
        "requests": len(table),
        "candidates": int(table.offsets[-1]),
        "exposed": int(table.exposed.sum()),
        **positives,
    }


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is being done, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda text: progress.update(task, description=text)
