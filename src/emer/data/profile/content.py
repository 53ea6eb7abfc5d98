"""The numbers of a profile, as one JSON-like content."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from emer.data.profile.counts import WATCH_EDGES, SplitCounts, wilson
from emer.data.profile.identity import overlap_content, repeated_content, users_content
from emer.data.profile.quality import (
    calibration_content,
    label_correlations,
    number_correlations,
    pxtr_correlations,
    quantiles,
)
from emer.data.profile.samples import Distinct, Sample
from emer.data.profile.suspicions import suspicions
from emer.data.shards import Shards
from emer.data.splits import split_files
from emer.requests import Schema

FORMAT = 1
BARS = 24
"""Most bins of a histogram."""


def profile_folder(
    root: Path | str,
    *,
    schema: Schema | None = None,
    described: str | None = None,
    advance: Callable[[int], None] = lambda requests: None,
) -> dict[str, Any]:
    """Read a folder of request Parquet, laid out as for :func:`emer.data.splits.read_splits`, and say what is in it.

    Memory holds one row group, samples of fixed size and 32 bytes per request.

    Args:
        root: the folder. A flat one is profiled whole, as the split ``all``.
        schema: for files that carry none.
        described: one line about the data.
        advance: told how many requests have been read, after each row group.

    Returns:
        JSON-ready content without NaN; docs/request_format.md says what it holds.

    Raises:
        DataError: the first problem found in the files.
    """
    root = Path(root)
    files = split_files(root)
    split_of = {path: name for name, paths in files.items() for path in paths}
    shards = Shards.index(list(split_of), schema=schema)
    parts: dict[str, SplitCounts] = {}
    for block, file in enumerate(shards.file):
        name, table = split_of[shards.files[file]], shards.block(block)
        if name not in parts:
            parts[name] = SplitCounts(table)
        parts[name].add(table)
        advance(len(table))
    content = _content(parts)
    for name, paths in files.items():
        content["splits"][name]["files"] = len(paths)
    content |= {"format": FORMAT, "name": root.resolve().name, "described": described, **_beside(root)}
    content["warnings"] = suspicions(content)
    return content


def _content(parts: Mapping[str, SplitCounts]) -> dict[str, Any]:
    first = next(iter(parts.values()))
    schema = first.schema
    K = len(schema.objectives)
    identities = {name: part.identity for name, part in parts.items()}
    users = users_content(identities)
    pool = Sample.pooled(part.sample for part in parts.values())
    shown = Sample.pooled(part.shown_sample for part in parts.values())
    lists = _sum(part.lists for part in parts.values())
    items = Distinct.union(part.items for part in parts.values())
    exposed = sum(part.exposed for part in parts.values())
    together = np.sum([part.together for part in parts.values()], axis=0)
    return {
        "schema": schema.to_dict(),
        "splits": {name: {**_split(part), **users[name]} for name, part in parts.items()},
        "items": {"count": items.count, "exact": items.exact},
        "overlaps": overlap_content(identities),
        "repeated": repeated_content(identities),
        "numbers": _numbers(parts.values(), pool.rows[:, K:]),
        "categories": _sum(part.categories for part in parts.values()).content(),
        "correlations": {
            **pxtr_correlations(pool, K),
            "within_lists": lists.spearman(),
            "labels": label_correlations(together, exposed),
            "numbers": number_correlations(shown, schema),
        },
        "gauc": lists.gauc_table(),
        "sampled": {
            "candidates": len(pool.rows),
            "exposed": {name: len(part.shown_sample.rows) for name, part in parts.items()},
        },
        "histograms": _histograms(parts),
    }


def _split(part: SplitCounts) -> dict[str, Any]:
    schema, rows = part.schema, part.sample.rows
    time_ms = part.identity.time_ms
    shown_rows = part.shown_sample.rows
    return {
        "requests": part.requests,
        "candidates": part.candidates,
        "exposed": part.exposed,
        "explored": part.explored if part.has_explored else None,
        "items": part.items.count,
        "items_exact": part.items.exact,
        "first_ms": int(time_ms.min()),
        "last_ms": int(time_ms.max()),
        "length": _of_counts(part.lengths),
        "shown": _of_counts(part.shown),
        "lists_of_one": int(part.lengths[:2].sum()),
        "lists_without_pair": int(part.shown[:2].sum()),
        "labels": {name: _label(part, m) for m, name in enumerate(schema.feedback_names)},
        "watch": {**part.watch.of(0), **quantiles(shown_rows[:, -1])} if part.has_watch else None,
        "negative": part.negatives if part.has_negative else None,
        "previous_score": {**part.previous.of(0), "constant_lists": _share(part.constant_previous, part.compared_lists)}
        if part.has_previous
        else None,
        "pxtr": {
            name: {
                **part.pxtr.of(k),
                "constant_lists": _share(int(part.constant_lists[k]), part.compared_lists),
                "tied_pairs": part.lists.tied_share(k),
                **quantiles(rows[:, k]),
            }
            for k, name in enumerate(schema.objective_names)
        },
        "equal_lists": _share(part.equal_lists, part.compared_lists),
        "quality": calibration_content(part),
    }


def _label(part: SplitCounts, m: int) -> dict[str, Any]:
    positives = int(part.positives[m])
    low, high = wilson(positives, part.exposed) or (None, None)
    return {
        "positives": positives,
        "rate": _share(positives, part.exposed),
        "low": low,
        "high": high,
        "lists_with": int(part.lists_with[m]),
        "lists_mixed": int(part.lists_mixed[m]),
    }


def _numbers(parts: Iterable[SplitCounts], rows: np.ndarray) -> dict[str, dict[str, Any]]:
    listed = list(parts)
    spread = _sum(part.numbers for part in listed)
    names = listed[0].schema.item_numbers
    return {name: {**spread.of(f), **quantiles(rows[:, f])} for f, name in enumerate(names)}


def _of_counts(counts: np.ndarray) -> dict[str, Any]:
    """Mean, extremes and median of values given by how often each occurs."""
    total = int(counts.sum())
    there = np.flatnonzero(counts)
    return {
        "mean": float(np.arange(counts.size) @ counts / total),
        "min": int(there[0]),
        "median": int(np.searchsorted(np.cumsum(counts), (total + 1) // 2)),
        "max": int(there[-1]),
    }


def _histograms(parts: Mapping[str, SplitCounts]) -> dict[str, Any]:
    """Edges and counts by split: of whole numbers, from edge to edge - 1; of times, up to the next edge."""
    found = {}
    for key in ("lengths", "shown"):
        counts = {name: getattr(part, key) for name, part in parts.items()}
        size = max(c.size for c in counts.values())
        edges = np.arange(0, size + (step := -(-size // BARS)), step)
        found[key] = {
            "edges": edges.tolist(),
            "counts": {name: [int(c[a:b].sum()) for a, b in pairwise(edges)] for name, c in counts.items()},
        }
    times = {name: part.identity.time_ms for name, part in parts.items()}
    first, last = min(t.min() for t in times.values()), max(t.max() for t in times.values())
    step = max(1, -(-int(last - first + 1) // BARS))
    edges = first + step * np.arange(-(-int(last - first + 1) // step) + 1)
    found["time_ms"] = {
        "edges": edges.tolist(),
        "counts": {name: np.histogram(t, edges)[0].tolist() for name, t in times.items()},
    }
    if next(iter(parts.values())).has_watch:
        found["watch"] = {
            "edges": list(WATCH_EDGES),
            "counts": {name: part.watch_counts.tolist() for name, part in parts.items()},
        }
    return found


def _beside(root: Path) -> dict[str, Any]:
    """What stands beside the requests: where they come from, and how good their pxtrs were when they were made."""
    source, quality = (_json(root / name) for name in ("source.json", "calibration.json"))
    about = {key: source[key] for key in ("name", "licence", "citation", "home", "requests", "pxtrs") if key in source}
    faults = source.get("known_faults")
    return {
        "about": {**about, "known_faults": faults} if faults else about,
        "out_of_sample": {key: quality.get(key, {}) for key in ("pooled", "by_day")},
    }


def _json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none that can be read, as a user's own file may be anything."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _sum(parts: Iterable[Any]) -> Any:
    """The sum of ``parts`` as a copy of the first."""
    first, *others = parts
    total = copy.deepcopy(first)
    for part in others:
        total += part
    return total
