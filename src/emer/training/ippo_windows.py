"""Where IPPO compares its two models: which requests it looks at, and what they say."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.bootstrap import paired_standard_error
from emer.metrics.concordance import concordance_auc
from emer.requests import RequestBatch
from emer.training.ippo import WindowGaucs

log = logging.getLogger(__name__)

READ_REQUESTS = 256
"""Requests of a window that are in memory at a time."""


@dataclass(frozen=True)
class RequestWindow:
    """Requests to judge by: batches that are read anew each time it is iterated over.

    Attributes:
        table: holds them.
        rows: (r,) int, their places in it.
        device: of the batches.
    """

    table: RequestTable
    rows: np.ndarray
    device: torch.device

    def __iter__(self) -> Iterator[RequestBatch]:
        for start in range(0, len(self.rows), READ_REQUESTS):
            yield self.table.batch(self.rows[start : start + READ_REQUESTS]).to(self.device)


def earlier_part(time_ms: np.ndarray, held_out: float) -> np.ndarray:
    """(R,) bool: all but about the last ``held_out`` share of the requests.

    Every one of the earlier part is strictly earlier than every other: the cut moves to the change of timestamp that
    leaves the share nearest to ``held_out``, and warns where that is more than twice or less than half of it. Neither
    part is empty.

    Args:
        time_ms: (R,) int64.
        held_out: in (0, 1).

    Raises:
        EmerError: there are fewer than two distinct timestamps.
    """
    ordered = np.sort(time_ms)
    changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if not changes.size:
        raise EmerError(
            "method.module.held_out takes away the last part of the training requests' time, and these have no two "
            "distinct time_ms; train on a longer log, or judge by the requests to come: method.module.window=next with "
            "loader.shuffle=false and trainer.max_epochs=1"
        )
    cut = changes[np.abs(changes - (1 - held_out) * ordered.size).argmin()]
    share = 1 - cut / ordered.size
    if not held_out / 2 <= share <= 2 * held_out:
        log.warning(
            "method.module.held_out is %g, but %.0f %% of the training requests are held out (%d of %d): requests of "
            "equal time_ms stay together, and there are %d distinct times",
            held_out, 100 * share, ordered.size - cut, ordered.size, changes.size + 1,
        )  # fmt: skip
    return time_ms < ordered[cut]


def round_length(batches: int, rounds: int, accumulate: int) -> int:
    """Batches of each round but perhaps the last, so that an epoch of ``batches`` has at most ``rounds``; whole
    optimiser steps of ``accumulate`` batches."""
    return -(-batches // (rounds * accumulate)) * accumulate


@torch.no_grad()
def window_gaucs(
    reference: nn.Module, base: nn.Module, batches: Iterable[RequestBatch], *, samples: int, seed: int
) -> WindowGaucs:
    """GAUCs of both models for each feedback label over the exposed candidates, and what single pxtrs reach.

    As ``label_gauc`` of :mod:`emer.metrics.request_metrics`: requests weigh by their exposed candidates.

    Args:
        reference, base: RequestBatch -> (B, N) scores; left in the mode that they were in.
        batches: the window; at least one.
        samples, seed: of the bootstrap over users.
    """
    modes = [(network, network.training) for network in (reference, base)]
    found: dict[str, list[Tensor]] = {name: [] for name in ("reference", "base", "pxtr", "weight", "user")}
    for network, _ in modes:
        network.eval()
    alone = all(getattr(network, "candidates_alone", False) for network, _ in modes)
    for whole in batches:
        batch = whole.exposed_only() if alone else whole  # the others have no label to be judged by
        exposed, label = batch.exposed, batch.label
        found["reference"].append(concordance_auc(reference(batch), label, where=exposed))
        found["base"].append(concordance_auc(base(batch), label, where=exposed))
        pxtrs = [concordance_auc(gap, label, where=exposed) for gap in batch.rank_gap.unbind(dim=-1)]
        found["pxtr"].append(torch.stack(pxtrs, dim=1))
        found["weight"].append(exposed.sum(dim=1))
        found["user"].append(batch.user_id)
    for network, mode in modes:
        network.train(mode)
    values = {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}
    weight = values["weight"].astype(np.float64)
    first, second, pxtr = (values[name] for name in ("reference", "base", "pxtr"))
    R, K, M = pxtr.shape
    return WindowGaucs(
        weighted_gauc(first, weight),
        weighted_gauc(second, weight),
        paired_standard_error(first, second, weight, values["user"], samples=samples, seed=seed),
        weighted_gauc(pxtr.reshape(R, K * M), weight).reshape(K, M).max(axis=0),
    )


def weighted_gauc(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(C,) weighted means of ``values`` (R, C) over the requests that have one; NaN if none has."""
    there = ~np.isnan(values)
    total = weight @ there
    mean = np.full(values.shape[1], np.nan)
    np.divide(weight @ np.where(there, values, 0.0), total, out=mean, where=total > 0)
    return mean
