"""Does an offline metric order the arms as the A/B test does? (EMER, Table 5, as one number.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr

from emer.data.simulated import as_requests
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.metrics.concordance import concordance_auc
from emer.online.experiment import METRICS, Effect
from emer.online.presentation import csv_text
from emer.online.setting import Setting
from emer.world.hashing import Ints
from emer.world.responses import INTERACTIONS, OBJECTIVES
from emer.world.visit import Asked
from emer.world.walk import Score

INTERACTION_PXTRS = OBJECTIVES[-len(INTERACTIONS) :]
ONLINE = tuple(name for name, (_, expected) in METRICS.items() if expected is not None)
"""The interactions' online metrics, in the order of :data:`INTERACTION_PXTRS`."""

_BLOCK = 64  # users who walk together, which decides which of their requests are taken


def offline_gauc(setting: Setting, rankers: Mapping[str, Score], users: Ints, requests: int) -> dict[str, dict]:
    """GAUC of every arm on the same requests: those that the base serves on day 0.

    Args:
        setting: the platform.
        rankers: arm -> ranker; the first is the base.
        users: whose requests are taken.
        requests: how many at most, spread over the day's.

    Returns:
        arm -> {``raw/<pxtr>`` for all pxtrs, ``iput/<pxtr>`` for the interactions'}: means over the requests.

    Raises:
        EmerError: the users make no request on that day.
    """
    base = next(iter(rankers.values()))
    asked = [visit.asked for visit in setting.walk(users, block=_BLOCK).through_day(0, base)]
    if not asked:
        raise EmerError(f"users is {users.size}: none of them comes on the first day; take more")
    chosen = _spread(asked, requests)
    values: dict[str, list[np.ndarray]] = {arm: [] for arm in rankers}
    for part in chosen:
        table: RequestTable = as_requests(setting.world, part)
        batch = table.batch(np.arange(len(table)))
        interactions = list(batch.schema.interaction_indices)
        targets = torch.cat([batch.rank_gap, batch.iput_rank_gap[..., interactions]], dim=-1)
        for arm, ranker in rankers.items():
            values[arm].append(concordance_auc(torch.from_numpy(ranker(part)), targets, where=batch.mask).numpy())
    names = [f"raw/{o}" for o in OBJECTIVES] + [f"iput/{o}" for o in INTERACTION_PXTRS]
    return {
        arm: dict(zip(names, np.nanmean(np.concatenate(parts), axis=0).tolist(), strict=True))
        for arm, parts in values.items()
    }


def _spread(asked: Sequence[Asked], requests: int) -> list[Asked]:
    """At most ``requests`` of all, evenly spread, in parts of one visit each."""
    size = np.array([len(a) for a in asked])
    wanted = np.unique(np.linspace(0, size.sum() - 1, min(requests, int(size.sum()))).astype(np.int64))
    first = np.concatenate([[0], np.cumsum(size)])
    rows = [wanted[(wanted >= low) & (wanted < low + n)] - low for low, n in zip(first[:-1], size, strict=True)]
    return [a.take(at) for a, at in zip(asked, rows, strict=True) if at.size]


@dataclass(frozen=True)
class Consistency:
    """Offline GAUC beside online differences.

    Attributes:
        arms: the base first.
        gauc: arm -> as :func:`offline_gauc`.
        online: arm -> interaction -> difference of the expected interactions from the base in per cent (0 for itself).
        raw, iput: interaction -> Spearman's correlation, over the arms, of the online difference with the GAUC of the
            pxtr and with that of its IPUT target; NaN for fewer than three arms.
    """

    arms: tuple[str, ...]
    gauc: dict[str, dict[str, float]]
    online: dict[str, dict[str, float]]
    raw: dict[str, float]
    iput: dict[str, float]


def consistency(gauc: Mapping[str, Mapping[str, float]], found: Sequence[Effect], base: str) -> Consistency:
    """Correlate what :func:`offline_gauc` and :func:`emer.online.experiment.effects` found of the same arms."""
    arms = tuple(gauc)
    percent = {
        (e.arm, e.metric): e.difference.percent
        for e in found
        if e.design == "twin" and e.segment == "all" and e.kind == "expected" and e.metric in ONLINE
    }
    online = {arm: {m: percent.get((arm, m), 0.0 if arm == base else np.nan) for m in ONLINE} for arm in arms}
    rank: dict[str, dict[str, float]] = {"raw": {}, "iput": {}}
    for metric, pxtr in zip(ONLINE, INTERACTION_PXTRS, strict=True):
        outcome = [online[arm][metric] for arm in arms]
        for family, of in rank.items():
            of[metric] = _spearman([gauc[arm][f"{family}/{pxtr}"] for arm in arms], outcome)
    return Consistency(arms, {a: dict(gauc[a]) for a in arms}, online, rank["raw"], rank["iput"])


def _spearman(left: list[float], right: list[float]) -> float:
    if len(left) < 3 or np.ptp(left) == 0 or not np.ptp(right) > 0:
        return float("nan")
    return float(spearmanr(left, right).statistic)


def as_markdown(found: Consistency) -> str:
    """One block of three rows for each interaction, the arms as columns."""
    lines = [
        "GAUC of every arm on the same requests, served by the base, beside the arm's difference online; on the right "
        "Spearman's correlation of that GAUC with the online difference over all arms.",
        "",
        "| | " + " | ".join(found.arms) + " | Spearman |",
        "|---" * (len(found.arms) + 2) + "|",
    ]
    for metric, pxtr in zip(ONLINE, INTERACTION_PXTRS, strict=True):
        for family, title, rank in (
            ("raw", pxtr, found.raw[metric]),
            ("iput", f"{pxtr} IPUT", found.iput[metric]),
        ):
            cells = [f"{found.gauc[arm][f'{family}/{pxtr}']:.4f}" for arm in found.arms]
            lines.append(f"| GAUC {title} | " + " | ".join(cells) + f" | {_number(rank)} |")
        cells = [f"{found.online[arm][metric]:+.2f} %" for arm in found.arms]
        lines.append(f"| online {metric} (expected) | " + " | ".join(cells) + " | |")
    # NaN if one of them is: a mean over fewer interactions would be another number.
    means = [float(np.mean(list(rank.values()))) for rank in (found.raw, found.iput)]
    lines += ["", f"Mean Spearman over the interactions: raw {_number(means[0])}, IPUT {_number(means[1])}."]
    return "\n".join(lines) + "\n"


def as_csv(found: Consistency) -> str:
    """One row for each arm and interaction."""
    rows = (
        [
            *(arm, metric),
            *(found.gauc[arm][f"{family}/{pxtr}"] for family in ("raw", "iput")),
            *(found.online[arm][metric], found.raw[metric], found.iput[metric]),
        ]
        for arm in found.arms
        for metric, pxtr in zip(ONLINE, INTERACTION_PXTRS, strict=True)
    )
    head = ["arm", "interaction", "gauc_raw", "gauc_iput", "online_percent", "spearman_raw", "spearman_iput"]
    return csv_text(head, rows)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f}"
