"""The one data contract: named objectives, and a batch of requests with all their candidates.

Axis letters, everywhere in this project: B requests, N candidates after padding, K objectives (pxtrs),
M feedback labels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from emer.errors import DataError
from emer.log_schema import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

__all__ = ["Category", "Feedback", "Objective", "RequestBatch", "Role", "Satisfaction", "Schema", "Unit"]

_OF_CANDIDATES = (
    "pxtr", "rank_gap", "iput_rank_gap", "mask", "exposed", "label", "watch_time", "negative", "item_categories",
    "item_numbers", "previous_score", "item_id",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestBatch:
    """B requests with all their candidates, padded to N. Padding holds 0 / False and is never read.

    Attributes:
        schema: names and kinds of the columns below.
        pxtr: (B, N, K) float32. Probabilities in [0, 1]; the watch-time objective in seconds.
        rank_gap: (B, N, K) int16 or int32, g = #smaller - #larger of each raw pxtr (:mod:`emer.ranking`).
        iput_rank_gap: like ``rank_gap``, of the IPUT targets: interaction pxtrs divided by predicted watch
            time, consumption pxtrs unchanged (EMER eq. 10).
        iput_floor: seconds; the predicted watch time is clamped to at least this before dividing.
        mask: (B, N) bool, True for a real candidate.
        exposed: (B, N) bool, subset of ``mask``: the candidates that were shown.
        label: (B, N, M) float32 in {0, 1}; 0 and never read where not exposed.
        watch_time: (B, N) float32 seconds actually watched; 0 where not exposed. None if not logged.
        negative: (B, N) float32 count of negative feedback (dislike, report). None if not logged.
        user_categories, context_categories: (B, F) int64 ids.
        item_categories: (B, N, F) int64 ids.
        item_numbers: (B, N, F) float32.
        previous_score: (B, N) float32 score of the model that served the request. None if not logged.
        item_id: (B, N) int64.
        request_id, user_id: (B,) int64.
        time_ms: (B,) int64, milliseconds since the epoch (or any increasing clock).
        row: (B,) int64, position of the request in its split; orders results across processes.
    """

    schema: Schema
    pxtr: Tensor
    rank_gap: Tensor
    iput_rank_gap: Tensor
    iput_floor: float
    mask: Tensor
    exposed: Tensor
    label: Tensor
    watch_time: Tensor | None = None
    negative: Tensor | None = None
    user_categories: Tensor
    context_categories: Tensor
    item_categories: Tensor
    item_numbers: Tensor
    previous_score: Tensor | None = None
    item_id: Tensor
    request_id: Tensor
    user_id: Tensor
    time_ms: Tensor
    row: Tensor

    def __len__(self) -> int:
        return self.pxtr.shape[0]

    @property
    def lengths(self) -> Tensor:
        """(B,) int64: real candidates of each request."""
        return self.mask.sum(dim=-1)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {name: function(tensor) for name, tensor in self._tensors()}
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory, for asynchronous copies to a GPU."""
        return self._map(Tensor.pin_memory)

    def select(self, index: Tensor) -> Self:
        """The requests at ``index`` ((b,) int64 or (B,) bool), as a smaller batch of the same padding."""
        return self._map(lambda tensor: tensor[index])

    def exposed_only(self) -> Self:
        """The same requests without the candidates that were not exposed, the others in their order. Rank gaps stay
        those among all candidates. The batch itself where nothing is left out."""
        if self.exposed.equal(self.mask):
            return self
        width = int(self.exposed.sum(dim=1).max().clamp(min=1))
        place = torch.argsort(~self.exposed, dim=1, stable=True)[:, :width]
        kept: dict[str, Any] = {}
        for name, tensor in self._tensors():
            if name in _OF_CANDIDATES:
                index = place if tensor.ndim == 2 else place.unsqueeze(-1).expand(-1, -1, tensor.shape[-1])
                kept[name] = tensor.gather(1, index)
        return replace(self, **(kept | {"mask": kept["exposed"]}))

    def iput_pxtr(self) -> Tensor:
        """(B, N, K) IPUT targets (EMER eq. 10): interaction pxtrs / max(predicted watch time, floor)."""
        watch = self.schema.watch_index
        columns = list(self.schema.interaction_indices)
        if watch is None or not columns:
            return self.pxtr
        target = self.pxtr.clone()
        target[..., columns] /= self.pxtr[..., watch : watch + 1].clamp(min=self.iput_floor)
        return target

    def validate(self) -> Self:
        """Check shapes, types and value ranges, and return the batch.

        Raises:
            DataError: naming the field, and the request and candidate where values are at fault.
        """
        s = self.schema
        B, N = self.mask.shape if self.mask.ndim == 2 else (-1, -1)
        K = len(s.objectives)
        expected = {
            "pxtr": ((B, N, K), torch.float32),
            "rank_gap": ((B, N, K), None),
            "iput_rank_gap": ((B, N, K), None),
            "mask": ((B, N), torch.bool),
            "exposed": ((B, N), torch.bool),
            "label": ((B, N, len(s.feedback)), torch.float32),
            "watch_time": ((B, N), torch.float32),
            "negative": ((B, N), torch.float32),
            "user_categories": ((B, len(s.user_categories)), torch.int64),
            "context_categories": ((B, len(s.context_categories)), torch.int64),
            "item_categories": ((B, N, len(s.item_categories)), torch.int64),
            "item_numbers": ((B, N, len(s.item_numbers)), torch.float32),
            "previous_score": ((B, N), torch.float32),
            "item_id": ((B, N), torch.int64),
            "request_id": ((B,), torch.int64),
            "user_id": ((B,), torch.int64),
            "time_ms": ((B,), torch.int64),
            "row": ((B,), torch.int64),
        }
        for name, tensor in self._tensors():
            shape, dtype = expected[name]
            if tuple(tensor.shape) != shape:
                raise DataError(f"RequestBatch.{name} has shape {tuple(tensor.shape)}, expected {shape}")
            if dtype is not None and tensor.dtype != dtype:
                raise DataError(f"RequestBatch.{name} is {tensor.dtype}, expected {dtype}")
            if tensor.is_floating_point():
                self._refuse(~torch.isfinite(tensor), name, "is not finite")
        self._refuse(~self.mask.any(dim=-1), "mask", "has no candidate")
        self._refuse(self.exposed & ~self.mask, "exposed", "is set on padding")
        highest = self.pxtr.new_tensor([1.0 if o.unit is Unit.PROBABILITY else torch.inf for o in s.objectives])
        wrong = (self.pxtr < 0) | (self.pxtr > highest)
        self._refuse(wrong, "pxtr", "is a probability outside [0, 1] or a negative watch time")
        self._refuse((self.label != 0) & (self.label != 1), "label", "is neither 0 nor 1")
        self._refuse((self.label != 0) & ~self.exposed.unsqueeze(-1), "label", "is set on an unexposed candidate")
        for name, feedback in (("watch_time", self.watch_time), ("negative", self.negative)):
            if feedback is not None:
                self._refuse(feedback < 0, name, "is negative")
                self._refuse((feedback != 0) & ~self.exposed, name, "is set on an unexposed candidate")
        for name, ids, categories in (
            ("user_categories", self.user_categories, s.user_categories),
            ("context_categories", self.context_categories, s.context_categories),
            ("item_categories", self.item_categories, s.item_categories),
        ):
            sizes = torch.tensor([c.size for c in categories], dtype=torch.int64, device=ids.device)
            self._refuse((ids < 0) | (ids >= sizes), name, "is outside the category's ids")
        return self

    def _refuse(self, wrong: Tensor, name: str, what: str) -> None:
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            request = int(self.request_id[place[0]])
            raise DataError(f"RequestBatch.{name} {what} at index {place} (request_id {request})")
