"""``emer calibrate``: fits a world to published marginals, and writes its simulation card."""

from __future__ import annotations

import numpy as np
import yaml
from omegaconf import DictConfig
from rich.console import Console

from emer.errors import EmerError
from emer.files import atomic_path, write_json, write_text
from emer.instantiation import instantiate
from emer.jobs.simulation import new_folder
from emer.online.calibration import as_rows
from emer.online.calibration import calibrate as fit
from emer.online.card import as_markdown, simulation_card
from emer.online.setting import Setting
from emer.progress import counting


def calibrate(cfg: DictConfig) -> None:
    """Fit ``cfg.world``, write ``world.yaml`` (parameters for conf/world), ``card.md`` and ``card.json``.

    Raises:
        EmerError: a number is out of range.
    """
    setting: Setting = instantiate(cfg.world)
    setting.check_users(cfg.users)
    if cfg.rounds < 0:
        raise EmerError(f"rounds is {cfg.rounds}; it must not be negative")
    target = new_folder(cfg, setting.name)
    users = np.arange(cfg.users)
    with counting("Corrections", cfg.rounds) as done:
        # Without a correction, the measurement alone.
        setting, found = fit(setting, users, rounds=cfg.rounds, slopes=cfg.slopes, progress=lambda _: done(1))
    card = simulation_card(setting, found, users)
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in setting.parameters.items()}
        write_text(temporary / "world.yaml", yaml.safe_dump({"parameters": plain}, sort_keys=False))
        write_json(temporary / "card.json", card)
        write_text(temporary / "card.md", as_markdown(card))
    out = Console()
    for row in as_rows(found):
        out.print(
            f"{row['policy']:9} {row['quantity']:10} published {100 * row['published']:8.4f} %   here "
            f"{100 * row['found']:8.4f} %   {row['difference_percent']:+6.1f} %",
            highlight=False,
        )
    out.print(str(target), soft_wrap=True, highlight=False)
