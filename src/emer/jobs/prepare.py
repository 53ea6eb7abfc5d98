"""``emer prepare``: a data set becomes request Parquet."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from emer.data.places import Place
from emer.data.source import Source
from emer.instantiation import instantiate


def prepare(cfg: DictConfig) -> None:
    """Prepare ``cfg.data`` and print the folder."""
    set_threads(cfg)
    folder = prepare_data(cfg)
    Console().print(str(folder), soft_wrap=True, highlight=False)


def prepare_data(cfg: DictConfig) -> Place:
    """The request Parquet of ``cfg.data``, made now if it is not in the cache."""
    source: Source = instantiate(cfg.data.source)
    return source.prepare(Path(cfg.paths.cache_dir))


def set_threads(cfg: DictConfig) -> None:
    """Limit torch's threads to ``cfg.num_threads`` where it is set."""
    if cfg.num_threads is not None:
        torch.set_num_threads(int(cfg.num_threads))
