"""What a public data set has to say of itself, so that everything after it is the same for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from emer.data.log import LogTables
from emer.errors import DataError

Types = Mapping[str, pl.DataType | type[pl.DataType]]

OPTIONAL = {
    "watch_seconds": pl.Float32,
    "negative": pl.Float32,
    "request": pl.Int64,
    "exposed": pl.Boolean,
    "explored": pl.Boolean,
    "previous_score": pl.Float32,
}
"""Columns that a log of exposures may lack, and their types (:class:`emer.data.log.InteractionLog`)."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a data set comes from, and what its user must know. Goes into ``source.json``.

    Attributes:
        name, licence, citation, home: of the data set; ``home`` is where it is downloaded.
        requests: what a request is, and whether that is a pseudo-request.
        known_faults: sentences.
    """

    name: str
    licence: str
    citation: str
    home: str
    requests: str
    known_faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One official file of exposures, and how its cells are to be read.

    Attributes:
        path: a CSV or a Feather (Arrow IPC) file.
        columns: name -> type. Other columns of the file are not read.
        optional: columns that may hold empty cells; these become null.
        checks: column -> Boolean expression that must hold in every row.
        null: text that stands for an empty cell, besides nothing at all.
        keep: Boolean expression; rows where it is not true are checked, then left out.
        advice: column -> what its values must be, for messages.
    """

    path: Path
    columns: Types
    optional: Collection[str] = ()
    checks: Mapping[str, pl.Expr] = field(default_factory=dict)
    null: str | None = None
    keep: pl.Expr | None = None
    advice: Mapping[str, str] = field(default_factory=dict)

    def advised(self, column: str, fault: str) -> DataError:
        """The error that says what is wrong with a column, and what to do where that is known."""
        return DataError(f"{fault}; {self.advice[column]}" if column in self.advice else fault)


class Adapter(Protocol):
    """Maps the official files of one data set to the columns of :class:`emer.data.log.InteractionLog`."""

    about: About
    user: str
    """The parts' column of user ids; by it, a log that does not fit into memory is cut into buckets of whole users."""

    def parts(self) -> Sequence[Part]:
        """The files of exposures, in an order that is always the same.

        Raises:
            DataError: a file is missing; says where to download it.
        """

    def files(self) -> Sequence[Path]:
        """Every file that is read: of exposures, users and items."""

    def tables(self) -> LogTables:
        """Users, items and the names of the columns.

        Raises:
            DataError: a file is missing or faulty.
        """

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Exposures of some users.

        Args:
            raw: all rows of these users in all parts: the parts' columns, ``part`` (position in :meth:`parts`) and
                ``line`` (position in the file, from 0), in this order.

        Returns:
            The exposures, sorted by day and time; and counts of what was dropped or is faulty, to be added up.
        """
