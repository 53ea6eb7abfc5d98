"""Training data with fewer positives of a label, to see what rarity does to a method (HarmonRank, Table 10)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from emer.data.table import RequestTable
from emer.errors import EmerError


def check_shares(keep: Mapping[str, float]) -> None:
    """Raises:
    EmerError: a share is no number in [0, 1].
    """
    for name, share in keep.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise EmerError(f"loader.keep_positives.{name} is {share!r}; it must be a share from 0 to 1")


def thin_positives(table: RequestTable, keep: Mapping[str, float], seed: int) -> RequestTable:
    """The same requests, in which only some of a label's positives were shown.

    A positive that is left out counts as never exposed: it loses all its labels, its watch time and its negative
    feedback, and stays a candidate with its pxtrs. So the other labels lose a few positives too.

    Args:
        table: training requests.
        keep: label -> share of its positives to keep, rounded up to whole ones.
        seed: of the draw; another one keeps others.

    Raises:
        EmerError: a share is out of range, or the log has no such label.
    """
    check_shares(keep)
    exposed = table.exposed.copy()
    for name, share in keep.items():
        if name not in table.schema.feedback_names:
            known = ", ".join(table.schema.feedback_names) or "none"
            raise EmerError(f"loader.keep_positives names {name}; the log's labels are {known}")
        column = table.schema.feedback_names.index(name)
        positives = np.flatnonzero(exposed & table.label[:, column])
        kept = math.ceil(share * positives.size)
        drawn = np.random.default_rng([seed, column]).permutation(positives)
        exposed[drawn[kept:]] = False

    def blank(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else np.where(exposed, values, values.dtype.type(0))

    return replace(
        table,
        exposed=exposed,
        explored=blank(table.explored),
        label=table.label & exposed[:, None],
        watch_time=blank(table.watch_time),
        negative=blank(table.negative),
    )
