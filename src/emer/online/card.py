"""The simulation card: every constant of a world, what it matches, what it does not, and what must not be claimed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata

from emer.online.arms import NamedArm
from emer.online.calibration import Marginals, as_rows
from emer.online.setting import Setting
from emer.world.hashing import Floats, Ints
from emer.world.responses import FEEDBACK, OBJECTIVES

NOT_TO_BE_CLAIMED = (
    "That a difference between rankers here has the size, or the sign, that it would have on a real platform.",
    "That comparing candidates helps in reality because it does here: list effects are assumptions of this world.",
    "That users react as here: reactions are independent given watch time, and tastes do not change.",
    "Anything about creators, content supply, advertising or long-term satisfaction; none of them exists here.",
)

_REQUESTS = 400


def simulation_card(setting: Setting, found: Marginals, users: Ints) -> dict[str, Any]:
    """Everything about a world, ready for JSON.

    Args:
        setting: the world.
        found: its marginals.
        users: whose requests the quality of the pxtrs is measured on.
    """
    pxtr, label, watch_time, exposed = _log(setting, users)
    return {
        "world": {k: v for k, v in asdict(setting).items() if k != "parameters"},
        "parameters": asdict(setting.world.parameters),
        "marginals": as_rows(found),
        "watch_time": {policy: rates["watch_time"] for policy, rates in found.rates.items()},
        "impressions": found.impressions,
        "pxtr_auc": _aucs(pxtr[exposed], label[exposed]),
        "pxtr_ratio": _ratios(pxtr[exposed], label[exposed], watch_time[exposed]),
        "pxtr_concordance": _concordance(pxtr),
        "not_to_be_claimed": list(NOT_TO_BE_CLAIMED),
    }


def as_markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    world = card["world"]
    lines = [
        f"# Simulation card: {world['name']}",
        "",
        f"Seed {world['seed']}, {world['users']:,} users, {world['videos']:,} videos, {world['candidates']} candidates "
        f"per request, {world['slate']} shown.",
        "",
        "## Marginals",
        "",
        "Per impression, against KuaiRand-27K; *standard* is the fusion formula's policy here, *random* shows "
        "candidates drawn at random. Interactions as their probabilities given what was watched.",
        "",
        "| policy | quantity | published, % | here, % | difference, % |",
        "|---|---|---|---|---|",
    ]
    for row in card["marginals"]:
        numbers = f"{100 * row['published']:.4g} | {100 * row['found']:.4g} | {row['difference_percent']:+.1f}"
        lines.append(f"| {row['policy']} | {row['quantity']} | {numbers} |")
    seconds = ", ".join(f"{policy} {value:.1f} s" for policy, value in card["watch_time"].items())
    lines += ["", f"Mean watch time: {seconds} (published: 14.7 s and 6.9 s).", "", "## Pxtrs", ""]
    lines += [f"{_stage(world['stage'])} AUC of each pxtr for its label on shown videos: "]
    lines[-1] += ", ".join(f"{name} {value:.3f}" for name, value in card["pxtr_auc"].items()) + "."
    lines += ["", "Mean pxtr over mean outcome on shown videos: "]
    lines[-1] += ", ".join(f"{name} {value:.2f}" for name, value in card["pxtr_ratio"].items()) + "."
    lines += ["", "Share of candidate pairs that two pxtrs order alike:", "", "| | " + " | ".join(OBJECTIVES) + " |"]
    lines.append("|---" * (len(OBJECTIVES) + 1) + "|")
    for name, row in zip(OBJECTIVES, card["pxtr_concordance"], strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    lines += ["", "## Constants", "", "| constant | value |", "|---|---|"]
    lines += [f"| `{name}` | {_shown(value)} |" for name, value in card["parameters"].items()]
    lines += ["", "## What must not be claimed", "", *(f"- {text}" for text in card["not_to_be_claimed"])]
    return "\n".join(lines) + "\n"


def _stage(content: dict[str, Any]) -> str:
    if not content:  # the parametric stage has no settings of its own
        return "They are the truth with errors (the parametric stage)."
    plain = {k: v for k, v in content.items() if isinstance(v, int | float)}
    return f"They come from a trained stage ({', '.join(f'{k} {v:,}' for k, v in plain.items())})."


def _log(setting: Setting, users: Ints) -> tuple[Floats, np.ndarray, np.ndarray, np.ndarray]:
    """(R, C, 8) pxtrs, (R, C, 7) labels, (R, C) seconds and (R, C) exposure of a few requests under the formula."""
    parts, count = [], 0
    for visit in setting.walk(users, block=256).through_day(0, NamedArm("fusion_formula").score(setting.world)):
        parts.append(visit.log())
        count += len(parts[-1])
        if count >= _REQUESTS * 20:
            break
    return (
        np.concatenate([p.pxtr for p in parts]),
        np.concatenate([p.label for p in parts]),
        np.concatenate([p.watch_time for p in parts]),
        np.concatenate([p.exposed for p in parts]),
    )


def _aucs(pxtr: Floats, label: np.ndarray) -> dict[str, float]:
    """Pooled AUC of every pxtr that predicts a label, where both classes occur."""
    found = {}
    for name, column in zip(OBJECTIVES, (0, None, *range(1, len(FEEDBACK))), strict=True):
        if column is None or not 0 < label[:, column].sum() < len(label):
            continue
        positive = label[:, column]
        n = int(positive.sum())
        ranks = rankdata(pxtr[:, OBJECTIVES.index(name)])
        found[name] = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(label) - n)))
    return found


def _ratios(pxtr: Floats, label: np.ndarray, watch_time: np.ndarray) -> dict[str, float]:
    """Mean of every pxtr over the mean of what it predicts, where that occurs."""
    outcome = np.insert(label.mean(axis=0), OBJECTIVES.index("pvtr"), watch_time.mean(dtype=np.float64))
    means = zip(OBJECTIVES, pxtr.mean(axis=0, dtype=np.float64), outcome, strict=True)
    return {name: float(predicted / found) for name, predicted, found in means if found > 0}


def _concordance(pxtr: Floats) -> list[list[float]]:
    """(8, 8) mean over requests of (tau + 1) / 2."""
    K = pxtr.shape[-1]
    total = np.zeros((K, K))
    some = pxtr[:_REQUESTS]
    for request in some:
        for i in range(K):
            for j in range(i, K):
                tau = kendalltau(request[:, i], request[:, j]).statistic
                total[i, j] += (tau + 1) / 2
                total[j, i] = total[i, j]
    return (total / len(some)).tolist()


def _shown(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple | list) else f"{value}"
