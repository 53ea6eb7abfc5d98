"""Requests from a log of exposures: as it logged them, or pseudo-requests where it does not say what was ranked
together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from emer.data.log import day_number, day_text
from emer.data.metadata import SPLITS
from emer.data.setting_checks import at_least
from emer.data.unexposed import sample_unexposed
from emer.errors import DataError
from emer.ranking import MAX_CANDIDATES

GROUPINGS = ("user_day", "windows", "day_windows", "shared_time", "logged")
TESTS = ("all", "random")


@dataclass(frozen=True, kw_only=True)
class RequestSettings:
    """How exposures become requests.

    Attributes:
        train, validation, test: first and last day of each split (inclusive; ISO dates, or the numbers of periods where
            a log has no clock), in order of time.
        grouping: ``user_day``: all exposures of a user on one day; ``day_windows``: ``window`` consecutive exposures
            of a user within a day; ``windows``: the same across days of one split, for sparse logs, whose later
            candidates have pxtrs that know of feedback on the request's earlier ones; ``shared_time``: exposures of a
            user with one ``time_ms`` (requests proper, where the log delivers several items together); ``logged``: the
            requests of the log.
        window: exposures per window.
        min_exposed_train: exposed items that a training request needs; below 2 there is no pair to learn
            from.
        min_exposed_evaluation: the same for validation and test, where shorter lists are mostly noise.
        unexposed: sampled candidates per request that were not exposed (:mod:`emer.data.unexposed`).
        seed: of that sampling.
        test_on: ``all``: whatever was shown; ``random``: test requests are of what was shown by chance alone, an
            unbiased sample, and the other splits of what was not.
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
    test_on: str = "all"

    def __post_init__(self) -> None:
        if self.grouping not in GROUPINGS:
            raise DataError(f"grouping is {self.grouping!r}; known are {', '.join(GROUPINGS)}")
        if self.test_on not in TESTS:
            raise DataError(f"test_on is {self.test_on!r}; known are {', '.join(TESTS)}")
        least = {"window": 2, "min_exposed_train": 1, "min_exposed_evaluation": 1, "unexposed": 0, "seed": 0}
        for name, smallest in least.items():
            at_least(name, getattr(self, name), smallest)
        if self.unexposed >= MAX_CANDIDATES:
            raise DataError(f"unexposed is {self.unexposed}; a request has at most {MAX_CANDIDATES:,} candidates")
        if self.grouping in ("windows", "day_windows") and self.window < self.min_exposed_evaluation:
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
            if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
                raise DataError(f"{split} is {given!r}; give its first and last day, [2022-05-03, 2022-05-03]")
            first, last = (day_number(d) for d in given)
            if first > last:
                raise DataError(f"{split} ends on {given[1]}, before it begins on {given[0]}")
            if end is not None and first <= end:
                raise DataError(f"{split} begins on {given[0]}, but must begin after {day_text(end)}")
            days[split], end = (first, last), last
        return days


def check_split(days: Sequence[int], settings: RequestSettings, split: str, name: str) -> None:
    """Refuse a split without exposures.

    Raises:
        DataError: none of ``days``, those of the log called ``name``, lies in it.
    """
    first, last = settings.days[split]
    if not any(first <= day <= last for day in days):
        raise DataError(
            f"{name} has no exposure in the {split} days {day_text(first)} to {day_text(last)}; it spans "
            f"{day_text(days[0])} to {day_text(days[-1])}"
        )


def too_few(settings: RequestSettings, split: str) -> DataError:
    """What to say when a split has no request."""
    return DataError(
        f"no {settings.grouping} request of the {split} split has {_least(settings, split)} exposed items; lower "
        f"min_exposed_{'train' if split == 'train' else 'evaluation'} or choose other days"
    )


