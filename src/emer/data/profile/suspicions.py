"""What looks wrong in a profile: each with the numbers behind it, the limit they crossed, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RARE = 100
"""Positives of a label in a split."""
MIXED = 0.02
"""Share of the lists with two exposed candidates in which a label tells any two apart."""
LEAK_PXTR, LEAK_NUMBER = 0.99, 0.95
"""GAUC or AUC (either way round), or correlation, that no honest prediction or feature reaches."""
EVIDENCE = 30
"""Lists, or positives and negatives, that a suspicion of leakage needs, and rows of a bin of calibration: fewer than
these, or than RARE positives, are off by chance."""
MISCALIBRATED = 0.5
"""ECE as a share of the base rate."""
WITHOUT_PAIR, SHORT, UNSEEN = 0.2, 0.05, 0.2
"""Shares of requests: fewer than two exposed; fewer than two candidates; of users without training requests."""
OUTLIER = 20
"""Longest watch time as a multiple of the 99 % quantile."""
FLAT = 0.2
"""Share of the lists in which a pxtr is constant."""
EQUAL = 0.01
"""Share of the lists in which every pxtr is constant."""

Splits = Mapping[str, Any]


def suspicions(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Suspicions about the content of a profile, the serious ones first.

    Returns:
        For each: ``kind``, ``level`` (``serious`` or ``note``), ``subject``, ``text``, ``advice``, ``numbers`` by split
        (or by what they are of) and the ``limit`` that these crossed.
    """
    splits = content["splits"]
    found = [
        *_leaks(content),
        *_between_splits(content),
        *_repeated(content),
        *_labels(splits),
        *_calibration(splits),
        *_lists(content),
        *_columns(content),
        *_watch(splits),
    ]
    return sorted(found, key=lambda one: one["level"] != "serious")


def _one(
    kind: str,
    subject: str,
    numbers: Mapping[str, float],
    limit: float,
    text: str,
    advice: str,
    *,
    serious: bool = False,
) -> dict[str, Any]:
    level = "serious" if serious else "note"
    return {
        "kind": kind,
        "level": level,
        "subject": subject,
        "numbers": dict(numbers),
        "limit": limit,
        "text": text,
        "advice": advice,
    }


