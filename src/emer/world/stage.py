"""What the world asks of a multi-task stage, whether it is parametric or trained."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from emer.world.hashing import Floats, Hash, Ints
from emer.world.population import World


class MultiTaskStage(Protocol):
    """Predicts every objective for users' candidates."""

    def predict(self, users: Ints, videos: Ints, truth: Floats, request: Hash) -> np.ndarray:
        """Predictions (B, n, 8) float32 in the order of OBJECTIVES: probabilities in (0, 1], and pvtr > 0 in seconds.

        Those of a request do not depend on the other requests, but for rounding.

        Args:
            users: (B,).
            videos: (B, n).
            truth: (B, n, 8) from :func:`emer.world.responses.expected_rates`; a trained stage does not look at it.
            request: (B,) hash that identifies the request.
        """
        ...


class MakesStage(Protocol):
    """Makes the stage of a world, whose requests have ``candidates`` videos and show ``slate`` of them."""

    def __call__(self, world: World, candidates: int, slate: int) -> MultiTaskStage: ...
