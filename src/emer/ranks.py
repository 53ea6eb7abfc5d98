"""Which of a distributed job's processes this one is."""

from __future__ import annotations

import os


def is_rank() -> bool:
    """Whether some launcher (ours, torchrun, SLURM) has already started this process as one rank of a job."""
    return "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ


def is_first_rank() -> bool:
    """Whether this process writes the run's files: rank 0, or a process that is no rank at all."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0
