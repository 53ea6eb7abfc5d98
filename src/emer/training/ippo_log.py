"""What IPPO did: its rounds and the archive of weights, for the checkpoint and for ``archive.json``."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emer.files import write_json
from emer.training.ippo import Archive, ArchiveEntry, Decision, WindowGaucs


class IppoLog:
    """Rounds in order, and the non-dominated weights among them.

    Args:
        labels: names of the M objectives.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.rounds: list[dict[str, Any]] = []
        self.archive = Archive()

    def add(
        self,
        weights: np.ndarray,
        base_weights: np.ndarray,
        gaucs: WindowGaucs,
        decision: Decision,
        *,
        epoch: int,
        step: int,
    ) -> None:
        """Add a round that was trained with these weights (M,), and ended in this decision."""
        index = len(self.rounds)
        self.archive.add(ArchiveEntry(index, "reference", weights.copy(), gaucs.reference))
        self.archive.add(ArchiveEntry(index, "base", base_weights.copy(), gaucs.base))
        self.rounds.append(
            {
                "round": index,
                "epoch": epoch,
                "step": step,
                "weights": weights.tolist(),
                "base_weights": base_weights.tolist(),
                "reference": gaucs.reference.tolist(),
                "base": gaucs.base.tolist(),
                "gap": (gaucs.reference - gaucs.base).tolist(),
                "error": gaucs.error.tolist(),
                "accepted": decision.accepted,
                "raised": None if decision.raised is None else self.labels[decision.raised],
            }
        )

    @property
    def accepted(self) -> int:
        """How many rounds ended with a new base."""
        return sum(record["accepted"] for record in self.rounds)

    def last_numbers(self) -> dict[str, float]:
        """The last round for a logger: ``round/accepted``, and ``round/weight/<label>``, ``round/gap/<label>``."""
        record = self.rounds[-1]
        numbers = {"round/accepted": float(record["accepted"])}
        for name, weight, gap in zip(self.labels, record["weights"], record["gap"], strict=True):
            numbers[f"round/weight/{name}"] = weight
            if math.isfinite(gap):
                numbers[f"round/gap/{name}"] = gap
        return numbers

    def write(self, path: Path) -> None:
        """Write ``labels``, ``rounds`` and ``archive`` as JSON, null for an unknown GAUC."""
        write_json(path, _without_nan({"labels": self.labels, **self.state_dict()}))

    def state_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a checkpoint."""
        return {"rounds": copy.deepcopy(self.rounds), "archive": self.archive.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.rounds = copy.deepcopy(state["rounds"])
        self.archive.load_state_dict(state["archive"])


def _without_nan(content: Any) -> Any:
    """The same lists and dicts with None for NaN, which JSON cannot express."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
