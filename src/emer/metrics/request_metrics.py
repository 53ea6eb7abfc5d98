"""All metrics of a scorer on a request log, per request and in summary, exact however the requests were
dealt out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from emer.errors import DataError, EmerError
from emer.metrics import floors
from emer.metrics.auc import pooled_auc
from emer.metrics.concordance import concordance_auc
from emer.metrics.places import first_places, values_at
from emer.metrics.summary import summarise
from emer.metrics.topk import dcg_of_top, hit_rate_of_top, mean_of_top, ndcg_at_k
from emer.requests import RequestBatch, Schema


def column_names(schema: Schema, k: int = 10) -> tuple[str, ...]:
    """Names of :func:`request_values`, in order."""
    objectives, feedback = schema.objective_names, schema.feedback_names
    interactions = tuple(objectives[i] for i in schema.interaction_indices)
    top = [(f"ndcg_at_{k}", feedback)] + [(f"{m}_at_{k}", objectives) for m in ("dcg", "mean", "hit_rate")]
    families = [
        ("pxtr_gauc", objectives),
        ("iput_gauc", interactions),
        ("exposed_pxtr_gauc", objectives),
        ("label_gauc", feedback),
        *top,
        *((f"random/{name}", members) for name, members in top),
    ]
    return (
        "n_candidates",
        "n_exposed",
        *(f"{name}/{member}" for name, members in families for member in members),
    )


def request_values(scores: Tensor, batch: RequestBatch, k: int = 10) -> dict[str, Tensor]:
    """Every metric of every request.

    - ``pxtr_gauc/<objective>``, ``iput_gauc/<interaction objective>``: concordance AUC with the raw pxtr and
      with the IPUT target, over all candidates; ``exposed_pxtr_gauc/<objective>``: the former over exposed
      candidates.
    - ``label_gauc/<feedback>``, ``ndcg_at_<k>/<feedback>``: over exposed candidates.
    - ``dcg_at_<k>``, ``mean_at_<k>``, ``hit_rate_at_<k>``/<objective>: of the raw pxtr, over all candidates.
    - ``random/<name>``: expectation under a random order, where it depends on the request.
    - ``n_candidates``, ``n_exposed``: the weights.

    Args:
        scores: (B, N), larger is better; padding is not read.
        batch: the requests. Its rank gaps stand for the pxtrs, as only order counts.
        k: length of the list.

    Returns:
        Name -> (B,) float64, NaN where a request has no value.
    """
    return dict(zip(column_names(batch.schema, k), _value_matrix(scores, batch, k).unbind(dim=1), strict=True))


@torch.no_grad()
def _value_matrix(scores: Tensor, batch: RequestBatch, k: int) -> Tensor:
    """(B, C) float64 in the order of :func:`column_names`."""
    schema, mask = batch.schema, batch.mask
    K = len(schema.objectives)
    interactions = list(schema.interaction_indices)
    # Few candidates are exposed: the metrics on them look at those columns only.
    shown_first, shown = _first_columns(batch.exposed)
    shown_scores = scores.gather(1, shown_first)
    columns = shown_first.unsqueeze(-1)
    rank_gap, label = (x.gather(1, columns.expand(-1, -1, x.shape[-1])) for x in (batch.rank_gap, batch.label))
    on_exposed = concordance_auc(shown_scores, torch.cat([rank_gap, label.to(rank_gap.dtype)], dim=-1), where=shown)
    label = label.double()
    chosen, placed = first_places(scores.unsqueeze(-1), k, mask)
    wanted, _ = first_places(batch.pxtr, k, mask)
    top = values_at(batch.pxtr, chosen, placed).double()
    random_mean = floors.random_mean_at_k(batch.pxtr.double(), where=mask)
    blocks = [
        mask.sum(dim=1, keepdim=True).double(),
        batch.exposed.sum(dim=1, keepdim=True).double(),
        concordance_auc(scores, batch.rank_gap, where=mask),
        concordance_auc(scores, batch.iput_rank_gap[..., interactions], where=mask),
        on_exposed,
        ndcg_at_k(shown_scores, label, k, where=shown),
        dcg_of_top(top, placed),
        mean_of_top(top, placed),
        hit_rate_of_top(chosen, wanted, placed, mask),
        floors.random_ndcg_at_k(label, k, where=shown),
        random_mean * floors.expected_discounts(k, where=mask, like=top),
        random_mean,
        floors.random_hit_rate_at_k(k, where=mask).expand(-1, K),
    ]
    return torch.cat([block.double() for block in blocks], dim=1)


def _first_columns(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (B, E) of the True places of ``chosen`` (B, N), in order, and which of them (B, E) stand for one."""
    count = chosen.sum(dim=1, keepdim=True)
    longest = int(count.max()) if len(chosen) else 0
    shown = torch.arange(longest, device=chosen.device) < count
    columns = torch.zeros(shown.shape, dtype=torch.int64, device=chosen.device)
    columns[shown] = chosen.nonzero()[:, 1]
    return columns, shown