def _leaks(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    splits = content["splits"]
    for objective in content["schema"]["objectives"]:
        name = objective["name"]
        quality = {s: c["quality"][name] for s, c in splits.items() if name in c["quality"]}
        high = {
            s: q["gauc"]
            for s, q in quality.items()
            if q["gauc"] is not None and q["lists"] >= EVIDENCE and q["gauc"] > LEAK_PXTR
        }
        if high:
            target = next(iter(quality.values()))["target"]
            text = f"within lists the pxtr orders its own {target} almost without error (GAUC)"
            advice = "make it with a model that has not seen these outcomes"
            yield _one("leaking_pxtr", name, high, LEAK_PXTR, text, advice, serious=True)
    for number, pooled in content["correlations"]["numbers"].items():
        for target in content["gauc"][f"number_{number}"]:
            told = _number_evidence(content, number, target, pooled.get(target, {}))
            high = {k: v for k, v in told.items() if (abs(v) if k == "r" else max(v, 1 - v)) > LEAK_NUMBER}
            if high:
                text = f"the item number all but tells {target}"
                advice = "drop it if it is measured after the exposure"
                yield _one("leaking_number", number, high, LEAK_NUMBER, text, advice, serious=True)


def _number_evidence(
    content: Mapping[str, Any], number: str, target: str, pooled: Mapping[str, float | None]
) -> dict[str, float]:
    """``gauc`` within lists, and for labels pooled ``r`` and ``auc``, as far as they rest on enough."""
    within, splits = content["gauc"][f"number_{number}"][target], content["splits"].values()
    found = {"gauc": within["gauc"]} if within["lists"] >= EVIDENCE else {}
    if pooled:
        positives, exposed = (sum(c["labels"][target]["positives"] for c in splits), sum(c["exposed"] for c in splits))
        if EVIDENCE <= positives <= exposed - EVIDENCE:
            found |= {key: value for key, value in pooled.items() if value is not None}
    return found


def _between_splits(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for pair in content["overlaps"]:
        earlier, later = pair["earlier"], pair["later"]
        subject = f"{earlier}, {later}"
        if pair["not_before"]:
            text = f"requests of {earlier} are not earlier than the first of {later}"
            advice = "cut the log along time, or read the results as no forecast"
            numbers = {"requests": pair["not_before"]}
            yield _one("time_overlap", subject, numbers, 0, text, advice, serious=later == "test")
        if pair["same_id"]:
            advice = "give every request an id of its own; EMER refuses to train on these"
            yield _one(
                "shared_id", subject, {"requests": pair["same_id"]}, 0,
                "request ids stand in both splits", advice, serious=True,
            )  # fmt: skip
        if pair["same_request"]:
            text = f"requests of {later} have user, time and items of one in {earlier}"
            advice = "remove them from one of the two splits"
            numbers = {"requests": pair["same_request"]}
            yield _one("shared_request", subject, numbers, 0, text, advice, serious=True)
    unseen = {s: c["unseen_users_requests"] for s, c in content["splits"].items() if "unseen_users_requests" in c}
    high = {s: share for s, share in unseen.items() if share > UNSEEN}
    if high:
        text = "share of requests whose user has none in train"
        yield _one("unseen_users", "users", high, UNSEEN, text, "expect little of what depends on the user alone")


def _repeated(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, text, advice, serious in (
        ("request_id", "request ids that stood before in their split", "give every request an id of its own", True),
        (
            "user_time_items",
            "requests with user, time and items of an earlier one in their split",
            "remove the copies; they weigh double",
            True,
        ),
        (
            "user_time",
            "requests with user and time of an earlier one in their split",
            "check that these are not parts of one request",
            False,
        ),
    ):
        high = {s: c[key] for s, c in content["repeated"].items() if c[key]}
        if high:
            yield _one(f"repeated_{key}", key, high, 0, text, advice, serious=serious)


def _labels(splits: Splits) -> Iterator[dict[str, Any]]:
    without = {s: 0 for s, c in splits.items() if c["exposed"] == 0}
    if without:
        advice = "fill the column exposed; nothing can be learnt from feedback or measured on it"
        yield _one("no_exposure", "exposed", without, 1, "no candidate is marked as exposed", advice, serious=True)
    shown = {s: c for s, c in splits.items() if c["exposed"]}
    for label in next(iter(splits.values()))["labels"]:
        rare = {s: n for s, c in shown.items() if (n := c["labels"][label]["positives"]) < RARE}
        if rare:
            advice = "mark its objective as noisy, and read no conclusion from its figures"
            yield _one("rare_label", label, rare, RARE, "positives of the label", advice)
        alike = {
            s: share
            for s, c in shown.items()
            if s not in rare and (share := _mixed_share(c, label)) is not None and share < MIXED
        }
        if alike:
            text = "share of lists in which the label tells any two exposed candidates apart"
            advice = "GAUC and pairs of this label rest on those lists alone"
            yield _one("single_class_lists", label, alike, MIXED, text, advice)


def _mixed_share(split: Mapping[str, Any], label: str) -> float | None:
    lists = split["requests"] - split["lists_without_pair"]
    return split["labels"][label]["lists_mixed"] / lists if lists else None


def _calibration(splits: Splits) -> Iterator[dict[str, Any]]:
    names = dict.fromkeys(name for c in splits.values() for name in c["quality"])
    for name in names:
        off = {}
        for split, c in splits.items():
            q = c["quality"].get(name)
            if q is None or q["rows"] < EVIDENCE * len(q["bins"]["rows"]):
                continue
            enough = q["target"] not in c["labels"] or c["labels"][q["target"]]["positives"] >= RARE
            if enough and q["ece"] > MISCALIBRATED * q["actual"] > 0:
                off[split] = q["ece"] / q["actual"]
        if off:
            text = "expected calibration error as a share of the mean outcome"
            advice = "recalibrate it: IPUT, DCG and fusion formulas use the size of a pxtr"
            yield _one("miscalibrated", name, off, MISCALIBRATED, text, advice)


def _lists(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    splits = content["splits"]
    for kind, subject, key, limit, text, advice in (
        (
            "few_exposed", "exposed", "lists_without_pair", WITHOUT_PAIR,
            "share of requests with fewer than two exposed candidates",
            "they hold no pair of feedback to learn from or to measure",
        ),
        (
            "short_lists", "candidates", "lists_of_one", SHORT,
            "share of requests with a single candidate", "there is nothing to rank in them; leave them out",
        ),
    ):  # fmt: skip
        high = {s: c[key] / c["requests"] for s, c in splits.items() if c["exposed"] or key == "lists_of_one"}
        high = {s: share for s, share in high.items() if share > limit}
        if high:
            yield _one(kind, subject, high, limit, text, advice)
    equal = {s: c["equal_lists"] for s, c in splits.items() if (c["equal_lists"] or 0) > EQUAL}
    if equal:
        text = "share of lists whose candidates all have the same pxtrs"
        advice = "find out why the pxtrs were missing or filled with a default"
        yield _one("equal_pxtrs", "pxtr", equal, EQUAL, text, advice, serious=True)
    for objective in content["schema"]["objectives"]:
        name = objective["name"]
        flat = {s: share for s, c in splits.items() if (share := c["pxtr"][name]["constant_lists"] or 0) > FLAT}
        if flat and not _constant(content, name):
            text = "share of lists in which the pxtr is the same for all candidates"
            yield _one("flat_pxtr", name, flat, FLAT, text, "it orders nothing there; check how it is filled")


def _constant(content: Mapping[str, Any], objective: str) -> bool:
    spreads = [c["pxtr"][objective] for c in content["splits"].values()]
    return min(s["min"] for s in spreads) == max(s["max"] for s in spreads)


def _columns(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = [o["name"] for o in content["schema"]["objectives"]]
    first = next(iter(content["splits"].values()))
    constant = {f"pxtr_{n}": first["pxtr"][n]["min"] for n in names if _constant(content, n)}
    constant |= {f"number_{n}": c["min"] for n, c in content["numbers"].items() if c["min"] == c["max"]}
    previous = [c["previous_score"] for c in content["splits"].values() if c["previous_score"] is not None]
    if previous and min(p["min"] for p in previous) == max(p["max"] for p in previous):
        constant["previous_score"] = previous[0]["min"]
    for column, value in constant.items():
        text = "the column has one value only"
        yield _one("constant_column", column, {"value": value}, 1, text, "fill it, or leave it out of the schema")
    for column, c in content["categories"].items():
        if c["seen"] == 1:
            text = "ids of the category that occur"
            advice = "fill it, or leave it out of the schema"
            yield _one("constant_column", column, {"ids": 1}, 1, text, advice)


def _watch(splits: Splits) -> Iterator[dict[str, Any]]:
    far = {
        s: c["watch"]["max"] / c["watch"]["p99"]
        for s, c in splits.items()
        if c["watch"] and c["watch"]["p99"] and c["watch"]["max"] > OUTLIER * c["watch"]["p99"]
    }
    if far:
        text = "longest watch time as a multiple of the 99 % quantile"
        advice = "cut it at a plausible length: means and totals hang on it"
        yield _one("watch_outlier", "watch_time", far, OUTLIER, text, advice)
