"""Which of a distributed job's processes this one is."""

from __future__ import annotations

import os


def is_rank() -> bool:
    """Whether some launcher (ours, torchrun, SLURM) has started this process as one of several of a job."""
    # An sbatch script or a one-task SLURM job has SLURM_PROCID too, and is no rank of anything.
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def is_first_rank() -> bool:
    """Whether this process writes the run's files: rank 0, or a process that is no rank at all."""
    return not is_rank() or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def job_name() -> str | None:
    """The name that all ranks of an externally started job share; None if there is none.

    torchrun has one with ``--standalone`` or ``--rdzv-id``, SLURM always.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    return None if name in (None, "", "none") else name
