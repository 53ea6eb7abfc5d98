"""Starts a job's processes: one per device, all from the same composed config.

Lightning's own launcher re-runs the parent's command line. Under a Hydra sweep that composes anew in every rank,
and with a sampling sweeper the ranks then train different settings without an error. Here the job's resolved
config is written to a file, and torchrun's launcher starts every rank from that file, in processes of their own:
a sweep's next job finds a clean environment, and a rank that dies takes its own job along, not the sweep.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import uuid
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from emer.errors import EmerError
from emer.files import write_text
from emer.processes import is_rank

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def process_count(trainer: DictConfig) -> int:
    """Processes that have to be started here; 1 if this process is itself a rank that something started.

    Raises:
        EmerError: more than one node is asked for: then the cluster's launcher has to start the ranks.
    """
    if is_rank():
        return 1
    if int(trainer.num_nodes) > 1:
        raise EmerError(
            f"trainer.num_nodes is {trainer.num_nodes}: start the ranks with torchrun or SLURM on every node "
            "(torchrun --nnodes ... --rdzv-id=<a new name> train.py ...)"
        )
    devices = trainer.devices
    if OmegaConf.is_list(devices):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if trainer.accelerator in ("gpu", "cuda", "auto") else 1
    try:
        return int(devices)
    except ValueError:
        raise EmerError(f"trainer.devices is {devices!r}; it must be a number, a list of numbers, or auto") from None


def launch(job: str, cfg: DictConfig, folder: Path) -> None:
    """Run ``emer.jobs.<job>`` in ``process_count`` processes and wait.

    Args:
        job: module and function name of the job.
        cfg: the resolved config, handed to every rank as it is.
        folder: existing folder for the config file and the ranks' error messages.

    Raises:
        EmerError: a rank failed; the message is the first failing rank's.
        KeyboardInterrupt: the job was interrupted or asked to terminate.
    """
    exchange = folder / ".ranks"
    config_file = exchange / "config.yaml"
    write_text(config_file, OmegaConf.to_yaml(cfg))
    for old in exchange.glob("error-*.txt"):
        old.unlink()
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=process_count(cfg.trainer),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.2,
    )
    # Its report of a failed rank is a page long; ours is the rank's own message.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        elastic_launch(settings, sys.executable)("-m", "emer.jobs.rank", job, str(config_file))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message_file = exchange / f"error-{rank}.txt"
        if message_file.is_file():
            raise EmerError(f"rank {rank}: {message_file.read_text(encoding='utf-8').strip()}") from None
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise EmerError(f"rank {rank} was killed by {name}") from None
        raise EmerError(f"rank {rank} failed with exit status {failure.exitcode}; see its traceback above") from None
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        # The launcher leaves its own handlers behind, which would end the sweep's next job in its own way.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