class RequestMetrics(torchmetrics.Metric):
    """Collects :func:`request_values` over batches and processes, then summarises.

    The values of every request are kept and ordered by ``RequestBatch.row`` before any sum, so the result
    does not depend on batch size, order or number of processes; a request seen twice (a sampler that pads)
    counts once.

    Args:
        schema: the request log's columns.
        k: length of the list in DCG@k and the like.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    row: list[Tensor]
    request_id: list[Tensor]
    user_id: list[Tensor]
    values: list[Tensor]
    exposed_score: list[Tensor]
    exposed_label: list[Tensor]

    def __init__(self, schema: Schema, k: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise EmerError(f"top_k is {k}; a list has at least 1 place")
        self.schema, self.k = schema, k
        self.names = column_names(schema, k)
        self._empty = {
            "row": torch.empty(0, dtype=torch.int64),
            "request_id": torch.empty(0, dtype=torch.int64),
            "user_id": torch.empty(0, dtype=torch.int64),
            "values": torch.empty(0, len(self.names), dtype=torch.float64),
            "exposed_score": torch.empty(0, dtype=torch.float64),
            "exposed_label": torch.empty(0, len(schema.feedback), dtype=torch.uint8),
        }
        for name in self._empty:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._start_empty()

    def reset(self) -> None:
        super().reset()
        self._start_empty()

    def _start_empty(self) -> None:
        # A process without any request must still gather tensors of the right shape and type.
        for name, empty in self._empty.items():
            getattr(self, name).append(empty.to(self.device))

    def update(self, scores: Tensor, batch: RequestBatch) -> None:
        """Add the requests of ``batch``, scored with ``scores`` (B, N).

        Raises:
            EmerError: a score is NaN or infinite.
        """
        wrong = ~torch.isfinite(scores) & batch.mask
        if bool(wrong.any()):
            request, candidate = wrong.nonzero()[0].tolist()
            raise EmerError(
                f"the model gave the score {scores[request, candidate].item()} to item "
                f"{int(batch.item_id[request, candidate])} of request {int(batch.request_id[request])}: "
                "training has diverged; try a lower learning rate or gradient clipping"
            )
        self.row.append(batch.row)
        self.request_id.append(batch.request_id)
        self.user_id.append(batch.user_id)
        self.values.append(_value_matrix(scores, batch, self.k))
        self.exposed_score.append(scores[batch.exposed].double())
        self.exposed_label.append(batch.label[batch.exposed].to(torch.uint8))

    def compute(self) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
        """Summary (:func:`emer.metrics.summary.summarise`) and per-request values.

        Returns:
            (name -> value or None, name -> (R,) array ordered by row). The second has ``row``,
            ``request_id``, ``user_id`` (int64), ``n_candidates``, ``n_exposed`` (int64) and each metric
            (float64, NaN where a request has no value).

        Raises:
            DataError: two different requests claim the same row.
        """
        row, request_id, user_id, values = (
            torchmetrics.utilities.dim_zero_cat(s).cpu().numpy()
            for s in (self.row, self.request_id, self.user_id, self.values)
        )
        _, first, copy_of = np.unique(row, return_index=True, return_inverse=True)
        original = request_id[first][copy_of]
        if (clash := np.flatnonzero(request_id != original)).size:
            i = clash[0]
            raise DataError(
                f"requests {original[i]} and {request_id[i]} both claim row {row[i]} of their split; "
                "RequestBatch.row must be unique"
            )
        per_request = {"row": row[first], "request_id": request_id[first], "user_id": user_id[first]}
        per_request |= dict(zip(self.names, values[first].T.copy(), strict=True))
        for weight in ("n_candidates", "n_exposed"):
            per_request[weight] = per_request[weight].astype(np.int64)
        n_exposed = values[:, self.names.index("n_exposed")].astype(np.int64)
        keep = np.zeros(row.size, dtype=bool)
        keep[first] = True
        kept = torch.from_numpy(np.repeat(keep, n_exposed))
        score, label = (
            torchmetrics.utilities.dim_zero_cat(s).cpu()[kept] for s in (self.exposed_score, self.exposed_label)
        )
        auc = pooled_auc(score, label).tolist()
        label_auc = {
            name: None if math.isnan(value) else value
            for name, value in zip(self.schema.feedback_names, auc, strict=True)
        }
        return summarise(per_request, label_auc), per_request
