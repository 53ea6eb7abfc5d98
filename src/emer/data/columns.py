"""The columns of a request log, named once: reader, writer, checks and messages all use this list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from emer.requests import Schema


class Kind(StrEnum):
    """What the values of a column are."""

    INTEGER = "int64"
    FLOAT = "float"
    BOOLEAN = "bool"
    RANK = "int16"


@dataclass(frozen=True)
class Column:
    """One Parquet column and the place it has in a :class:`emer.data.table.RequestTable`.

    Attributes:
        name: name in the file.
        field: attribute of the table.
        index: column of that attribute, or None where the attribute has one axis only.
        kind: type of one value.
        ragged: True for a list with one value per candidate, False for one value per request.
        optional: True where the column may be left out.
    """

    name: str
    field: str
    index: int | None
    kind: Kind
    ragged: bool
    optional: bool = False


def request_columns(schema: Schema) -> tuple[Column, ...]:
    """Every column that ``schema`` asks for, optional ones included, without the stored ranks."""
    found = [Column(name, name, None, Kind.INTEGER, False) for name in ("request_id", "user_id", "time_ms")]
    found += [
        Column(f"{prefix}_{category.name}", f"{prefix}_categories", i, Kind.INTEGER, False)
        for prefix, categories in (("user", schema.user_categories), ("context", schema.context_categories))
        for i, category in enumerate(categories)
    ]
    found.append(Column("item_id", "item_id", None, Kind.INTEGER, True))
    found += [Column(f"pxtr_{o}", "pxtr", i, Kind.FLOAT, True) for i, o in enumerate(schema.objective_names)]
    found.append(Column("exposed", "exposed", None, Kind.BOOLEAN, True))
    found.append(Column("explored", "explored", None, Kind.BOOLEAN, True, optional=True))
    found += [Column(f"label_{f}", "label", i, Kind.BOOLEAN, True) for i, f in enumerate(schema.feedback_names)]
    found += [
        Column(name, name, None, Kind.FLOAT, True, optional=True)
        for name in ("watch_time", "negative", "previous_score")
    ]
    found += [
        Column(f"item_{category.name}", "item_categories", i, Kind.INTEGER, True)
        for i, category in enumerate(schema.item_categories)
    ]
    found += [
        Column(f"number_{name}", "item_numbers", i, Kind.FLOAT, True) for i, name in enumerate(schema.item_numbers)
    ]
    return tuple(found)


def rank_columns(schema: Schema) -> tuple[Column, ...]:
    """The optional columns of stored rank gaps; a file holds all of them or none.

    Consumption objectives have the same rank under IPUT, so only interaction objectives store a second one.
    """
    raw = [Column(f"rank_{o}", "rank_gap", i, Kind.RANK, True) for i, o in enumerate(schema.objective_names)]
    iput = [
        Column(f"iput_rank_{schema.objective_names[i]}", "iput_rank_gap", i, Kind.RANK, True)
        for i in schema.interaction_indices
    ]
    return tuple(raw + iput)
