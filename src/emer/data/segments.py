"""Which segment each request is in, for results that are looked at by kinds of users and videos."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from emer.requests import RequestBatch

LARGEST = 32
"""Categories with more values are no segments: a table of thousands of cities tells nobody anything."""


def request_segments(batches: Iterable[RequestBatch]) -> dict[str, np.ndarray]:
    """``segment/<category>`` -> (R,) int64 value of each request, 0 unknown, in the order of the requests' rows.

    A category of the user is the request's own; of a category of the items, it is the value that most of the shown
    candidates have (the smallest of several, 0 where none was shown).

    Args:
        batches: all requests of a split.
    """
    found: dict[str, list[np.ndarray]] = {}
    rows = []
    for batch in batches:
        rows.append(batch.row.numpy())
        for column, category in enumerate(batch.schema.user_categories):
            if category.size <= LARGEST:
                found.setdefault(category.name, []).append(batch.user_categories[:, column].numpy())
        for column, category in enumerate(batch.schema.item_categories):
            if category.size <= LARGEST:
                ids = torch.where(batch.exposed, batch.item_categories[..., column], 0)
                votes = torch.zeros(len(batch), category.size, dtype=torch.int64)
                votes.scatter_add_(1, ids, batch.exposed.long())
                found.setdefault(category.name, []).append(votes.argmax(dim=1).numpy())
    order = np.argsort(np.concatenate(rows), kind="stable") if rows else np.zeros(0, dtype=np.int64)
    return {f"segment/{name}": np.concatenate(parts)[order] for name, parts in found.items()}
