"""Pseudo-requests from a log of exposures, for logs that do not say what was ranked together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emer.data.log import InteractionLog, day_number, day_text
from emer.data.metadata import SPLITS
from emer.data.table import RequestTable
from emer.data.unexposed import sample_unexposed
from emer.errors import DataError
from emer.requests import Schema

GROUPINGS = ("user_day", "windows", "shared_time")


@dataclass(frozen=True, kw_only=True)
class RequestSettings:
    """How exposures become requests.

    Attributes:
        train, validation, test: first and last day of each split (ISO dates, inclusive), in order of time.
        grouping: ``user_day``: all exposures of a user on one day; ``windows``: ``window`` consecutive
            exposures of a user within one split; ``shared_time``: exposures of a user with one ``time_ms``
            (requests proper, where the log delivers several items together).
        window: exposures per window.
        min_exposed_train: exposed items that a training request needs; below 2 there is no pair to learn
            from.
        min_exposed_evaluation: the same for validation and test, where shorter lists are mostly noise.
        unexposed: sampled candidates per request that were not exposed (:mod:`emer.data.unexposed`).
        seed: of that sampling.
    """

    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str]
    grouping: str = "user_day"
    window: int = 6
    min_exposed_train: int = 2
    min_exposed_evaluation: int = 4
    unexposed: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        if self.grouping not in GROUPINGS:
            raise DataError(f"grouping is {self.grouping!r}; known are {', '.join(GROUPINGS)}")
        least = {"window": 2, "min_exposed_train": 1, "min_exposed_evaluation": 1, "unexposed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise DataError(f"{name} is {getattr(self, name)}; it must be at least {smallest}")
        if self.grouping == "windows" and self.window < self.min_exposed_evaluation:
            raise DataError(
                f"windows of {self.window} exposures never have the {self.min_exposed_evaluation} that "
                "min_exposed_evaluation asks for"
            )
        _ = self.days

    @property
    def days(self) -> dict[str, tuple[int, int]]:
        """First and last day number of each split.

        Raises:
            DataError: a date cannot be read, or the splits are not in order or overlap.
        """
        days: dict[str, tuple[int, int]] = {}
        end = None
        for split in SPLITS:
            given = getattr(self, split)
            if isinstance(given, str) or len(given) != 2:
                raise DataError(f"{split} is {given!r}; give its first and last day, [2022-05-03, 2022-05-03]")
            first, last = (day_number(d) for d in given)
            if first > last:
                raise DataError(f"{split} ends on {given[1]}, before it begins on {given[0]}")
            if end is not None and first <= end:
                raise DataError(f"{split} begins on {given[0]}, but must begin after {day_text(end)}")
            days[split], end = (first, last), last
        return days


def candidates(log: InteractionLog, settings: RequestSettings, split: str) -> pl.DataFrame:
    """The candidates of one split's requests, exposed and sampled.

    An item that a request shows twice counts once, at its first exposure. A sampled candidate takes time and
    context from one of the request's exposures, drawn at random: it is imagined in that one's place.

    Returns:
        One row per candidate, sorted by ``request`` and ``item_id``: ``request`` (0, 1, ... in order of
        time),
        ``user_id``, ``item_id``, ``day``, the context categories, ``exposed``, and ``row``: the exposure's
        position in ``log.exposures`` (for a sampled candidate, of the exposure in whose place it is
        imagined).

    Raises:
        DataError: the log has no exposure in the split's days, or no request has enough of them.
    """
    first, last = settings.days[split]
    rows = log.exposures.with_row_index("row").filter(pl.col("day").is_between(first, last))
    if rows.is_empty():
        raise DataError(
            f"{log.name} has no exposure in the {split} days {day_text(first)} to {day_text(last)}; it spans "
            f"{day_text(log.days[0])} to {day_text(log.days[-1])}"
        )
    exposed = _grouped(rows, settings, split)
    parts = [exposed.select("request", "item_id", "row", exposed=pl.lit(True))]
    if settings.unexposed:
        sampled = sample_unexposed(log.exposures, exposed, settings.unexposed, settings.seed)
        parts.append(sampled.with_columns(exposed=pl.lit(False)))
    both = pl.concat(parts, how="diagonal")
    place = log.exposures.select("user_id", "day", *log.context_categories)[both["row"]]
    # Sorted by item, so that a candidate's place does not tell whether it was exposed.
    return both.hstack(place).sort("request", "item_id")


def _grouped(rows: pl.DataFrame, settings: RequestSettings, split: str) -> pl.DataFrame:
    """Exposures that belong to a request, with its number."""
    keys = {
        "user_day": ["user_id", "day"],
        "windows": ["user_id", "window"],
        "shared_time": ["user_id", "day", "time_ms"],
    }[settings.grouping]
    if settings.grouping == "windows":
        count = pl.int_range(pl.len()).over("user_id") // settings.window
        rows = rows.with_columns(count.alias("window"))
    least = settings.min_exposed_train if split == "train" else settings.min_exposed_evaluation
    rows = rows.unique([*keys, "item_id"], keep="first", maintain_order=True).filter(pl.len().over(keys) >= least)
    if rows.is_empty():
        raise DataError(
            f"no {settings.grouping} request of the {split} split has {least} exposed items; lower "
            f"min_exposed_{'train' if split == 'train' else 'evaluation'} or choose other days"
        )
    begins = pl.col("row").min().over(keys)
    return rows.with_columns((begins.rank("dense") - 1).cast(pl.Int64).alias("request")).sort("request", "row")


def request_rows(split: pl.DataFrame) -> np.ndarray:
    """(R,) positions in ``log.exposures`` of each request's first exposure: its user, time and context."""
    first = split.filter("exposed").group_by("request").agg(pl.col("row").min()).sort("request")
    return first["row"].to_numpy().astype(np.int64)