def candidates(
    exposures: pl.DataFrame,
    settings: RequestSettings,
    split: str,
    contexts: Sequence[str],
    *,
    pool: Callable[[int], pl.DataFrame],
    starts: Callable[[int], int],
    part: int = 0,
    first_id: int = 0,
) -> pl.DataFrame:
    """The candidates of one split's requests, exposed and sampled.

    An item that a request shows twice counts once, at its first exposure. A sampled candidate takes context from one of
    the request's exposures, drawn at random: it is imagined in that one's place.

    Args:
        exposures: of whole users, on the days of the split, as in :class:`emer.data.log.InteractionLog`.
        settings: how they become requests.
        split: its name.
        contexts: the context categories.
        pool: day -> ``item_id`` and ``weight``, what anyone was shown on it.
        starts: day -> the earliest time_ms that a request of this day may have: after the last row of the days before.
            A video delivered before midnight and watched after it belongs to the new day; its request must not seem to
            lie among those of the day before, or splits by day would overlap in time.
        part: number of this part of the users, which with ``settings.seed`` and the day decides what is sampled.
        first_id: request_id of the first request.

    Returns:
        One row per candidate, sorted by ``request_id`` (in order of time) and ``item_id``: the exposures' columns, of a
        sampled candidate those of the exposure in whose place it is imagined, but ``previous_score`` 0; ``exposed``;
        ``time_ms`` of the request, that of its first exposure; and ``head_<context>``, the request's own context, that
        of its first exposure too.
    """
    rows = exposures
    if settings.test_on == "random":
        if "explored" not in rows.columns:
            raise DataError(
                "test_on=random needs a log that says what was shown by chance (KuaiRand: adapter.include_random=true)"
            )
        rows = rows.filter(pl.col("explored") == (split == "test"))
    members = _grouped(rows.with_row_index("row"), settings, split)
    if members.is_empty():
        return pl.DataFrame()
    shown = pl.col("exposed") if "exposed" in rows.columns else pl.lit(True)
    parts = [members.select("request", "item_id", "row", shown.alias("exposed"), sampled=pl.lit(False))]
    if settings.unexposed:
        sampled = sample_unexposed(exposures, members, settings.unexposed, settings.seed, pool, part)
        parts.append(sampled.with_columns(exposed=pl.lit(False), sampled=pl.lit(True)))
    both = pl.concat(parts, how="diagonal")
    begins = members.filter(shown).group_by("request").agg(pl.col("row").min()).sort("request")
    heads = rows[begins["row"]].select("time_ms", "day", *(pl.col(c).alias(f"head_{c}") for c in contexts))
    earliest = heads["day"].replace_strict({d: starts(d) for d in heads["day"].unique()}, return_dtype=pl.Int64)
    heads = heads.with_columns(pl.max_horizontal("time_ms", earliest)).drop("day").hstack(begins.select("request"))
    place = rows[both["row"]].drop("item_id", "time_ms", "exposed", "request", strict=False)
    if "previous_score" in place.columns:  # the score of the exposure in whose place it stands is not the item's own
        place = place.with_columns(pl.col("previous_score") * (~both["sampled"]))
    # Sorted by item, so that a candidate's place does not tell whether it was exposed.
    return (
        both.drop("row", "sampled")
        .hstack(place)
        .join(heads, on="request", how="left", maintain_order="left")
        .with_columns((pl.col("request") + first_id).alias("request_id"))
        .drop("request")
        .sort("request_id", "item_id")
    )


def _least(settings: RequestSettings, split: str) -> int:
    return settings.min_exposed_train if split == "train" else settings.min_exposed_evaluation


def _grouped(rows: pl.DataFrame, settings: RequestSettings, split: str) -> pl.DataFrame:
    """Rows that belong to a request, with its number."""
    keys = {
        "user_day": ["user_id", "day"],
        "windows": ["user_id", "window"],
        "day_windows": ["user_id", "day", "window"],
        "shared_time": ["user_id", "day", "time_ms"],
        "logged": ["user_id", "request"],
    }[settings.grouping]
    if settings.grouping == "logged" and "request" not in rows.columns:
        raise DataError("grouping=logged needs a log that says which request a row belongs to; choose another grouping")
    if "window" in keys:
        count = pl.int_range(pl.len()).over(key for key in keys if key != "window")
        rows = rows.with_columns((count // settings.window).alias("window"))
    shown = pl.col("exposed").sum() if "exposed" in rows.columns else pl.len()
    rows = rows.unique([*keys, "item_id"], keep="first", maintain_order=True)
    rows = rows.filter(shown.over(keys) >= _least(settings, split))
    begins = pl.col("row").min().over(keys)
    return rows.with_columns((begins.rank("dense") - 1).cast(pl.Int64).alias("request")).sort("request", "row")
