"""A report as one self-contained HTML page, from its content alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from emer.pages.html import SORTING, Cell, folded, page, paragraph, section, table
from emer.reports import page_online, page_pictures, page_tables
from emer.reports.page_tables import SectionContent
from emer.reports.words import plural

_ABSENT = {
    "differences": "Differences",
    "settings": "Settings",
    "curves": "Learning curves",
    "weights": "Evolving weights",
    "losses": "Distribution of the prior loss",
    "fronts": "Pareto fronts",
    "archives": "IPPO's archives",
    "segments": "Segments",
}
_LEVEL = {True: ("serious", "▲"), False: ("note", "●")}
_SERIOUS = ("failed", "interrupted", "running", "unreadable", "duplicate")


def report_page(content: Mapping[str, Any]) -> str:
    """HTML of a content made by :func:`emer.reports.content.report_content`."""
    parts = [section("compared", "What was compared", problems(content), overview(content["overview"]))]
    links = [("compared", "What was compared")]
    for i, one in enumerate(content["sections"]):
        key = f"log{i}"
        parts.append(section(key, f"Log {one['name']}", *_log(one, key)))
        links.append((key, f"Log {one['name']}"))
    if content["online"]:
        parts.append(section("online", "Online", page_online.online(content["online"])))
        links.append(("online", "Online"))
    listed = "".join(f'<a href="#{key}">{escape(words)}</a>' for key, words in links)
    head = f"<h1>{escape(content['title'])}</h1><nav>{listed}</nav>"
    return page(content["title"], [head, *parts], SORTING)


def problems(content: Mapping[str, Any]) -> str:
    """Runs that are not in the tables, and what makes the others hard to compare."""
    items = [(f"{one['kind']}: {one['run']}", one["why"], one["kind"] in _SERIOUS) for one in content["problems"]]
    items += [("note", words, False) for words in content["overview"]["warnings"]]
    if not items:
        return paragraph("No run failed, is missing, or was run twice.")
    listed = [
        f'<li class="{_LEVEL[bad][0]}"><span class="level">{_LEVEL[bad][1]} {escape(what)}</span>: {escape(why)}</li>'
        for what, why, bad in items
    ]
    shown = f'<ul class="warnings">{"".join(listed[:10])}</ul>'
    rest = f'<ul class="warnings">{"".join(listed[10:])}</ul>'
    return shown + (folded(f"{len(listed) - 10} more", rest) if len(listed) > 10 else "")


def overview(content: Mapping[str, Any]) -> str:
    """Counts, commits, machines, dates."""
    written = content["written"]
    rows: list[list[Cell]] = [
        ["runs found", content["found"]],
        ["of these finished", content["finished"]],
        ["of these in the tables", content["counted"]],
        ["methods", content["methods"]],
        ["logs", ", ".join(content["logs"]) or "none"],
        ["commits", _counted(content["commits"])],
        ["machines", _counted(content["machines"])],
        ["last written, UTC", " to ".join(dict.fromkeys(written)) or "–"],
    ]
    return table(["", ""], [[name, str(value)] for name, value in rows], "Runs", wrap=True)


def _counted(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name} ({plural(number, 'run')})" for name, number in counts.items()) or "–"


def _log(one: SectionContent, key: str) -> list[str]:
    """The parts of one log."""
    parts: dict[str, tuple[str, Callable[[SectionContent], str]]] = {
        "table": ("Methods", page_tables.methods),
        "differences": (f"Differences from {one['reference']}", page_tables.against_reference),
        "pairwise": ("Every pair of methods", page_tables.matrix),
        "settings": ("Settings that differ", page_tables.settings),
        "objectives": ("By objective", lambda s: page_tables.objectives(s) + page_pictures.radars(s)),
        "curves": ("Learning curves", page_pictures.learning),
        "weights": ("Evolving weights", page_pictures.evolving),
        "losses": ("Distribution of the prior loss", page_pictures.prior_losses),
        "fronts": ("Pareto fronts", page_pictures.pareto),
        "archives": ("IPPO's archives", page_pictures.ippo),
        "costs": ("Cost and quality", page_pictures.costs),
        "segments": ("By segment", page_tables.segments),
    }
    shown = []
    for name, (words, make) in parts.items():
        if name == "pairwise" and len(one["table"]) < 3:
            continue  # the differences say it all
        if name in one["absent"]:
            continue
        if body := make(one):
            shown.append(f'<h3 id="{key}-{name}">{escape(words)}</h3>{body}')
    if one["absent"]:
        listed = "".join(f"<li>{_ABSENT[name]}: {escape(why)}.</li>" for name, why in one["absent"].items())
        shown.append(f'<h3 id="{key}-absent">Not shown</h3><ul>{listed}</ul>')
    return shown
