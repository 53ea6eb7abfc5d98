"""``emer mechanism``: how the end of a session decides whether dividing by watch time pays."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from emer.files import atomic_path, write_text
from emer.instantiation import instantiate
from emer.jobs.simulation import as_list, new_folder, show
from emer.online.checks import whole
from emer.online.mechanism import as_csv, as_markdown, draw
from emer.online.mechanism import mechanism as sweep
from emer.online.setting import Setting
from emer.progress import counting


def mechanism(cfg: DictConfig) -> None:
    """Simulate every alpha under every eta, write ``mechanism.{md,csv,png}`` and print the table.

    Raises:
        EmerError: a number is out of range.
    """
    setting: Setting = instantiate(cfg.world)
    setting.check_users(cfg.users)
    for key in ("days", "processes"):
        whole(key, cfg[key], 1)
    for key in ("etas", "alphas"):
        as_list(cfg, key)
    target = new_folder(cfg, f"{cfg.pxtr}_{setting.name}")
    etas, alphas = list(cfg.etas), list(cfg.alphas)
    with counting("Simulated user-days", cfg.users * cfg.days * len(etas) * (1 + len(alphas))) as done:
        found = sweep(
            setting, cfg.pxtr, etas, alphas,
            users=cfg.users, days=cfg.days, processes=cfg.processes, progress=done,
        )  # fmt: skip
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        write_text(temporary / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_text(temporary / "mechanism.md", as_markdown(found))
        write_text(temporary / "mechanism.csv", as_csv(found))
        draw(found, temporary / "mechanism.png")
    show(as_markdown(found), target)
