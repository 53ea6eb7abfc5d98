"""Who asked when for what: overlaps and repetitions within splits and among them.

This alone grows with the log, by 32 bytes per request.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from emer.data.metadata import SPLITS
from emer.data.profile.samples import hashed
from emer.data.table import RequestTable


class Identity:
    """Ids, times and a fingerprint of each request of a split."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, table: RequestTable) -> None:
        """Add the requests of ``table``."""
        # A sum of hashes is one of the set: in whatever order the items stand.
        items = np.add.reduceat(hashed(table.item_id), table.offsets[:-1])
        whole = hashed(table.user_id, table.time_ms, items)
        self._parts.append(np.stack([table.request_id, table.user_id, table.time_ms, whole.view(np.int64)]))

    def _row(self, row: int) -> np.ndarray:
        return np.concatenate([part[row] for part in self._parts])

    @property
    def request_id(self) -> np.ndarray:
        return self._row(0)

    @property
    def user_id(self) -> np.ndarray:
        return self._row(1)

    @property
    def time_ms(self) -> np.ndarray:
        return self._row(2)

    @property
    def whole(self) -> np.ndarray:
        """(R,) int64 equal for requests of the same user, time and set of items."""
        return self._row(3)


def users_content(parts: Mapping[str, Identity]) -> dict[str, dict[str, Any]]:
    """By split: distinct ``users``; and where there is a train split, the share of the ``requests`` (and of the
    ``unseen_users``) whose user has none there."""
    users = {name: part.user_id for name, part in parts.items()}
    content: dict[str, dict[str, Any]] = {}
    for name, mine in users.items():
        distinct = np.unique(mine)
        content[name] = {"users": int(distinct.size)}
        if name != "train" and "train" in users:
            content[name] |= {
                "unseen_users": float(np.isin(distinct, users["train"], invert=True).mean()),
                "unseen_users_requests": float(np.isin(mine, users["train"], invert=True).mean()),
            }
    return content


def overlap_content(parts: Mapping[str, Identity]) -> list[dict[str, Any]]:
    """For each two splits: how many requests of the earlier do not lie before the later, and which both hold."""
    found = []
    for one, other in combinations([name for name in SPLITS if name in parts], 2):
        a, b = parts[one], parts[other]
        found.append(
            {
                "earlier": one,
                "later": other,
                "not_before": int((a.time_ms >= b.time_ms.min()).sum()),
                "same_id": int(np.intersect1d(a.request_id, b.request_id).size),
                "same_request": int(np.isin(b.whole, a.whole).sum()),
            }
        )
    return found


def repeated_content(parts: Mapping[str, Identity]) -> dict[str, dict[str, int]]:
    """By split, requests that stood before in it: by id, by user and time, and by user, time and items."""
    content = {}
    for name, part in parts.items():
        moment = hashed(part.user_id, part.time_ms)
        rows = {"request_id": part.request_id, "user_time": moment, "user_time_items": part.whole}
        content[name] = {key: int(values.size - np.unique(values).size) for key, values in rows.items()}
    return content
