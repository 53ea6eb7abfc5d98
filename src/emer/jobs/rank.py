"""One rank of a job: ``python -m emer.jobs.rank <job> <config file>``, started by :mod:`emer.jobs.launch`."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from emer.errors import EmerError
from emer.files import write_text


def main(job: str, config_file: str) -> int:
    """Run the job in this process; its error message goes into a file for the parent."""
    cfg = OmegaConf.load(config_file)
    assert isinstance(cfg, DictConfig)
    OmegaConf.set_struct(cfg, True)
    message_file = Path(config_file).with_name(f"error-{os.environ['RANK']}.txt")
    try:
        getattr(import_module(f"emer.jobs.{job}"), job)(cfg)
    except EmerError as error:
        write_text(message_file, str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        write_text(message_file, f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
