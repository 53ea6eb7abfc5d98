"""A report as Markdown: the tables of its page, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emer.reports.comparison import COMPARED
from emer.reports.page_online import TITLES, interval
from emer.reports.page_tables import SectionContent
from emer.reports.runs import COSTS
from emer.reports.words import count, four, p_value, plural, seeds, signed, sure, title, with_error


def report_markdown(content: Mapping[str, Any]) -> str:
    """Markdown of a content made by :func:`emer.reports.content.report_content`."""
    parts = [f"# {_plain(content['title'])}", _overview(content), _problems(content)]
    for section in content["sections"]:
        parts += [f"## Log {_plain(section['name'])}", _methods(section), _differences(section), _fronts(section)]
        parts.append(_absent(section))
    parts += [_online(result) for result in content["online"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(content: Mapping[str, Any]) -> str:
    of = content["overview"]
    text = f"{plural(of['found'], 'run')} found, {of['finished']} finished, {of['counted']} in the tables."
    text += f" Commits: {', '.join(of['commits']) or 'none'}. Machines: {'; '.join(of['machines']) or 'none'}."
    if of["written"]:
        text += f" Last written {' to '.join(dict.fromkeys(of['written']))} UTC."
    return _plain(text)


def _problems(content: Mapping[str, Any]) -> str:
    lines = [f"- **{one['kind']}: {_plain(one['run'])}**: {_plain(one['why'])}" for one in content["problems"]]
    lines += [f"- {_plain(words)}" for words in content["overview"]["warnings"]]
    return "\n".join(lines)


def _methods(section: SectionContent) -> str:
    rows = []
    for row in section["table"]:
        values = [with_error(row["values"][name]) for name in COMPARED]
        rows.append([row["method"], seeds(row["seeds"]), *values, *(count(row["costs"][name]) for name in COSTS)])
    rows.append(["*random order (expected)*", "", *(four(section["floors"][name]) for name in COMPARED), "", "", ""])
    said = (
        f"Mean over seeds ± half the 95 % interval, {section['requests']:,} test requests of {section['users']:,} "
        "users. Intervals count users and seeds, those of the sum of label AUCs the seeds alone."
    )
    head = ["method", "seeds", *map(title, COMPARED), "parameters", "rows/s", "seconds"]
    return f"{said}\n\n{_table(head, rows)}"


def _differences(section: SectionContent) -> str:
    if not section["differences"]:
        return ""
    order = [row["method"] for row in section["table"]]
    found = sorted(section["differences"], key=lambda row: order.index(row["method"]))
    rows = [[row["method"], *(_difference(row["metrics"][name]) for name in COMPARED)] for row in found]
    said = (
        f"Difference from {_plain(section['reference'])} ± half the 95 % interval, request by request on the seeds "
        "that both have (p as it is; p by Holm over the whole table); bold where the latter is below 0.05."
    )
    note = f"{_plain(section['reference_note'])} " if section["reference_note"] else ""
    return f"{note}{said}\n\n{_table(['method', *map(title, COMPARED)], rows)}"


def _difference(found: Mapping[str, Any]) -> str:
    text = f"**{signed(found)}**" if sure(found) else signed(found)
    return text if found["p"] is None else f"{text} ({p_value(found['p'])}; {p_value(found['holm'])})"


def _fronts(section: SectionContent) -> str:
    rows = []
    for front in section["fronts"]:
        there = [point["method"] for point in front["points"] if point["front"]]
        rows.append([", ".join(map(title, front["metrics"])), ", ".join(there), f"{front['volume']:.6f}"])
    return "Pareto fronts:\n\n" + _table(["metrics", "on the front", "hypervolume"], rows) if rows else ""


def _absent(section: SectionContent) -> str:
    return "\n".join(f"- Not shown, {name}: {_plain(why)}." for name, why in section["absent"].items())


def _online(result: Mapping[str, Any]) -> str:
    rows = [[e["arm"], e["metric"], e["kind"], e["design"], interval(e)] for e in result["effects"]]
    head = ["arm", "metric", "kind", "design", "difference, %"]
    said = f"Difference from {_plain(result['base'])} in per cent, with its 95 % interval."
    return f"## {TITLES[result['kind']]} {_plain(result['folder'])}\n\n{said}\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(words: str) -> str:
    return _plain(words).replace("|", "\\|")


def _plain(words: str) -> str:
    """Without what Markdown would take for HTML, and on one line."""
    return " ".join(words.replace("&", "&amp;").replace("<", "&lt;").split())
