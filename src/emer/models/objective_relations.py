"""How objectives go together: in the labels, and in what HarmonRank attends to (arXiv 2601.02955, eq. 22-23)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from emer.errors import EmerError
from emer.requests import RequestBatch


@runtime_checkable
class GivesAttention(Protocol):
    """A model whose objectives attend to each other, such as :class:`emer.models.harmonrank.HarmonRank`."""

    @property
    def has_attention(self) -> bool:
        """False for an ablation without self-attention."""

    def attention_matrix(self, batch: RequestBatch) -> Tensor:
        """(B, N, K, K) attention of objective m (row) to objective l (column); each row sums to 1."""


@dataclass(frozen=True)
class ObjectiveRelations:
    """Two matrices over the same exposed candidates; a schema says which feedback an objective predicts.

    Attributes:
        attention: (K, K) float64, mean attention of objective m (row) to objective l (column) (eq. 23).
        objective_names: the K names.
        label: (M, M) float64, rank correlation of two feedback labels (eq. 22); NaN where one of them never varies.
        feedback_names: the M names.
        rows: how many exposed candidates there were.
    """

    attention: Tensor
    objective_names: tuple[str, ...]
    label: Tensor
    feedback_names: tuple[str, ...]
    rows: int


@torch.no_grad()
def objective_relations(model: GivesAttention, batches: Iterable[RequestBatch]) -> ObjectiveRelations:
    """Predicted and observed relation of the objectives, over the exposed candidates of all batches.

    Raises:
        EmerError: nothing was exposed, or the model has no self-attention.
    """
    attention = together = None
    rows = 0
    schema = None
    for batch in batches:
        schema = batch.schema
        label = batch.label[batch.exposed].double()
        attended = model.attention_matrix(batch)[batch.exposed].double().sum(dim=0)
        attention = attended if attention is None else attention + attended
        together = label.T @ label if together is None else together + label.T @ label
        rows += len(label)
    if schema is None or attention is None or together is None or rows == 0:
        raise EmerError("the relation of objectives is a mean over exposed candidates, and there are none")
    return ObjectiveRelations(
        attention / rows, schema.objective_names, label_correlation(together, rows), schema.feedback_names, rows
    )


def label_correlation(together: Tensor, rows: int) -> Tensor:
    """(M, M) Spearman correlation of binary labels: Pearson's of their average ranks (HarmonRank eq. 22).

    The average rank of a binary label is an affine function of it, so this is the phi coefficient
    (n n11 - n1 n1') / sqrt(n1 (n - n1) n1' (n - n1')). Eq. 22's shortcut with squared rank differences holds only
    without ties, and binary labels consist of ties.

    Args:
        together: (M, M) float64, how many of the rows have both labels; the diagonal has each label's positives.
        rows: n.

    Returns:
        (M, M) float64; NaN where a label never varies.
    """
    positive = together.diagonal()
    spread = (positive * (rows - positive)).sqrt()
    return (rows * together - torch.outer(positive, positive)) / torch.outer(spread, spread)
