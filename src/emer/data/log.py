"""What every public interaction log is turned into before anything is learnt from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from emer.errors import DataError

_EPOCH = date(1970, 1, 1)


PERIODS = 3650
"""Day numbers below are the periods of a log without dates; no log of exposures is from before 1980."""


def day_number(day: date | str | int) -> int:
    """Days since 1970-01-01 of a date, or of its ISO text such as ``2022-04-30``; a period's number is itself.

    Raises:
        DataError: the text is not a date, or the number not that of a period.
    """
    if isinstance(day, int) and 0 <= day < PERIODS:
        return day
    try:
        parsed = day if isinstance(day, date) else date.fromisoformat(day)  # type: ignore[arg-type]
        return (parsed - _EPOCH).days
    except (ValueError, TypeError) as error:
        raise DataError(f"{day!r} is not a date; write it as 2022-04-30, or a period as 3") from error


def day_text(number: int) -> str:
    """ISO date of a day number, or ``period 3`` of a log without dates."""
    if number < PERIODS:
        return f"period {int(number)}"
    return (_EPOCH + timedelta(days=int(number))).isoformat()


@dataclass(frozen=True, kw_only=True)
class LogTables:
    """What is known of the users and items of a log beforehand, and what its columns are.

    Attributes:
        name: the log's name, for messages.
        users: one row per ``user_id`` with ``user_categories`` and ``user_numbers``.
        items: one row per ``item_id`` with ``item_categories`` and ``item_numbers``, and ``upload_day``
            int32 if known. Nothing here may have been measured after the exposures (no month averages).
        labels: names of the label columns.
        user_categories, item_categories, context_categories: integer or text columns; null is unknown.
        user_numbers, item_numbers: Float32 columns; null is unknown.
        history_keys: columns (``user_id``, ``item_id`` or a category) whose past rates are worth knowing.
    """

    name: str
    users: pl.DataFrame
    items: pl.DataFrame
    labels: tuple[str, ...]
    user_categories: tuple[str, ...] = ()
    user_numbers: tuple[str, ...] = ()
    item_categories: tuple[str, ...] = ()
    item_numbers: tuple[str, ...] = ()
    context_categories: tuple[str, ...] = ()
    history_keys: tuple[str, ...] = ("user_id", "item_id")

    def __post_init__(self) -> None:
        self._need("users", self.users, ("user_id", *self.user_categories, *self.user_numbers))
        self._need("items", self.items, ("item_id", *self.item_categories, *self.item_numbers))
        for table, key in ((self.users, "user_id"), (self.items, "item_id")):
            if table[key].is_duplicated().any():
                repeated = table.filter(pl.col(key).is_duplicated())[key][0]
                raise DataError(f"{self.name}: {key} {repeated} is described more than once")

    def _need(self, table: str, frame: pl.DataFrame, columns: tuple[str, ...]) -> None:
        missing = [c for c in columns if c not in frame.columns]
        if missing:
            raise DataError(f"{self.name}: {table} lacks {', '.join(missing)}")

    def describe(self, rows: pl.DataFrame) -> pl.DataFrame:
        """``rows`` (with ``user_id`` and ``item_id``) with the users' and items' columns joined, order kept.

        Users and items that the log does not describe get nulls.
        """
        return self.described(rows.lazy()).collect()

    def described(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """:meth:`describe` of rows that are read in a stream."""
        return rows.join(self.users.lazy(), on="user_id", how="left", maintain_order="left").join(
            self.items.lazy(), on="item_id", how="left", maintain_order="left"
        )

    def check(self, exposures: pl.DataFrame) -> None:
        """Refuse rows that are not as :class:`InteractionLog` says.

        Raises:
            DataError: naming the column.
        """
        ids = ("user_id", "item_id", "time_ms")
        self._need("exposures", exposures, (*ids, "day", *self.labels, *self.context_categories))
        for column in (*ids, "day", *self.labels):
            if exposures[column].null_count():
                raise DataError(f"{self.name}: exposures.{column} has missing values")
        for column in self.labels:
            if exposures[column].dtype != pl.Boolean:
                raise DataError(f"{self.name}: label {column} is {exposures[column].dtype}, not Boolean")


@dataclass(frozen=True, kw_only=True)
class InteractionLog(LogTables):
    """A log in memory: exposures of items to users, with what each user did.

    Attributes:
        exposures: one row per exposure, sorted by day and time: ``user_id``, ``item_id``, ``time_ms`` int64;
            ``day`` int32 (:func:`day_number`, the day on which the labels became known); each of ``labels``
            Boolean; ``watch_seconds`` Float32 if the log has it; ``negative`` Float32 (count of negative
            feedback) if the log has it; each of ``context_categories``. And, where the log knows them:
            ``request`` int64, the request in which the item was a candidate; ``exposed`` Boolean, False for a
            candidate that was not shown (its labels are False and tell nothing); ``explored`` Boolean, shown by
            chance instead of by score; ``previous_score`` Float32, by which the platform ordered its candidates, 0
            for one that it never ranked, else more.
    """

    exposures: pl.DataFrame

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exposures.is_empty():
            raise DataError(f"{self.name}: the log holds no exposure")
        self.check(self.exposures)
        if not self.exposures["day"].is_sorted():
            raise DataError(f"{self.name}: exposures are not sorted by day")

    @cached_property
    def days(self) -> tuple[int, ...]:
        """Days with exposures, ascending."""
        return tuple(self.exposures["day"].unique().sort().to_list())

    @property
    def has_watch_time(self) -> bool:
        return "watch_seconds" in self.exposures.columns
