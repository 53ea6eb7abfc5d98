"""What a request log consists of: named objectives, feedback labels, categories and numbers.

Import these from :mod:`emer.requests`, which holds the rest of the data contract.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from emer.errors import DataError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Unit(StrEnum):
    """What the number of a pxtr means."""

    PROBABILITY = "probability"
    SECONDS = "seconds"


class Role(StrEnum):
    """Consumption objectives measure viewing, interaction objectives what the user does besides.

    IPUT divides the interaction objectives by the predicted watch time.
    """

    CONSUMPTION = "consumption"
    INTERACTION = "interaction"


class Satisfaction(StrEnum):
    """How a feedback label enters the satisfaction level of EMER's posterior loss.

    The watch flags are nested (effective view, long view, complete play), so at most one may count as
    ``positive``; the others are ``ignored``, as are clicks that only say that playing began.
    """

    POSITIVE = "positive"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Objective:
    """One predicted score per candidate.

    ``feedback`` names the label that the pxtr predicts (None where no such label is logged). ``noisy`` marks
    an objective whose label is so rare in the data that figures on it are noise; reports say so.
    """

    name: str
    unit: Unit = Unit.PROBABILITY
    role: Role = Role.CONSUMPTION
    feedback: str | None = None
    noisy: bool = False


@dataclass(frozen=True)
class Feedback:
    """One binary label on exposed candidates."""

    name: str
    satisfaction: Satisfaction = Satisfaction.IGNORED


@dataclass(frozen=True)
class Category:
    """A categorical feature with ids in ``0 .. size - 1``; 0 means unknown."""

    name: str
    size: int


@dataclass(frozen=True)
class Schema:
    """The names and kinds of everything in a request log, in column order."""

    objectives: tuple[Objective, ...]
    feedback: tuple[Feedback, ...] = ()
    user_categories: tuple[Category, ...] = ()
    context_categories: tuple[Category, ...] = ()
    item_categories: tuple[Category, ...] = ()
    item_numbers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.objectives:
            raise DataError("a schema needs at least one objective")
        for kind, names in (
            ("objective", self.objective_names),
            ("feedback", self.feedback_names),
            ("user category", tuple(c.name for c in self.user_categories)),
            ("context category", tuple(c.name for c in self.context_categories)),
            ("item category", tuple(c.name for c in self.item_categories)),
            ("item number", self.item_numbers),
        ):
            _check_names(kind, names)
        for category in self.user_categories + self.context_categories + self.item_categories:
            if not isinstance(category.size, int) or category.size < 1:
                raise DataError(f"the schema gives category {category.name} the size {category.size!r}, not 1 or more")
        for objective in self.objectives:
            if objective.feedback is not None and objective.feedback not in self.feedback_names:
                raise DataError(
                    f"objective {objective.name} predicts the feedback {objective.feedback}, which the "
                    f"schema does not list (it has {', '.join(self.feedback_names) or 'none'})"
                )
        if sum(o.unit is Unit.SECONDS for o in self.objectives) > 1:
            raise DataError("at most one objective may be in seconds: the predicted watch time")
        if self.watch_index in self.interaction_indices:
            raise DataError("the objective in seconds is a consumption objective; IPUT divides the others by it")
        if self.watch_index is None and self.interaction_indices:
            raise DataError(
                "the schema has interaction objectives but no objective in seconds: "
                "IPUT needs a predicted watch time (pvtr) to divide by"
            )

    @cached_property
    def objective_names(self) -> tuple[str, ...]:
        return tuple(o.name for o in self.objectives)

    @cached_property
    def feedback_names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.feedback)

    @cached_property
    def watch_index(self) -> int | None:
        """Column of the predicted watch time, or None."""
        return next((i for i, o in enumerate(self.objectives) if o.unit is Unit.SECONDS), None)

    @cached_property
    def interaction_indices(self) -> tuple[int, ...]:
        """Columns of the interaction objectives."""
        return tuple(i for i, o in enumerate(self.objectives) if o.role is Role.INTERACTION)

    @cached_property
    def positive_indices(self) -> tuple[int, ...]:
        """Columns of the feedback labels that count towards satisfaction."""
        return tuple(i for i, f in enumerate(self.feedback) if f.satisfaction is Satisfaction.POSITIVE)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready content; :meth:`from_dict` reads it back.

        Lists, not mappings, because their order is the order of columns and must survive sorted JSON keys.
        """
        return {
            "objectives": [{**asdict(o), "unit": o.unit.value, "role": o.role.value} for o in self.objectives],
            "feedback": [{**asdict(f), "satisfaction": f.satisfaction.value} for f in self.feedback],
            "user_categories": [asdict(c) for c in self.user_categories],
            "context_categories": [asdict(c) for c in self.context_categories],
            "item_categories": [asdict(c) for c in self.item_categories],
            "item_numbers": list(self.item_numbers),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read a schema.

        Raises:
            DataError: a key is unknown or missing, or a value is not one of those allowed.
        """
        if not isinstance(content, dict):
            raise DataError(f"the schema is a {type(content).__name__}, not a mapping")
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise DataError(f"the schema has unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
        if "objectives" not in content:
            raise DataError("the schema has no key objectives")
        lists = {key: content.get(key, []) for key in known}
        for key, entries in lists.items():
            if not isinstance(entries, list):
                raise DataError(f"the schema's {key} is a {type(entries).__name__}, not a list")
        try:
            return cls(
                objectives=tuple(
                    Objective(
                        **{
                            **o,
                            "unit": Unit(o.get("unit", "probability")),
                            "role": Role(o.get("role", "consumption")),
                        }
                    )
                    for o in lists["objectives"]
                ),
                feedback=tuple(
                    Feedback(**{**f, "satisfaction": Satisfaction(f.get("satisfaction", "ignored"))})
                    for f in lists["feedback"]
                ),
                user_categories=tuple(Category(**c) for c in lists["user_categories"]),
                context_categories=tuple(Category(**c) for c in lists["context_categories"]),
                item_categories=tuple(Category(**c) for c in lists["item_categories"]),
                item_numbers=tuple(lists["item_numbers"]),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the schema cannot be read: {error}") from error


def _check_names(kind: str, names: tuple[str, ...]) -> None:
    for name in names:
        # Names become Parquet columns, metric names and config keys.
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DataError(f"the schema's {kind} {name!r} is not a name of letters, digits and _")
        if name == "id" and kind in ("user category", "item category"):
            raise DataError(f"the schema's {kind} 'id' would be the column {kind.split()[0]}_id; rename it")
        if name in ("mean", "sum") and kind in ("objective", "feedback"):
            raise DataError(f"the schema's {kind} {name!r} would be taken for the metrics' own {name}; rename it")
        if names.count(name) > 1:
            raise DataError(f"the schema names the {kind} {name} more than once")
