"""What each table and figure of the papers asks, shows and claims: ``catalogue/*.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from emer.errors import EmerError

Kind = Literal["offline", "online", "activity", "losses", "daily", "speed", "skew", "front", "relations", "ippo"]
"""How an experiment's numbers are made of its runs, and which picture it has."""

FOLDER = Path(__file__).parent / "catalogue"


@dataclass(frozen=True)
class Component:
    """``variant`` is above ``against`` in ``metric`` (below, if ``sign`` is -1), or at most ``margin`` short of it."""

    variant: str
    against: str
    metric: str
    sign: int = 1
    margin: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that is true if all of its components are.

    Attributes:
        key: of the ledger, such as ``E3.2``.
        says: the statement, in one sentence.
        tested: what is tested, where the paper's text and table disagree or the claim needs explaining.
        components: empty for what cannot be tested here.
        why_not: why it cannot be tested here.
        logs: where it can be tested; all of the experiment's if empty.
    """

    key: str
    says: str
    components: tuple[Component, ...] = ()
    tested: str = ""
    why_not: str = ""
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes:
        name: of its config and folder.
        title: with the paper's name and the table's number.
        paper: which one, with its identifier.
        question: what it asks, in a sentence or two.
        kind: how its numbers are made.
        variants: key of a variant (its run's first tag, else its label) -> heading, in the table's order.
        metrics: metric -> heading, in the table's order.
        reference: the variant that others are compared with; online the base of the test.
        reference_name: its heading where it is no column.
        also: metric -> heading of what the paper does not report and honesty asks for.
        published: log or scenario -> metric -> variant -> the paper's number; ``all`` if the paper has one.
        unit: of the numbers, for captions.
        users, days: of each arm in an online test.
        notes: what a reader must know about the set-up, and what it does not show.
        claims: of the paper about it.
    """

    name: str
    title: str
    paper: str
    question: str
    kind: Kind
    variants: Mapping[str, str]
    metrics: Mapping[str, str]
    reference: str = ""
    reference_name: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    unit: str = ""
    users: int = 2000
    days: int = 2
    notes: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    def heading(self, variant: str) -> str:
        """What a variant is called in tables and pictures."""
        if variant == self.reference and self.reference_name:
            return self.reference_name
        return self.variants.get(variant, variant.replace("_", " "))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(variant, against) of every difference that the tables and claims need, each once."""
        wanted = [(variant, self.reference) for variant in self.variants if self.reference]
        wanted += [(part.variant, part.against) for claim in self.claims for part in claim.components]
        return list(dict.fromkeys((one, other) for one, other in wanted if one != other and other))


@cache
def experiments() -> dict[str, Experiment]:
    """All of them by name, in the order of the catalogue.

    Raises:
        EmerError: an entry is not as it must be.
    """
    found: dict[str, Experiment] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, entry in content["experiments"].items():
            try:
                found[name] = _experiment(name, content["paper"], entry)
            except (KeyError, TypeError, ValueError) as error:
                raise EmerError(f"{path.name}: {name} cannot be read, {type(error).__name__}: {error}") from error
    return found


def experiment(name: str) -> Experiment:
    """One of them.

    Raises:
        EmerError: there is none of that name.
    """
    if name not in experiments():
        raise EmerError(f"there is no experiment {name!r}; there are {', '.join(experiments())}")
    return experiments()[name]


def _experiment(name: str, paper: str, entry: dict[str, Any]) -> Experiment:
    content = dict(entry)
    claims = tuple(_claim(one, content) for one in content.pop("claims", []))
    published = content.pop("published", {})
    tables = {log: _table(rows, content["variants"]) for log, rows in published.items()}
    notes = tuple(content.pop("notes", ()))
    return Experiment(name=name, paper=paper, published=tables, notes=notes, claims=claims, **content)


def _table(rows: Mapping[str, Any], variants: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """A row is a list of numbers in the order of the variants, or names them."""
    table = {}
    for metric, row in rows.items():
        if isinstance(row, list):
            row = dict(zip(variants, row, strict=True))
        table[metric] = {variant: float(value) for variant, value in row.items() if value is not None}
    return table


def _claim(entry: dict[str, Any], content: dict[str, Any]) -> Claim:
    """A claim's components: each ``variant`` against each of ``against`` in each metric.

    ``metrics`` may be ``all``, the table's, and a leading ``-`` says that less is claimed.
    """
    content_metrics = list(content["metrics"])
    parts = []
    for test in entry.get("tests", []):
        metrics = test["metrics"]
        metrics = content_metrics if metrics == "all" else [metrics] if isinstance(metrics, str) else metrics
        for variant in _listed(test["variant"]):
            for against in _listed(test["against"]):
                for metric in metrics:
                    sign = -1 if metric.startswith("-") else 1
                    parts.append(
                        Component(variant, against, metric.removeprefix("-"), sign, float(test.get("margin", 0.0)))
                    )
    if bool(parts) == bool(entry.get("why_not")):
        raise ValueError(f"claim {entry['key']} needs either tests or why_not")
    return Claim(
        key=str(entry["key"]),
        says=entry["says"],
        components=tuple(parts),
        tested=entry.get("tested", ""),
        why_not=entry.get("why_not", ""),
        logs=tuple(entry.get("logs", ())),
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
