"""The profile as one self-contained HTML page, from the content alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from emer.data.profile.page_pxtrs import calibration, correlations, orders, pxtrs
from emer.pages.html import Cell, figure, folded, page, paragraph, section, side, table, text
from emer.pages.pictures import ranges, steps

Content = Mapping[str, Any]


def profile_page(content: Content) -> str:
    """HTML of a content made by :func:`emer.data.profile.content.profile_folder`: every number of it, in tables and,
    where that helps, pictures."""
    sections = {
        "warnings": ("Warnings", warnings(content)),
        "requests": ("Requests", requests(content)),
        "feedback": ("Feedback", feedback(content)),
        "pxtrs": ("Pxtrs", pxtrs(content)),
        "calibration": ("Calibration", calibration(content)),
        "orders": ("What orders the feedback", orders(content)),
        "correlations": ("Correlations", correlations(content)),
        "features": ("Features", features(content)),
        "splits": ("Splits against each other", between(content)),
    }
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in sections.items())
    head = f"<h1>Profile of {text(content['name'])}</h1>{about(content)}<nav>{links}</nav>"
    parts = [section(key, title, body) for key, (title, body) in sections.items()]
    return page(f"Profile of {content['name']}", [head, *parts])


def about(content: Content) -> str:
    """Where the data come from."""
    facts = dict(content["about"])
    faults = facts.pop("known_faults", [])
    described = paragraph(content["described"]) if content["described"] else ""
    said = table(["source", ""], [[key, str(value)] for key, value in facts.items()], "What source.json says")
    listed = "".join(f"<li>{escape(str(fault))}</li>" for fault in faults)
    return described + (said if facts else "") + (folded("Known faults", f"<ul>{listed}</ul>") if faults else "")


def warnings(content: Content) -> str:
    """What looks wrong."""
    if not content["warnings"]:
        return paragraph("None.")
    items = []
    for one in content["warnings"]:
        behind = ", ".join(f"{escape(key)} {text(value)}" for key, value in one["numbers"].items())
        mark = "▲ Serious" if one["level"] == "serious" else "● Note"
        items.append(
            f'<li class="{escape(one["level"])}"><span class="level">{mark}: {text(one["subject"])}</span>'
            f" ({text(one['kind'])}): {text(one['text'])}: {behind}; limit {text(one['limit'])}."
            f" <em>What to do:</em> {text(one['advice'])}.</li>"
        )
    return f'<ul class="warnings">{"".join(items)}</ul>'


def requests(content: Content) -> str:
    """Sizes, times and list lengths."""
    splits = content["splits"]

    def row(title: str, *keys: str) -> list[Cell]:
        values: list[Cell] = [title]
        for split in splits.values():
            value: Any = split
            for key in keys:
                value = value.get(key)
            values.append(value)
        return values

    rows: list[list[Cell]] = [
        row("files", "files"),
        row("requests", "requests"),
        row("candidates", "candidates"),
        row("exposed candidates", "exposed"),
        row("of these explored (by chance)", "explored"),
        row("users", "users"),
        row("share of users without train requests", "unseen_users"),
        row("share of requests by these", "unseen_users_requests"),
        row("distinct items", "items"),
        row("items counted exactly", "items_exact"),
        ["first request, UTC", *(moment(c["first_ms"]) for c in splits.values())],
        row("first request, time_ms", "first_ms"),
        ["last request, UTC", *(moment(c["last_ms"]) for c in splits.values())],
        row("last request, time_ms", "last_ms"),
        *(row(f"list length, {key}", "length", key) for key in ("mean", "min", "median", "max")),
        *(row(f"exposed per list, {key}", "shown", key) for key in ("mean", "min", "median", "max")),
        row("lists with fewer than 2 candidates", "lists_of_one"),
        row("lists with fewer than 2 exposed", "lists_without_pair"),
        row("share of lists, all pxtrs constant", "equal_lists"),
    ]
    items = content["items"]
    said = (
        f"Sizes. Distinct items over all splits: {text(items['count'])}; counted exactly: {text(items['exact'])} (else "
        "estimated, with a standard error of 0.4 %)."
    )
    if "all" in splits:
        said += " The folder is flat: training cuts it along time."
    pictures, tables = [], []
    for key, title, x in (
        ("time_ms", "Requests along time", "time of request"),
        ("lengths", "List lengths", "candidates per list"),
        ("shown", "Exposed per list", "exposed candidates per list"),
    ):
        svg, numbers = histogram(content, key, title, x)
        pictures.append(svg)
        tables.append(numbers)
    return side(table(["", *splits], rows, said), *pictures) + folded("Histograms as numbers", side(*tables))


def histogram(content: Content, key: str, title: str, x: str) -> tuple[str, str]:
    """Picture and table of one histogram."""
    edges, counts = content["histograms"][key]["edges"], content["histograms"][key]["counts"]
    names = [day(edge) if key == "time_ms" else text(edge) for edge in edges]
    if key == "watch":
        names.append("∞")
    alt = f"{title}: share of {', '.join(counts)} in each of {len(names) - 1} bins. The numbers stand in a table below."
    unit = "exposed candidates" if key == "watch" else "requests"
    caption = f"{title}. Each split's share of its {unit} per bin ({x})."
    svg = figure(steps(names, counts, x=x, alt=alt), caption)
    rows: list[list[Cell]] = [[edges[i], *(row[i] for row in counts.values())] for i in range(len(names) - 1)]
    if key != "watch":
        rows.append([edges[-1], *("" for _ in counts)])
    return svg, table(["from", *counts], rows, f"{title}: {unit} from each value up to the next")


def feedback(content: Content) -> str:
    """Rates of the labels, watch time, and labels against each other."""
    splits, names = content["splits"], [f["name"] for f in content["schema"]["feedback"]]
    satisfaction = {f["name"]: f["satisfaction"] for f in content["schema"]["feedback"]}
    keys = ("positives", "rate", "low", "high", "lists_with", "lists_mixed")
    rows = [
        [name, satisfaction[name], split, *(c["labels"][name][key] for key in keys)]
        for name in names
        for split, c in splits.items()
    ]
    head = ["label", "satisfaction", "split", "positives", "rate", "low", "high", "lists with", "lists mixed"]
    caption = (
        "Rates among exposed candidates, with Wilson's 95 % interval as if exposures were independent (those of a user "
        "are not: it is too short). Lists with a positive; lists whose exposed candidates differ in the label."
    )
    parts: list[str] = []
    if names:
        bars = [(n, {s: _rate_range(c["labels"][n]) for s, c in splits.items()}) for n in names]
        alt = f"Rates of {', '.join(names)} by split, on a logarithmic axis. The numbers stand in the table beside it."
        svg = ranges(bars, x="positives per exposed candidate", log=True, alt=alt)
        said = "Rate of each label, with its 95 % interval (share of exposed candidates, logarithmic)."
        parts.append(side(figure(svg, said), table(head, rows, caption)))
    else:
        parts.append(paragraph("The schema lists no feedback."))
    watch = {s: c["watch"] for s, c in splits.items() if c["watch"]}
    if watch:
        keys = tuple(next(iter(watch.values())))
        rows = [[key, *(w[key] for w in watch.values())] for key in keys]
        svg, numbers = histogram(content, "watch", "Watch time", "seconds watched, in bins of growing width")
        said = "Seconds watched of exposed candidates; zeros is a share, p01 to p99 are quantiles"
        parts.append(side(svg, table(["watch time (s)", *watch], rows, said)) + folded("Histogram as numbers", numbers))
    negative = {s: c["negative"] for s, c in splits.items() if c["negative"] is not None}
    if negative:
        parts.append(table(["", *negative], [["candidates", *negative.values()]], "Candidates with negative feedback"))
    return "".join(parts)


def features(content: Content) -> str:
    """Numbers and categories."""
    numbers, categories = content["numbers"], content["categories"]
    parts = []
    if numbers:
        keys = list(next(iter(numbers.values())))
        rows: list[list[Cell]] = [[name, *(c[key] for key in keys)] for name, c in numbers.items()]
        parts.append(table(["number", *keys], rows, "Item numbers over all splits; zeros is a share"))
    if categories:
        rows = [[name, c["size"], c["seen"], c["unknown"]] for name, c in categories.items()]
        said = "Categories: ids that there may be, ids that occur, share of the unknown id 0"
        parts.append(table(["category", "size", "seen", "unknown"], rows, said))
    previous = {s: c["previous_score"] for s, c in content["splits"].items() if c["previous_score"]}
    if previous:
        keys = list(next(iter(previous.values())))
        rows = [[key, *(p[key] for p in previous.values())] for key in keys]
        said = "Score of the model that served the request; zeros and constant lists are shares"
        parts.append(table(["previous_score", *previous], rows, said))
    return side(*parts) if parts else paragraph("There are none.")


def between(content: Content) -> str:
    """Overlaps and repetitions."""
    keys = ("not_before", "same_id", "same_request")
    rows = [[f"{o['earlier']}, {o['later']}", *(o[key] for key in keys)] for o in content["overlaps"]]
    head = ["earlier, later", "not before", "same id", "same request"]
    said = (
        "Requests of the earlier split at or after the first of the later one; request ids in both; requests of the "
        "later one with user, time and items of one in the earlier"
    )
    parts = [table(head, rows, said)] if rows else []
    repeated = content["repeated"]
    rows = [[split, c["request_id"], c["user_time"], c["user_time_items"]] for split, c in repeated.items()]
    said = "Requests that stood before in their split: by id; by user and time; by user, time and items"
    parts.append(table(["split", "id", "user, time", "user, time, items"], rows, said))
    return side(*parts)


def moment(time_ms: int) -> str:
    """Date and time in UTC of milliseconds that can be such, after 1990 and before 2100; else a dash."""
    if not 631_152_000_000 <= time_ms < 4_102_444_800_000:
        return "–"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def day(time_ms: int) -> str:
    """Month and day, or the number itself where it is no date."""
    return text(time_ms) if moment(time_ms) == "–" else moment(time_ms)[5:16].removesuffix(" 00:00")


def _rate_range(label: Mapping[str, Any]) -> tuple[float, ...] | None:
    if label["rate"] is None:
        return None
    return label["low"], label["low"], label["rate"], label["high"], label["high"]
