"""Which columns of a table in long form (one row per candidate) mean what: the mapping file, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from emer.data.adapter import Part
from emer.data.columns import Column, request_columns
from emer.data.long_columns import SECONDS, TIME_UNITS, LongColumn
from emer.data.raw import is_text
from emer.errors import DataError
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

IDS = ("request_id", "user_id", "item_id")
OPTIONAL = ("exposed", "explored", "watch_time", "negative", "previous_score")
CATEGORIES = ("user_categories", "context_categories", "item_categories")
_SECTIONS = ("objectives", "feedback", *CATEGORIES, "item_numbers")
_OPTIONS: dict[str, dict[str, type]] = {
    **{key: {"text": bool} for key in IDS},
    "time_ms": {"unit": str},
    "watch_time": {"unit": str},
    "objectives": {"unit": str, "role": str, "feedback": str, "noisy": bool},
    "feedback": {"satisfaction": str},
    **{key: {"size": int, "buckets": int} for key in CATEGORIES},
}
"""Key or section -> options beside ``column``, and their types."""

_MOST = 2**31 - 2
"""Ids of a category, and the unknown one, are numbered in 32 bits where they are embedded."""

_IF_SHOWN = ("label", "watch_time", "negative", "explored")

Entry = dict[str, Any]


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
            content = OmegaConf.to_container(OmegaConf.load(Path(path).expanduser()), resolve=True)
        except FileNotFoundError as error:
            raise DataError(f"data.mapping: {path} does not exist") from error
        except MarkedYAMLError as error:
            line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            raise DataError(f"data.mapping: {path}{line}: this is not YAML ({error.problem})") from error
        except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
            raise DataError(f"data.mapping: {path} cannot be read as YAML ({str(error).splitlines()[0]})") from error
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
        csv = is_text(path)
        return Part(
            path=path,
            columns={c.column: c.type(csv) for c in self.columns},
            optional=[c.column for c in self.columns if c.buckets is not None or c.shown is not None],
            checks={c.column: check for c in self.columns if (check := c.check(csv)) is not None},
            advice={c.column: c.advice for c in self.columns},
        )

    def apply(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The rows of :func:`emer.data.raw.read_part` with the names and types of request Parquet."""
        return pl.DataFrame([c.values(batch) for c in self.columns])


