"""From per-request values to one number per metric: weights, dropped requests, means, floors and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emer.metrics import floors

GAUC_WEIGHT = {
    "pxtr_gauc": "n_candidates",
    "iput_gauc": "n_candidates",
    "exposed_pxtr_gauc": "n_exposed",
    "label_gauc": "n_exposed",
}
"""Column whose value weighs a request in each GAUC: the impressions of the group. Other metrics weigh
alike.
"""

MIN_REQUESTS = 30
"""A GAUC that rests on fewer requests stays out of its family's mean: the mean of seven labels would otherwise
be as noisy as the rarest of them."""

IDENTITY = ("row", "request_id", "user_id", "n_candidates", "n_exposed")
"""Columns of the per-request table that are no metric."""


def family(name: str) -> str:
    """``pxtr_gauc`` of ``pxtr_gauc/pctr``, also of ``random/pxtr_gauc/pctr``."""
    return name.removeprefix("random/").split("/", 1)[0]


def weights_of(per_request: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """(R,) float64 weights of the requests in metric ``name``, 0 where its value is NaN."""
    values = per_request[name]
    column = GAUC_WEIGHT.get(family(name))
    weight = np.ones(values.size) if column is None else per_request[column].astype(np.float64)
    return np.where(np.isnan(values), 0.0, weight)


def summarise(
    per_request: Mapping[str, np.ndarray], label_auc: Mapping[str, float | None] | None = None
) -> dict[str, float | None]:
    """Average every metric over its valid requests (GAUC, docs/methods.md):

        sum_b w_b x_b / sum_b w_b   over the requests b where the metric exists (x_b is not NaN).

    So a request whose labels are all alike leaves numerator and denominator. Besides each metric there are

    - ``<GAUC family>/mean``: plain mean over its objectives or labels (:func:`members_of_mean`);
    - ``label_auc/sum``: sum of the pooled AUCs (HarmonRank), those without both classes left out;
    - ``random/<name>``: the expectation under a random order, on the same requests;
    - ``groups/<name>``: how many requests the number rests on.

    Args:
        per_request: name -> (R,) float64 as :class:`emer.metrics.request_metrics.RequestMetrics` computes it;
            needs the columns ``n_candidates`` and ``n_exposed`` and may hold others of :data:`IDENTITY`.
        label_auc: feedback -> pooled AUC, None where a label has one class.

    Returns:
        Flat name -> value, None where no request has one (JSON null).
    """
    names = [n for n in per_request if n not in IDENTITY and not n.startswith("random/")]
    summary: dict[str, float | None] = {}
    for name in names:
        weight = weights_of(per_request, name)
        value = _mean(per_request[name], weight)
        summary[name] = value
        floor = per_request.get(f"random/{name}")
        if floor is not None:
            summary[f"random/{name}"] = _mean(floor, weight)
        else:
            summary[f"random/{name}"] = None if value is None else floors.AUC
        summary[f"groups/{name}"] = int(np.count_nonzero(weight))
    for gauc in GAUC_WEIGHT:
        if any(family(n) == gauc for n in names):
            members = members_of_mean(per_request, gauc)
            for prefix in ("", "random/"):
                found = _present(summary[prefix + n] for n in members)
                summary[f"{prefix}{gauc}/mean"] = sum(found) / len(found) if found else None
    if label_auc:
        found = _present(label_auc.values())
        for feedback, value in label_auc.items():
            summary[f"label_auc/{feedback}"] = value
            summary[f"random/label_auc/{feedback}"] = None if value is None else floors.AUC
        summary["label_auc/sum"] = sum(found) if found else None
        summary["random/label_auc/sum"] = floors.AUC * len(found) if found else None
    return summary


def members_of_mean(per_request: Mapping[str, np.ndarray], gauc: str) -> list[str]:
    """The metrics that ``<gauc>/mean`` averages: those with enough valid requests, or all valid ones if none has.

    Which requests are valid depends on the log alone, so all methods average the same members.
    """
    members = [n for n in per_request if family(n) == gauc and not n.startswith("random/")]
    counts = [int(np.count_nonzero(weights_of(per_request, n))) for n in members]
    least = enough_requests(counts)
    return [n for n, count in zip(members, counts, strict=True) if count >= least]


def enough_requests(counts: Sequence[int]) -> int:
    """Valid requests that a member of a mean needs: :data:`MIN_REQUESTS`, or 1 if none has as many."""
    return MIN_REQUESTS if max(counts, default=0) >= MIN_REQUESTS else 1


def _mean(values: np.ndarray, weight: np.ndarray) -> float | None:
    total = weight.sum()
    if total == 0:
        return None
    return float(np.where(weight > 0, values, 0.0) @ weight / total)


def _present(values: object) -> list[float]:
    return [v for v in values if v is not None]  # type: ignore[attr-defined]
