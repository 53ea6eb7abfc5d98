"""Satisfaction levels of exposed candidates, from the feedback they got (EMER section on the posterior)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from emer.requests import RequestBatch

Level = Literal["three_level", "net_count"]


def satisfaction_level(batch: RequestBatch, rule: Level = "three_level") -> Tensor:
    """Level of each candidate: higher means more satisfied.

    With c the number of distinct positive feedback types (``Schema.positive_indices``):

    - ``three_level`` (resolutions A7, A8): min(c, 2), that is many > one > none; 0 if there is any negative
      feedback, since the paper puts an explicit dislike under "no positive".
    - ``net_count``: c minus the number of negative feedbacks, unbounded.

    Returns:
        (B, N) float32; meaningful where ``batch.exposed``.
    """
    positives = batch.label[..., list(batch.schema.positive_indices)].sum(dim=-1)
    if rule == "net_count":
        return positives if batch.negative is None else positives - batch.negative
    if rule != "three_level":
        raise ValueError(f"level must be 'three_level' or 'net_count', not {rule!r}")
    level = positives.clamp(max=2)
    return level if batch.negative is None else level.masked_fill(batch.negative > 0, 0.0)
