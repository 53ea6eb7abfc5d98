"""Which columns of a table in long form (one row per candidate) mean what: the mapping file, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from emer.data.adapter import Part
from emer.data.columns import Kind, request_columns
from emer.data.stable_hash import hash_text
from emer.errors import DataError
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

IDS = ("request_id", "user_id", "item_id")
OPTIONAL = ("exposed", "explored", "watch_time", "negative", "previous_score")
CATEGORIES = ("user_categories", "context_categories", "item_categories")
_SECTIONS = ("objectives", "feedback", *CATEGORIES, "item_numbers")
_TIME_UNITS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "day": 86_400_000}
_SECONDS = {"s": 1.0, "ms": 1e-3, "min": 60.0}
_TRUE, _FALSE = ("1", "true", "t", "yes", "1.0"), ("0", "false", "f", "no", "0.0")


@dataclass(frozen=True, kw_only=True)
class LongColumn:
    """Where one column of request Parquet comes from.

    Attributes:
        name: in request Parquet (:func:`emer.data.columns.request_columns`).
        column: in the long table.
        kind: what its values are.
        unit: of times (``ms``, ``s``, ``min``, ``h``, ``day``, or ``iso`` for text) and of durations.
        text: ids that are no integers, which are hashed.
        buckets: of a category whose values are hashed to 1 .. buckets; None where they are ids already.
        size: of a category whose values are ids below it.
        seconds: the values are a duration.
        probability: the values lie in [0, 1].
    """

    name: str
    column: str
    kind: Kind
    unit: str = "s"
    text: bool = False
    buckets: int | None = None
    size: int | None = None
    seconds: bool = False
    probability: bool = False

    @property
    def is_time(self) -> bool:
        return self.name == "time_ms"

    @property
    def hashed(self) -> bool:
        return self.text or self.buckets is not None

    def type(self, csv: bool) -> pl.DataType | type[pl.DataType]:
        """How the column is read."""
        if self.hashed or (self.is_time and self.unit == "iso"):
            return pl.String
        if self.kind is Kind.BOOLEAN:
            return pl.String if csv else pl.Float32
        return pl.Float32 if self.kind is Kind.FLOAT else pl.Int64

    def check(self, csv: bool) -> pl.Expr | None:
        """What must hold of every value read."""
        value = pl.col(self.column)
        if self.kind is Kind.BOOLEAN:
            return value.str.to_lowercase().is_in([*_TRUE, *_FALSE]) if csv else value.is_in([0.0, 1.0])
        if self.is_time and self.unit == "iso":
            return _moment(self.column).is_not_null()
        if self.size is not None:
            return value.is_between(0, self.size - 1)
        if self.kind is not Kind.FLOAT:
            return None
        if self.probability:
            return value.is_between(0, 1)
        finite = value.is_finite()
        return finite & (value >= 0) if self.seconds or self.name == "negative" else finite

    def values(self, batch: pl.DataFrame) -> pl.Series:
        """The column as request Parquet has it, from checked values."""
        raw = batch[self.column]
        if self.buckets is not None:
            return (hash_text(raw) % self.buckets + 1).fill_null(0).alias(self.name)
        if self.text:
            return hash_text(raw).alias(self.name)
        if self.kind is Kind.BOOLEAN:
            known = raw.str.to_lowercase().is_in(_TRUE) if raw.dtype == pl.String else raw == 1
            return known.alias(self.name)
        if self.is_time:
            if self.unit == "iso":
                return batch.select(_moment(self.column).dt.epoch("ms")).to_series().alias(self.name)
            return (raw * _TIME_UNITS[self.unit]).alias(self.name)
        if self.seconds:
            return (raw * _SECONDS[self.unit]).cast(pl.Float32).alias(self.name)
        return raw.alias(self.name)


@dataclass(frozen=True)
class LongMapping:
    """A long table's columns in the terms of a schema. Make one with :meth:`read` or :meth:`parse`."""

    schema: Schema
    columns: tuple[LongColumn, ...]

    @classmethod
    def read(cls, path: Path | str) -> LongMapping:
        """The mapping of a YAML file (docs/data.md shows one).

        Raises:
            DataError: the file is missing or no YAML, or a key is missing, unknown or no good.
        """
        try:
            content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        except FileNotFoundError as error:
            raise DataError(f"data.mapping: {path} does not exist") from error
        except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"data.mapping: {path} is not YAML ({str(error).splitlines()[0]})") from error
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: Any, name: str = "the mapping") -> LongMapping:
        """The mapping of nested dictionaries; ``name`` is for messages.

        Raises:
            DataError: as :meth:`read`.
        """
        return _Parser(content, name).mapping()

    def part(self, path: Path) -> Part:
        """How the long table at ``path`` is to be read."""
        csv = path.suffix not in (".parquet", ".feather", ".arrow")
        checks = {c.column: check for c in self.columns if (check := c.check(csv)) is not None}
        nullable = [c.column for c in self.columns if c.buckets is not None]
        return Part(path=path, columns={c.column: c.type(csv) for c in self.columns}, optional=nullable, checks=checks)

    def apply(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The rows of :func:`emer.data.raw.read_part` with the names and types of request Parquet."""
        return pl.DataFrame([c.values(batch) for c in self.columns])


class _Parser:
    """Reads a mapping and says which key is wrong."""

    def __init__(self, content: Any, name: str) -> None:
        if not isinstance(content, dict):
            raise DataError(f"{name} must be a YAML mapping with the keys {', '.join(IDS)}, time_ms and objectives")
        self.content = content
        self.name = name
        known = (*IDS, "time_ms", *OPTIONAL, *_SECTIONS)
        for key in content:
            if key not in known:
                raise DataError(f"{name}: unknown key {key}; known are {', '.join(known)}")

    def mapping(self) -> LongMapping:
        objectives = self.section("objectives", needed=True)
        feedback = self.section("feedback")
        schema = self.made(
            Schema,
            tuple(self.objective(n, e) for n, e in objectives.items()),
            tuple(self.made(Feedback, n, self.choice(f"feedback.{n}", e, "satisfaction", Satisfaction))
                  for n, e in feedback.items()),
            *(tuple(self.category(f"{key}.{n}", n, e) for n, e in self.section(key).items()) for key in CATEGORIES),
            tuple(self.section("item_numbers")),
        )  # fmt: skip
        entries = {
            **{key: self.entry(key, needed=True) for key in (*IDS, "time_ms")},
            **{f"pxtr_{n}": e for n, e in objectives.items()},
            **{key: self.entry(key) for key in OPTIONAL if key in self.content},
            **{f"label_{n}": e for n, e in feedback.items()},
            **{f"{key.removesuffix('_categories')}_{n}": e for key in CATEGORIES for n, e in self.section(key).items()},
            **{f"number_{n}": e for n, e in self.section("item_numbers").items()},
        }
        columns = [self.column(c.name, c.kind, entries[c.name], schema) for c in request_columns(schema)
                   if c.name in entries]  # fmt: skip
        taken: dict[str, str] = {}
        for column in columns:
            if column.column in taken:
                raise DataError(f"{self.name}: {taken[column.column]} and {column.name} both take {column.column}")
            taken[column.column] = column.name
        return LongMapping(schema, tuple(columns))

    def entry(self, key: str, needed: bool = False) -> dict[str, Any]:
        if key not in self.content:
            if needed:
                raise DataError(f"{self.name}: the key {key} is missing; name the column that holds it")
            return {}
        return self.checked(key, self.content[key])

    def section(self, key: str, needed: bool = False) -> dict[str, dict[str, Any]]:
        content = self.content.get(key) or {}
        if not isinstance(content, Mapping) or (needed and not content):
            raise DataError(f"{self.name}: {key} must list names with their columns, such as {{pctr: click_score}}")
        return {str(n): self.checked(f"{key}.{n}", e) for n, e in content.items()}

    def checked(self, key: str, entry: Any) -> dict[str, Any]:
        known = ("column", "unit", "text", "role", "feedback", "noisy", "satisfaction", "size", "buckets")
        found = {"column": entry} if isinstance(entry, str) else entry
        if not isinstance(found, dict) or not isinstance(found.get("column"), str):
            raise DataError(f"{self.name}: {key} must be the name of a column, or {{column: name, ...}}")
        for option in found:
            if option not in known:
                raise DataError(f"{self.name}: {key} has the unknown option {option}; known are {', '.join(known)}")
        return found

    def objective(self, name: str, entry: dict[str, Any]) -> Objective:
        unit = Unit.SECONDS if entry.get("unit") in (*_SECONDS, "seconds") else Unit.PROBABILITY
        role = self.choice(f"objectives.{name}", entry, "role", Role)
        return self.made(Objective, name, unit, role, entry.get("feedback"), bool(entry.get("noisy", False)))

    def category(self, key: str, name: str, entry: dict[str, Any]) -> Category:
        given = [option for option in ("size", "buckets") if option in entry]
        if len(given) != 1 or not isinstance(entry[given[0]], int) or entry[given[0]] < 1:
            raise DataError(
                f"{self.name}: {key} needs either size (its values are ids below it, 0 = unknown) or buckets "
                "(its values are hashed to 1 .. buckets), a positive integer"
            )
        return Category(name, entry[given[0]] + (given[0] == "buckets"))

    def column(self, name: str, kind: Kind, entry: dict[str, Any], schema: Schema) -> LongColumn:
        unit = entry.get("unit", "ms" if name == "time_ms" else "s")
        watch = schema.watch_index
        seconds = name == "watch_time" or (watch is not None and name == f"pxtr_{schema.objective_names[watch]}")
        units = (
            (*_TIME_UNITS, "iso") if name == "time_ms" else (*_SECONDS, "seconds") if seconds else ("s", "probability")
        )
        if unit not in units:
            raise DataError(f"{self.name}: the unit of {name} is {unit!r}; known are {', '.join(units)}")
        return LongColumn(
            name=name,
            column=entry["column"],
            kind=kind,
            unit="s" if unit in ("seconds", "probability") else unit,
            text=bool(entry.get("text", False)),
            buckets=entry.get("buckets"),
            size=entry.get("size"),
            seconds=seconds,
            probability=name.startswith("pxtr_") and not seconds,
        )

    def choice(self, key: str, entry: dict[str, Any], option: str, kind: Any) -> Any:
        values = [str(v) for v in kind]
        value = entry.get(option, values[-1] if kind is Satisfaction else values[0])
        if value not in values:
            raise DataError(f"{self.name}: {option} of {key} is {value!r}; known are {', '.join(values)}")
        return kind(value)

    def made(self, kind: Any, *values: Any) -> Any:
        try:
            return kind(*values)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error


def _moment(column: str) -> pl.Expr:
    """ISO text, with or without a time zone; without one it is UTC."""
    return pl.col(column).str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
