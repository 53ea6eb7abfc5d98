"""Controls without a network: a random order, the platform's own, and the best single pxtr (docs/rivals.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.metrics.concordance import concordance_auc
from emer.metrics.summary import enough_requests
from emer.requests import RequestBatch, Schema

_LOW_53_BITS = (1 << 53) - 1


@dataclass
class RandomScoresConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/random.yaml."""

    _target_: str = "emer.models.controls.RandomScores"
    seed: int = MISSING


@dataclass
class BestSinglePxtrConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/best_pxtr.yaml."""

    _target_: str = "emer.models.controls.BestSinglePxtr"
    objective: str | None = MISSING


@dataclass
class ProductionOrderConfig:
    """Schema of ``method.model``; there is nothing to choose."""

    _target_: str = "emer.models.controls.ProductionOrder"


class ProductionOrder(nn.Module):
    """The order in which the platform served: the logged ``previous_score``.

    Args:
        schema: the request log's columns; none is read.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, 0 on padding.

        Raises:
            EmerError: the log has no ``previous_score``.
        """
        if batch.previous_score is None:
            raise EmerError("method=production needs a log with previous_score, which says how the platform ordered")
        return batch.previous_score.masked_fill(~batch.mask, 0.0)


class RandomScores(nn.Module):
    """A random order: uniform scores that are a function of seed, ``request_id`` and ``item_id`` alone.

    So the order does not depend on batches, devices or processes. The same item in another request has another score;
    the same item twice in one request has the same.

    Args:
        schema: the request log's columns; none is read.
        seed: 0 or more, below 2^63.

    Raises:
        EmerError: the seed is out of range.
    """

    def __init__(self, schema: Schema, *, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= seed < 1 << 63:
            raise EmerError(f"method.model.seed is {seed}; it must be 0 or more and below 2^63")
        self.seed = seed

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float64 scores in [0, 1), 0 on padding."""
        state = _mix(torch.full_like(batch.request_id, self.seed))
        state = _mix(_mix(state ^ batch.request_id).unsqueeze(-1) ^ batch.item_id)
        return ((state & _LOW_53_BITS).double() / (1 << 53)).masked_fill(~batch.mask, 0.0)


class BestSinglePxtr(nn.Module):
    """Ranks by one pxtr and ignores the others.

    Args:
        schema: names the objectives.
        objective: the pxtr; None leaves the choice to :meth:`fit`.

    Raises:
        EmerError: the log has no such objective.
    """

    column: Tensor

    def __init__(self, schema: Schema, *, objective: str | None = None) -> None:
        super().__init__()
        names = schema.objective_names
        if objective is not None and objective not in names:
            raise EmerError(f"method.model.objective is {objective}; the objectives are {', '.join(names)}")
        self.objectives, self.chosen_by_name = names, objective is not None
        # A buffer, so that a choice is in the checkpoint; -1 until there is one.
        self.register_buffer("column", torch.tensor(-1 if objective is None else names.index(objective)))

    @torch.no_grad()
    def fit(self, batches: Iterable[RequestBatch]) -> None:
        """Choose the pxtr with the largest mean label GAUC, if none was named; the first of equals.

        The GAUCs are those of :func:`emer.metrics.summary.summarise`: over exposed candidates, weighted by their
        number, without requests whose labels are all alike; labels with both classes in too few requests stay out of
        the mean.

        Args:
            batches: the training requests; how they are divided does not matter.

        Raises:
            EmerError: no request shows candidates with and without the same feedback.
        """
        if self.chosen_by_name:
            return
        gauc = _mean_label_gauc(batches)
        if gauc is None:
            raise EmerError(
                "method.model.objective is null, but no training request shows candidates with and without the same "
                f"feedback to choose by; name one of {', '.join(self.objectives)}"
            )
        self.column.fill_(max(range(len(gauc)), key=gauc.__getitem__))

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) float32 scores: the raw pxtr, 0 on padding.

        Raises:
            EmerError: there is neither a name nor a choice.
        """
        column = int(self.column)
        if column < 0:
            raise EmerError("method.model.objective is null and no pxtr was chosen yet: name one, or fit first")
        return batch.pxtr[..., column].masked_fill(~batch.mask, 0.0)


def _mean_label_gauc(batches: Iterable[RequestBatch]) -> list[float] | None:
    """Mean label GAUC of each of the K pxtrs, or None where no request has a pair of one label."""
    shares, weights, counts = [], [], []
    for batch in batches:
        weight = batch.exposed.sum(dim=1).double().view(-1, 1, 1)
        auc = torch.stack(
            [concordance_auc(gap, batch.label, where=batch.exposed) for gap in batch.rank_gap.unbind(-1)], dim=1
        )  # (B, K, M)
        known = ~auc.isnan()
        shares.append((weight * auc.nan_to_num()).sum(dim=0))
        weights.append((weight * known).sum(dim=0))
        counts.append(known[:, 0].sum(dim=0))
    if not counts:
        return None
    # Which requests are known depends on the labels alone, so every pxtr has the same.
    requests = torch.stack(counts).sum(dim=0).tolist()
    used = [m for m, count in enumerate(requests) if count >= enough_requests(requests)]
    if not used:
        return None
    gauc = torch.stack(shares).sum(dim=0) / torch.stack(weights).sum(dim=0)
    return gauc[:, used].mean(dim=1).tolist()


def _mix(x: Tensor) -> Tensor:
    """One step of SplitMix64 (Steele, Lea and Flood 2014): int64 to int64, one to one; products wrap around."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: torch's own repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64)
