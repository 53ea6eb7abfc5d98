"""``emer ab-test``: a simulated A/B test of trained runs and formulas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.data.simulated import simulated_schema
from emer.errors import EmerError
from emer.files import atomic_path, write_json, write_text
from emer.instantiation import instantiate
from emer.jobs.simulation import check_users, counting, new_folder
from emer.jobs.train import best_checkpoint, readable
from emer.labels import method_label
from emer.online.arms import NamedArm, network_score
from emer.online.experiment import Effect, effects
from emer.online.report import as_csv, as_markdown, draw
from emer.online.setting import Setting
from emer.online.simulate import LoadArm, Simulated, simulate
from emer.online.totals import Totals
from emer.run_folder import RunFolder
from emer.training.evaluated_module import EvaluatedModule
from emer.world.population import ACTIVITY_LEVELS, World
from emer.world.walk import Score


@dataclass(frozen=True)
class RunArm:
    """A trained run that serves with its best checkpoint.

    Args:
        path: its folder.
    """

    path: Path

    def __call__(self, world: World) -> Score:
        """The run's ranker in a world.

        Raises:
            EmerError: the folder is no run, has no checkpoint, or was trained on another kind of log.
        """
        folder = RunFolder(self.path)
        cfg = folder.load_config()
        checkpoint = best_checkpoint(folder)
        module: EvaluatedModule = instantiate(
            cfg.method.module, schema=simulated_schema(), top_k=int(cfg.metrics.top_k)
        )
        with readable(checkpoint, "arms"):
            module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
        return network_score(world, module.eval())


def ab_test(cfg: DictConfig) -> None:
    """Run the test, write its folder, print its table.

    Raises:
        EmerError: an arm is unknown or given twice, or a number is out of range.
    """
    setting: Setting = instantiate(cfg.world)
    arms = arms_of(list(cfg.arms))
    check_users(cfg.users, setting)
    for key, least in (("days", 1), ("before", 0), ("processes", 1), ("num_threads", 1)):
        if cfg[key] < least:
            raise EmerError(f"{key} is {cfg[key]}; it must be at least {least}")
    segments = _segments(cfg, setting)
    target = new_folder(cfg, f"{cfg.name}_{setting.name}")
    console = Console()
    with counting("Simulated user-days", cfg.users * (cfg.before + cfg.days * len(arms))) as progress:
        simulated = simulate(
            setting, arms, cfg.users, cfg.days,
            before=cfg.before, processes=cfg.processes, threads=cfg.num_threads, progress=progress,
        )  # fmt: skip
    base = next(iter(arms))
    found = effects(simulated.totals, base, before=simulated.before, name=str(cfg.name), segments=segments)
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        _write(temporary, cfg, found, simulated, base)
    console.print(as_markdown(found, base), soft_wrap=True, highlight=False, markup=False)
    console.print(str(target), soft_wrap=True, highlight=False)


def arms_of(names: list[str]) -> dict[str, LoadArm]:
    """Label -> loader, in the order given.

    Raises:
        EmerError: an arm is unknown, or two are the same.
    """
    arms: dict[str, LoadArm] = {}
    for name in map(str, names):
        path = Path(name)
        if path.is_dir():
            label = method_label(RunFolder(path).load_config().method)
            label = label if label not in arms else path.name
            arm: LoadArm = RunArm(path)
        else:
            label, arm = name, NamedArm(name).score
        if label in arms:
            raise EmerError(f"arms: {name} is given twice")
        arms[label] = arm
    if len(arms) < 2:
        raise EmerError(f"arms is [{', '.join(arms)}]; a test needs a base and at least one more arm")
    return arms


def _segments(cfg: DictConfig, setting: Setting) -> dict[str, np.ndarray]:
    unknown = sorted(set(cfg.segments) - {"activity"})
    if unknown:
        raise EmerError(f"segments has {', '.join(unknown)}; there is activity, or [] for none")
    if "activity" not in cfg.segments:
        return {}
    level = setting.world.activity[: cfg.users]
    return {name: level == index for index, name in enumerate(ACTIVITY_LEVELS) if (level == index).sum() > 1}


def _write(folder: Path, cfg: DictConfig, found: list[Effect], simulated: Simulated, base: str) -> None:
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_text(folder / "effects.csv", as_csv(found))
    write_text(folder / "effects.md", as_markdown(found, base))
    write_json(folder / "effects.json", [vars_of(effect) for effect in found])
    parts = [_columns(arm, totals) for arm, totals in simulated.totals.items()]
    with atomic_path(folder / "user_days.parquet") as temporary:
        pq.write_table(pa.concat_tables(parts), temporary, compression="zstd")
    draw(found, simulated.totals, base, folder / "effects.png")


def vars_of(effect: Effect) -> dict[str, object]:
    """An effect as plain numbers, None where there is none."""
    flat = {k: v for k, v in vars(effect).items() if k != "difference"} | vars(effect.difference)
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in flat.items()}


def _columns(arm: str, totals: Totals) -> pa.Table:
    users, days = totals.users.size, totals.days
    columns = {"arm": np.full(users * days, arm), "user_id": np.repeat(totals.users, days)}
    columns |= {"day": np.tile(np.arange(days), users)}
    return pa.table(columns | {name: value.reshape(-1) for name, value in totals.values.items()})