class _Parser:
    """Reads a mapping and says which key is wrong."""

    def __init__(self, content: Any, name: str) -> None:
        if not isinstance(content, dict) or not content:
            raise DataError(f"{name} must be a YAML mapping with the keys {', '.join(IDS)}, time_ms and objectives")
        self.content = {str(key): entry for key, entry in content.items()}
        self.name = name
        known = (*IDS, "time_ms", *OPTIONAL, *_SECTIONS)
        for key in self.content:
            if key not in known:
                raise DataError(f"{name}: unknown key {key}; known are {', '.join(known)}")

    def mapping(self) -> LongMapping:
        given: dict[str, tuple[str, Entry]] = {}
        for key in (*IDS, "time_ms", *OPTIONAL):
            if key in self.content:
                given[key] = key, self.checked(key, self.content[key])
            elif key not in OPTIONAL:
                raise DataError(f"{self.name}: the key {key} is missing; name the column that holds it")
        sections = {key: self.section(key) for key in _SECTIONS}
        if not sections["objectives"]:
            raise DataError(f"{self.name}: the key objectives is missing; name the columns of the pxtrs")
        for key, prefix in zip(_SECTIONS, ("pxtr", "label", "user", "context", "item", "number"), strict=True):
            given |= {f"{prefix}_{n}": (f"{key}.{n}", entry) for n, entry in sections[key].items()}
        schema = self.made(
            Schema,
            tuple(self.objective(n, e) for n, e in sections["objectives"].items()),
            tuple(self.feedback(n, e) for n, e in sections["feedback"].items()),
            *(tuple(self.category(f"{key}.{n}", n, e) for n, e in sections[key].items()) for key in CATEGORIES),
            tuple(sections["item_numbers"]),
        )
        shown = given["exposed"][1]["column"] if "exposed" in given else None
        columns = tuple(self.column(c, *given[c.name], schema, shown) for c in request_columns(schema)
                        if c.name in given)  # fmt: skip
        taken: dict[str, str] = {}
        for column in columns:
            key = given[column.name][0]
            if column.column in taken:
                keys = f"{taken[column.column]} and {key}"
                raise DataError(f"{self.name}: {keys} both take the column {column.column}; give one a copy of it")
            taken[column.column] = key
        return LongMapping(schema, columns)

    def section(self, key: str) -> dict[str, Entry]:
        content = self.content.get(key)
        if content is None:
            return {}
        if not isinstance(content, Mapping):
            raise DataError(f"{self.name}: {key} must map names to columns, such as {{pctr: click_score}}")
        return {str(n): self.checked(f"{key}.{n}", e) for n, e in content.items()}

    def checked(self, key: str, entry: Any) -> Entry:
        kinds = {"column": str, **_OPTIONS.get(key.split(".")[0], {})}
        found = {"column": entry} if isinstance(entry, str) else entry
        if not isinstance(found, dict) or not found.get("column"):
            raise DataError(f"{self.name}: {key} must be the name of a column, or {{column: name, ...}}")
        for option, value in found.items():
            if option not in kinds:
                raise DataError(f"{self.name}: {key} has the unknown option {option}; known are {', '.join(kinds)}")
            if type(value) is not kinds[option]:
                wanted = {str: "a text", bool: "true or false", int: "a whole number"}[kinds[option]]
                raise DataError(f"{self.name}: {option} of {key} is {value!r}; it must be {wanted}")
        return found

    def objective(self, name: str, entry: Entry) -> Objective:
        key = f"objectives.{name}"
        unit = self.choice(key, entry, "unit", (Unit.PROBABILITY, *SECONDS))
        role = Role(self.choice(key, entry, "role", tuple(Role)))
        of = Unit.SECONDS if unit in SECONDS else Unit.PROBABILITY
        return self.made(Objective, name, of, role, entry.get("feedback"), entry.get("noisy", False))

    def feedback(self, name: str, entry: Entry) -> Feedback:
        choices = (Satisfaction.IGNORED, Satisfaction.POSITIVE)
        return self.made(Feedback, name, Satisfaction(self.choice(f"feedback.{name}", entry, "satisfaction", choices)))

    def category(self, key: str, name: str, entry: Entry) -> Category:
        given = [option for option in ("size", "buckets") if option in entry]
        if len(given) != 1 or not 1 <= entry[given[0]] <= _MOST:
            raise DataError(
                f"{self.name}: {key} needs either size (its values are ids below it, 0 = unknown) or buckets "
                f"(its values are hashed to 1 .. buckets), from 1 to {_MOST}"
            )
        return Category(name, entry[given[0]] + (given[0] == "buckets"))

    def column(self, c: Column, key: str, entry: Entry, schema: Schema, shown: str | None) -> LongColumn:
        unit = entry.get("unit", "s")
        if c.name == "time_ms":
            unit = self.choice(key, entry, "unit", (*TIME_UNITS, "iso"))
        elif c.name == "watch_time":
            unit = self.choice(key, entry, "unit", tuple(SECONDS))
        pxtr = c.field == "pxtr"
        seconds = c.name == "watch_time" or (pxtr and c.index == schema.watch_index)
        return LongColumn(
            name=c.name,
            column=entry["column"],
            kind=c.kind,
            unit=unit,
            text=entry.get("text", False),
            buckets=entry.get("buckets"),
            size=entry.get("size"),
            seconds=seconds,
            probability=pxtr and not seconds,
            shown=shown if c.field in _IF_SHOWN else None,
        )

    def choice(self, key: str, entry: Entry, option: str, known: Sequence[str]) -> str:
        """The value of an option; the first one known where it is not given."""
        value = entry.get(option, known[0])
        if value not in known:
            raise DataError(f"{self.name}: {option} of {key} is {value!r}; known are {', '.join(known)}")
        return value

    def made(self, kind: Any, *values: Any) -> Any:
        try:
            return kind(*values)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error
