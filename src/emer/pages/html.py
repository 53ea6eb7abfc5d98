"""Pieces of a page: escaped text, tables, figures, and the one sheet of styles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from emer.pages.svg import number


class Shown(NamedTuple):
    """A number as it is to be shown.

    Attributes:
        words: what stands in the cell.
        value: what a column is sorted by, in full precision; None goes last.
        fill: colour behind it, ``#rrggbb``.
        strong: in bold.
        hint: what a pointer that rests on it says.
    """

    words: str
    value: float | None = None
    fill: str = ""
    strong: bool = False
    hint: str = ""


Cell = str | int | float | bool | None | Shown

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; padding: 0 16px 48px;
  max-width: 1320px; }
h1 { font-size: 1.5em; margin: 20px 0 4px; }
h1, h2, h3, p, li, figcaption, summary, nav { overflow-wrap: anywhere; }
h2 { font-size: 1.2em; margin: 36px 0 8px; border-bottom: 1px solid #bbb; }
h3 { font-size: 1em; margin: 18px 0 6px; }
p { max-width: 75ch; margin: 6px 0; }
nav a { margin-right: 14px; display: inline-block; }
.side { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; margin: 8px 0; }
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
tfoot th, tfoot td { border-top: 1px solid #888; font-style: italic; }
tfoot th { position: sticky; left: 0; background: #fff; }
td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
td { white-space: nowrap; }
.wrap td, .wrap tbody th { white-space: normal; overflow-wrap: anywhere; }
.wrap td { text-align: left; min-width: 6em; } .wrap tbody th { min-width: 11em; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
th button:focus-visible { outline: 2px solid #0072B2; }
th button::after { content: "\\2195"; color: #999; padding-left: 3px; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: #000; }
th[aria-sort=descending] button::after { content: "\\2193"; color: #000; }
summary { cursor: pointer; color: #333; font-size: 0.87em; margin: 6px 0; }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; } nav { display: none; }
  th button::after { content: "" !important; }
  table { font-size: 7.5pt; } th, td { padding: 1px 4px; white-space: normal; } tbody th { min-width: 0; }
  figure:not(.table), li, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } .wide { overflow: visible; }
}
"""


SORTING = """
for (const table of document.querySelectorAll('table.sort')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const cell = row.cells[i], value = cell.dataset.v;
    return value === undefined ? cell.textContent.trim() : value === '' ? null : Number(value);
  };
  heads.forEach((head, i) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const before = head.getAttribute('aria-sort');
      const numbers = [...body.rows].some(row => typeof key(row, i) === 'number');
      const order = before ? (before === 'ascending' ? -1 : 1) : numbers ? -1 : 1;
      const rows = [...body.rows].map((row, place) => [key(row, i), place, row]);
      rows.sort(([a, p], [b, q]) => {
        if (a === null || b === null) return (a === null) - (b === null) || p - q;
        const less = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
        return order * less || p - q;
      });
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', order > 0 ? 'ascending' : 'descending');
      body.append(...rows.map(([, , row]) => row));
    });
  });
}
"""
"""Makes the heads of sortable tables into buttons. Without it they are plain tables."""


def text(value: Cell) -> str:
    """``value`` as it stands on the page: numbers with four digits, words escaped, a dash for None."""
    if isinstance(value, Shown):
        return f"<b>{escape(value.words)}</b>" if value.strong else escape(value.words)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(value) if isinstance(value, str) else number(value)


def table(
    head: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str, *, foot: Iterable[Sequence[Cell]] = (),
    sort: bool = False, wrap: bool = False,
) -> str:  # fmt: skip
    """A table whose first column names the rows.

    Args:
        head: names of the columns.
        rows: a cell for each column.
        caption: stands above it.
        foot: rows that stay below, however it is sorted.
        sort: its heads sort it, on a page with the script :data:`SORTING`.
        wrap: long words are broken, for cells of text.
    """
    listed = [list(row) for row in rows]
    words = [isinstance(cell, str) for cell in listed[0]] if listed else [False] * len(head)
    top = "".join(f"<th{_LEFT * left}>{escape(name)}</th>" for name, left in zip(head, words, strict=True))
    below = "".join(map(_row, foot))
    body = "".join(map(_row, listed))
    kinds = " ".join(["sort"] * sort + ["wrap"] * wrap)
    start = f'<table class="{kinds}">' if kinds else "<table>"
    end = f"<tfoot>{below}</tfoot></table>" if below else "</table>"
    return (
        f'<figure class="table"><figcaption>{escape(caption)}</figcaption><div class="wide">{start}<thead><tr>{top}'
        f"</tr></thead><tbody>{_breakable(body) if wrap else body}</tbody>{end}</div></figure>"
    )


_LEFT = ' class="text"'


def _breakable(html: str) -> str:
    """Dotted names may be broken after a dot."""
    return re.sub(r"(?<=\w)\.(?=[A-Za-z_])", ".<wbr>", html)


def _row(cells: Sequence[Cell]) -> str:
    first, *rest = cells
    return f'<tr><th scope="row">{text(first)}</th>{"".join(map(_cell, rest))}</tr>'


def _cell(value: Cell) -> str:
    if not isinstance(value, Shown):
        return f"<td{_LEFT * isinstance(value, str)}>{text(value)}</td>"
    said = f' data-v="{"" if value.value is None else repr(value.value)}"'
    said += f' style="background:{value.fill}"' if value.fill else ""
    said += f' title="{escape(value.hint, quote=True)}"' if value.hint else ""
    return f"<td{said}>{text(value)}</td>"


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


def page(title: str, sections: Iterable[str], script: str = "") -> str:
    """The whole document, with an inline script if there is one."""
    last = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(sections)}{last}</body></html>\n"
    )
