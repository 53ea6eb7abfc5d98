"""Numbers as a report's page and Markdown show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SURE = 0.05
"""Holm's p below which a difference is in bold."""

TITLES = {
    "label_gauc/mean": "label GAUC",
    "label_auc/sum": "label AUC, sum",
    "pxtr_gauc/mean": "pxtr GAUC",
    "iput_gauc/mean": "IPUT GAUC",
    "pxtr_gauc/watch": "pxtr GAUC, consumption",
    "pxtr_gauc/interaction": "pxtr GAUC, interactions",
    "label_gauc": "label GAUC",
    "pxtr_gauc": "pxtr GAUC",
    "iput_gauc": "IPUT GAUC",
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "val/label_gauc/mean": "validation label GAUC",
    "val/pxtr_gauc/mean": "validation pxtr GAUC",
}

Interval = Mapping[str, Any]


def title(name: str) -> str:
    """What a metric is called in text."""
    return TITLES.get(name, name)


def four(value: float | None) -> str:
    """Four decimals, a dash for None."""
    return "–" if value is None else f"{value:.4f}"


def count(value: float | None) -> str:
    """Thousands parted, a dash for None; small ones with what makes them differ."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_error(interval: Interval) -> str:
    """Estimate ± half its interval."""
    if interval["estimate"] is None or interval["low"] is None:
        return four(interval["estimate"])
    return f"{interval['estimate']:.4f} ± {half(interval):.4f}"


def signed(interval: Interval, digits: int = 4) -> str:
    """The same with the sign, for differences."""
    if interval["estimate"] is None:
        return "–"
    text = f"{interval['estimate']:+.{digits}f}"
    return text if interval["low"] is None else f"{text} ± {half(interval):.{digits}f}"


def half(interval: Interval) -> float:
    """Half the width."""
    return float(interval["high"] - interval["low"]) / 2


def p_value(p: float | None) -> str:
    """Three decimals, or that it is below."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def sure(interval: Interval) -> bool:
    """Whether Holm's p is below :data:`SURE`."""
    return interval["holm"] is not None and interval["holm"] < SURE


def leaves_out_0(low: float | None, high: float | None) -> bool:
    """Whether an interval, where there is one, lies on one side of 0."""
    return low is not None and high is not None and (low > 0 or high < 0)


def setting(value: Any, most: int) -> str:
    """A setting's value in at most ``most`` characters."""
    words = value if isinstance(value, str) else json.dumps(value, default=str)
    return words if len(words) <= most else words[: most - 1] + "…"


def seeds(found: list[int]) -> str:
    """How many, and which."""
    return f"{len(found)} ({', '.join(map(str, found))})" if len(found) <= 5 else str(len(found))


def plural(number: int, one: str) -> str:
    """``3 runs``, ``1 run``."""
    return f"{number:,} {one}" + "s" * (number != 1)
