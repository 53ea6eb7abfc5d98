"""The stored ranks of a request table: computed once per log, for raw and for IPUT targets."""

from __future__ import annotations

import numpy as np

from emer.ranking import rank_gap_ragged
from emer.requests import Schema


def rank_gaps(pxtr: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(T, K) int16 rank gaps of (T, K) ``pxtr`` (:func:`emer.ranking.rank_gap_ragged` per objective)."""
    gaps = np.empty(pxtr.shape, dtype=np.int16)
    for k in range(pxtr.shape[1]):
        gaps[:, k] = rank_gap_ragged(pxtr[:, k], offsets)
    return gaps


def iput_rank_gaps(
    schema: Schema, pxtr: np.ndarray, raw: np.ndarray, offsets: np.ndarray, iput_floor: float
) -> np.ndarray:
    """(T, K) int16 rank gaps of the IPUT targets (EMER eq. 10).

    Interaction pxtrs are divided by max(predicted watch time, ``iput_floor`` seconds) in float32, as
    :meth:`emer.requests.RequestBatch.iput_pxtr` does; the other columns are those of ``raw``.
    """
    if schema.watch_index is None:
        return raw
    gaps = raw.copy()
    watch = np.maximum(pxtr[:, schema.watch_index], np.float32(iput_floor))
    for k in schema.interaction_indices:
        gaps[:, k] = rank_gap_ragged(pxtr[:, k] / watch, offsets)
    return gaps
