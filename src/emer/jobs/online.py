"""``emer online``: the closed loop of serving, logging, training and publishing, beside the fusion formula."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.data.simulated import simulated_schema
from emer.errors import EmerError
from emer.files import write_text
from emer.instantiation import instantiate
from emer.jobs.prepare import set_threads
from emer.jobs.simulation import result_folder
from emer.labels import method_label
from emer.online.curves import draw_loop
from emer.online.experiment import effects
from emer.online.incremental import IncrementalTrainer
from emer.online.loop import FORMULA, ClosedLoop, LoopSettings
from emer.online.report import as_csv, as_markdown
from emer.online.setting import Setting
from emer.progress import counting
from emer.training.callbacks import write_rows


def online(cfg: DictConfig) -> None:
    """Run the loop to its end, from where it was interrupted if its folder has a state.

    Raises:
        EmerError: a setting is out of range, the method cannot learn from a stream, or the folder is of another loop.
    """
    set_threads(cfg)
    setting: Setting = instantiate(cfg.world)
    settings: LoopSettings = instantiate(cfg.loop)
    label = method_label(cfg.method)
    folder = result_folder(cfg, f"{label}_{setting.name}")
    _claim(folder, cfg)
    torch.manual_seed(int(cfg.seed))
    module = instantiate(cfg.method.module, schema=simulated_schema(), top_k=int(cfg.metrics.top_k))
    loop = ClosedLoop(
        setting, IncrementalTrainer(module, batch_size=cfg.batch_size, clip=cfg.gradient_clip), settings, folder
    )
    with counting("Simulated hours", settings.hours) as done:
        loop.run(done)
    totals = loop.totals()
    totals = {FORMULA: totals[FORMULA], label: totals["model"]}
    found = [effect for effect in effects(totals, FORMULA, lifetimes=False) if effect.design == "twin"]
    write_rows(folder / "hours.csv", loop.rows)
    write_text(folder / "effects.csv", as_csv(found))
    write_text(folder / "effects.md", as_markdown(found, FORMULA))
    draw_loop(loop.rows, label, folder / "hours.png")
    out = Console()
    out.print(as_markdown(found, FORMULA), soft_wrap=True, highlight=False, markup=False)
    out.print(f"{loop.version} versions published in {settings.hours} hours", highlight=False)
    out.print(str(folder), soft_wrap=True, highlight=False)


def _claim(folder: Path, cfg: DictConfig) -> None:
    """Make the folder this loop's, or check that it is.

    Raises:
        EmerError: it holds something else, or a loop of other settings.
    """
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    own = {str(key): value for key, value in content.items() if key not in ("paths", "folder", "num_threads", "hydra")}
    path = folder / "config.yaml"
    if path.is_file():
        before = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(before, dict)
        differing = sorted(key for key in own if before.get(key) != own[key])
        if differing:
            raise EmerError(
                f"folder: {folder} holds a loop with another {', '.join(differing)}; give the settings of its "
                "config.yaml, or another folder"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise EmerError(f"folder: {folder} is not empty and holds no loop; choose another")
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(own)))
