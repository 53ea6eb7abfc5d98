"""Random numbers of an objective: nothing else that draws changes them, and they go on where a checkpoint stopped."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from emer.errors import EmerError


class Draws(nn.Module):
    """A fresh generator for every step, seeded by (seed, step, rank); the step is part of the ``state_dict``.

    Args:
        seed: 0 or more.

    Raises:
        EmerError: the seed is negative.
    """

    step: Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        if seed < 0:
            raise EmerError(f"method.objective.seed is {seed}; it must be 0 or more")
        self.seed = seed
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def next(self, device: torch.device) -> torch.Generator:
        """The generator of this step, on ``device``; counts the step."""
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        # Plain sums of the three would give step 1 of rank 0 the numbers of step 0 of rank 1.
        state = np.random.SeedSequence([self.seed, int(self.step), rank]).generate_state(1, np.uint64)
        self.step += 1
        return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))
