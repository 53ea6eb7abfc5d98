"""What may serve in a simulated experiment: formulas by name, controls, and trained runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from emer.data.simulated import as_requests
from emer.errors import EmerError
from emer.requests import RequestBatch
from emer.world.exposure import fusion_score
from emer.world.hashing import fold, uniform
from emer.world.population import World
from emer.world.responses import OBJECTIVES
from emer.world.visit import Asked
from emer.world.walk import Score

FORMULAS = ("fusion_formula", "legacy_formula", "random")
"""Arms by name alone. Beside them ``<pxtr>`` ranks by one pxtr, and ``<pxtr>:<alpha>`` by log pxtr - alpha log(pvtr +
1.2), which at alpha = 1 is the IPUT target (EMER eq. 10)."""

_LEGACY_SD = 2.0
"""Of the boost of ``legacy_formula``, against a standard deviation of the formula's score of about 4.7."""

_OVERHEAD = 1.2  # seconds that a video costs beside its watch time


@dataclass(frozen=True)
class NamedArm:
    """A scoring rule that needs no training.

    Args:
        name: one of :data:`FORMULAS`, a pxtr, or ``<pxtr>:<alpha>``.

    Raises:
        EmerError: there is no such rule.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name in FORMULAS:
            return
        pxtr, _, alpha = self.name.partition(":")
        if pxtr not in OBJECTIVES or (":" in self.name and not re.fullmatch(r"\d*\.?\d+(e[+-]?\d+)?", alpha)):
            raise EmerError(
                f"arms: there is no {self.name}; it is neither a run folder, nor one of {', '.join(FORMULAS)}, nor a "
                f"pxtr ({', '.join(OBJECTIVES)}), nor <pxtr>:<alpha>"
            )

    def score(self, world: World) -> Score:
        """The rule in a world."""
        if self.name == "fusion_formula":
            return lambda asked: fusion_score(asked.pxtr)
        if self.name == "random":
            return lambda asked: uniform(fold(_request_hash(asked), asked.video)).astype(np.float32)
        if self.name == "legacy_formula":
            # An impersonal boost of every video, as old production formulas carry them.
            luck = uniform(fold(np.array([world.seed], dtype=np.uint64), 0xB005, np.arange(world.videos)))
            boost = (_LEGACY_SD * np.sqrt(12) * (luck - 0.5)).astype(np.float32)
            return lambda asked: fusion_score(asked.pxtr) + boost[asked.video]
        pxtr, _, alpha = self.name.partition(":")
        place, watch = OBJECTIVES.index(pxtr), OBJECTIVES.index("pvtr")
        weight = float(alpha) if alpha else 0.0

        def trade(asked: Asked) -> np.ndarray:
            gain = np.log(np.maximum(asked.pxtr[..., place], 1e-12, dtype=np.float64))
            return (gain - weight * np.log(asked.pxtr[..., watch] + _OVERHEAD)).astype(np.float32)

        return trade


def network_score(world: World, network: Callable[[RequestBatch], torch.Tensor]) -> Score:
    """A trained ranker as a scoring rule.

    Args:
        world: the users and videos whose features it reads.
        network: a module in evaluation mode, :class:`RequestBatch` -> (B, N).
    """

    @torch.inference_mode()
    def score(asked: Asked) -> np.ndarray:
        table = as_requests(world, asked)
        return network(table.batch(np.arange(len(table)))).float().numpy()

    return score


def _request_hash(asked: Asked) -> np.ndarray:
    return asked.request_id.astype(np.uint64)[:, None]