def build_table(
    log: InteractionLog,
    split: pl.DataFrame,
    schema: Schema,
    *,
    pxtr: np.ndarray,
    user_categories: np.ndarray,
    context_categories: np.ndarray,
    item_categories: np.ndarray,
    item_numbers: np.ndarray,
    first_id: int,
) -> RequestTable:
    """The R requests and T candidates of :func:`candidates`; feedback is kept on exposed candidates only.

    Args:
        log: where labels, times and users stand.
        split: of :func:`candidates`.
        schema: its feedback names labels of the log.
        pxtr: (T, K), one row per row of ``split``.
        user_categories, context_categories: (R, F).
        item_categories, item_numbers: (T, F).
        first_id: request_id of the first request.
    """
    begins = request_rows(split)
    heads = log.exposures[begins]
    exposed = split["exposed"].to_numpy()
    rows = log.exposures[split["row"]]

    def masked(column: str) -> np.ndarray:
        return np.where(exposed, rows[column].to_numpy(), 0)

    lengths = split.group_by("request").len().sort("request")["len"].to_numpy()
    return RequestTable.build(
        schema=schema,
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        request_id=np.arange(first_id, first_id + begins.size),
        user_id=heads["user_id"].to_numpy(),
        time_ms=_times(log, heads),
        item_id=split["item_id"].to_numpy(),
        pxtr=pxtr,
        exposed=exposed,
        label=np.stack([masked(name).astype(bool) for name in schema.feedback_names], axis=1),
        watch_time=masked("watch_seconds").astype(np.float32) if log.has_watch_time else None,
        negative=masked("negative").astype(np.float32) if log.has_negative else None,
        user_categories=user_categories,
        context_categories=context_categories,
        item_categories=item_categories,
        item_numbers=item_numbers,
    )


def _times(log: InteractionLog, heads: pl.DataFrame) -> np.ndarray:
    """Times of the requests, never before the last exposure of an earlier day.

    A video delivered before midnight and watched after it belongs to the new day; its request must not seem
    to lie among those of the day before, or splits by day would overlap in time.
    """
    ends = log.exposures.group_by("day").agg(pl.col("time_ms").max()).sort("day")
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(ends["time_ms"].to_numpy()) + 1])
    start = before[np.searchsorted(ends["day"].to_numpy(), heads["day"].to_numpy())]
    return np.maximum(heads["time_ms"].to_numpy(), start)
