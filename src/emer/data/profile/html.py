"""Pieces of a page: escaped text, tables, figures, and the one sheet of styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from emer.data.profile.pictures import number

Cell = str | int | float | bool | None

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; padding: 0 16px 48px;
  max-width: 1320px; }
h1 { font-size: 1.5em; margin: 20px 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2em; margin: 36px 0 8px; border-bottom: 1px solid #bbb; }
h3 { font-size: 1em; margin: 18px 0 6px; }
p { max-width: 75ch; margin: 6px 0; }
nav a { margin-right: 14px; white-space: nowrap; }
.side { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; }
.side > * { min-width: 0; max-width: 100%; }
figure { margin: 0; flex: 0 1 380px; }
figure.narrow { flex-basis: 284px; } figure.table { flex: 0 1 auto; }
figure svg { display: block; max-width: 100%; height: auto; font-family: system-ui, sans-serif; }
figcaption { font-size: 0.87em; color: #444; padding: 4px 0; max-width: 75ch; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.87em; }
th, td { padding: 2px 9px; text-align: right; font-variant-numeric: tabular-nums; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; } th:first-child, .text { text-align: left; }
tbody th { position: sticky; left: 0; background: #fff; min-width: 8em; }
thead th { border-bottom: 1px solid #888; vertical-align: bottom; }
ul.warnings { padding: 0; list-style: none; }
ul.warnings li { border-left: 5px solid #888; padding: 3px 10px; margin: 7px 0; max-width: 100ch; }
ul.warnings li.serious { border-left-color: #b03000; background: #fff4ec; }
.level { font-weight: 700; }
summary { cursor: pointer; color: #333; font-size: 0.87em; margin: 6px 0; }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; } nav { display: none; }
  figure, li, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } .wide { overflow: visible; }
}
"""


def text(value: Cell) -> str:
    """``value`` as it stands on the page: numbers with four digits, words escaped, a dash for None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(value) if isinstance(value, str) else number(value)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str) -> str:
    """A table whose first column names the rows."""
    listed = [list(row) for row in rows]
    words = [isinstance(cell, str) for cell in listed[0]] if listed else [False] * len(head)
    top = "".join(f"<th{_LEFT * left}>{escape(name)}</th>" for name, left in zip(head, words, strict=True))
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(_cell(value) for value in rest)}</tr>'
        for first, *rest in listed
    )
    return (
        f'<figure class="table"><figcaption>{escape(caption)}</figcaption><div class="wide"><table><thead><tr>{top}'
        f"</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


_LEFT = ' class="text"'


def _cell(value: Cell) -> str:
    return f"<td{_LEFT * isinstance(value, str)}>{text(value)}</td>"


def folded(summary: str, *parts: str) -> str:
    """Parts that are shown when asked for."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def figure(svg: str, caption: str, narrow: bool = False) -> str:
    """A picture with its caption."""
    kind = ' class="narrow"' * narrow
    return f"<figure{kind}>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def side(*parts: str) -> str:
    """Parts beside each other where there is room."""
    return f'<div class="side">{"".join(parts)}</div>'


def paragraph(words: str) -> str:
    """Text."""
    return f"<p>{escape(words)}</p>"


def section(key: str, title: str, *parts: str) -> str:
    """A headed part of the page."""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def page(title: str, sections: Iterable[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )
