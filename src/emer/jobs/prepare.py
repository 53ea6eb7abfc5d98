"""``emer prepare``: a data set becomes request Parquet, and on demand a page that describes it."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from emer.data.places import Place
from emer.data.source import Source
from emer.errors import EmerError
from emer.instantiation import instantiate


def prepare(cfg: DictConfig) -> None:
    """Prepare ``cfg.data`` and print the folder; with ``describe`` or ``describe_to`` also the page of its profile."""
    set_threads(cfg)
    folder = prepare_data(cfg)
    Console().print(str(folder), soft_wrap=True, highlight=False)
    if cfg.describe or cfg.describe_to is not None:
        Console().print(str(_describe(cfg, folder)), soft_wrap=True, highlight=False)


def prepare_data(cfg: DictConfig) -> Place:
    """The request Parquet of ``cfg.data``, made now if it is not in the cache."""
    source: Source = instantiate(cfg.data.source)
    return source.prepare(Path(cfg.paths.cache_dir))


def _describe(cfg: DictConfig, folder: Place) -> Path:
    if not isinstance(folder, Path):
        raise EmerError(f"describe: {folder} is a URL; a profile is made of a local folder")
    # Here, since it imports what takes seconds and training, which prepares too, does not need it.
    from emer.data.profile.write import place_of, write_profile

    source: Source = instantiate(cfg.data.source)
    place = place_of(folder, Path(cfg.paths.output_dir), Path(cfg.paths.cache_dir))
    target = place if cfg.describe_to is None else Path(cfg.describe_to)
    return write_profile(folder, target, source.describe())


def set_threads(cfg: DictConfig) -> None:
    """Limit torch's threads to ``cfg.num_threads`` where it is set.

    Raises:
        EmerError: it is no positive whole number.
    """
    if cfg.num_threads is not None:
        if type(cfg.num_threads) is not int or cfg.num_threads < 1:
            raise EmerError(f"num_threads is {cfg.num_threads!r}; it must be a whole number of at least 1, or null")
        torch.set_num_threads(cfg.num_threads)
