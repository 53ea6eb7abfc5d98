"""Whether a new model may serve: it must not order what users did worse than the model that serves now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emer.data.table import RequestTable
from emer.metrics.concordance import concordance_auc
from emer.metrics.summary import enough_requests
from emer.requests import RequestBatch
from emer.training.ippo_windows import weighted_gauc

Network = Callable[[RequestBatch], Tensor]

_BATCH = 256


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    candidate, serving: mean label GAUC of the two; NaN where no request tells.
    passed: whether the candidate may serve.
    """

    candidate: float
    serving: float
    passed: bool


def judge(candidate: Network, serving: Network, table: RequestTable, tolerance: float) -> Verdict:
    """Compare two models on requests that neither has learnt from.

    Args:
        candidate, serving: RequestBatch -> (B, N).
        table: the requests.
        tolerance: by how much the candidate may fall short, in GAUC. Where no request tells, it passes.
    """
    new, old = (mean_label_gauc(network, table) for network in (candidate, serving))
    return Verdict(new, old, not new < old - tolerance)


@torch.inference_mode()
def mean_label_gauc(network: Network, table: RequestTable) -> float:
    """Mean over the feedback labels of their GAUC, in which requests weigh by their exposed candidates.

    Labels that too few requests tell of are left out, as in ``label_gauc/mean``: a handful of follows would decide it.
    """
    values, weights = [], []
    for first in range(0, len(table), _BATCH):
        batch = table.batch(np.arange(first, min(first + _BATCH, len(table))))
        values.append(concordance_auc(network(batch), batch.label, where=batch.exposed))
        weights.append(batch.exposed.sum(dim=1))
    if not values:
        return float("nan")
    value, weight = torch.cat(values).double().numpy(), torch.cat(weights).double().numpy()
    told = (~np.isnan(value)).sum(axis=0)
    enough = told >= enough_requests(told.tolist())
    return float(weighted_gauc(value[:, enough], weight).mean()) if enough.any() else float("nan")
