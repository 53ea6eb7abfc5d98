"""``emer ab-test``: a simulated A/B test of trained runs and formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from emer.errors import EmerError
from emer.files import atomic_path, write_text
from emer.instantiation import instantiate
from emer.jobs.run_arms import arms_of, check_apart
from emer.jobs.simulation import as_list, new_folder, show
from emer.jobs.train import close_loggers
from emer.online.ab_test import Plan, run_test
from emer.online.experiment import Effect
from emer.online.outcome_folder import plain, summary, write_outcome
from emer.online.setting import Setting
from emer.progress import counting
from emer.run_folder import RunFolder


def ab_test(cfg: DictConfig) -> None:
    """Run the test, write its folder, print its table.

    Raises:
        EmerError: an arm is unknown or given twice, or a number is out of range.
    """
    setting: Setting = instantiate(cfg.world)
    arms = arms_of(as_list(cfg, "arms"))
    setting.check_users(cfg.users)
    _check_logger(cfg)
    for path in filter(Path.is_dir, map(Path, map(str, as_list(cfg, "arms")))):
        source = OmegaConf.select(RunFolder(path).load_config(), "data.source")
        if source is not None and "setting" in source and source.setting.seed == setting.seed:
            check_apart(cfg.users, setting, int(source.users), path)
    plan = plan_of(cfg)
    target = new_folder(cfg, f"{cfg.name}_{setting.name}")
    with counting("Simulated user-days", plan.users * (plan.before + plan.days * len(arms))) as progress:
        outcome = run_test(setting, arms, plan, progress)
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        write_text(temporary / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_outcome(temporary, outcome)
    to_wandb(cfg, target, outcome.effects)
    show(summary(outcome), target)


def plan_of(cfg: DictConfig) -> Plan:
    """The keys that conf/ab_test.yaml and conf/ab_worlds.yaml share.

    Raises:
        EmerError: a number is out of range, or a segment is unknown.
    """
    return Plan(
        users=cfg.users,
        days=cfg.days,
        before=cfg.before,
        name=str(cfg.name),
        segments=tuple(as_list(cfg, "segments")),
        offline_requests=cfg.offline_requests,
        processes=cfg.processes,
        threads=cfg.num_threads,
    )


def _check_logger(cfg: DictConfig) -> None:
    if not OmegaConf.is_dict(cfg.logger):
        raise EmerError("logger must not be null; logger=none logs nothing")
    for name, node in cfg.logger.items():
        if name != "wandb" or node is None:
            raise EmerError(f"logger has {name}; an A/B test logs to wandb, or with logger=none to none")


def to_wandb(cfg: DictConfig, folder: Path, found: list[Effect]) -> None:
    """The table, the picture and every difference in per cent, as one W&B run; nothing with ``logger=none``."""
    for node in (cfg.logger or {}).values():
        logger: WandbLogger = instantiate(
            node, run_dir=str(folder), name=folder.name, group=cfg.run.group, tags=[cfg.task_name, str(cfg.world.name)],
            config=OmegaConf.to_container(cfg),
        )  # fmt: skip
        rows = [plain(effect) for effect in found]
        if rows:  # too few users may leave nothing to compare
            logger.log_table("effects", columns=list(rows[0]), data=[list(row.values()) for row in rows])
        logger.log_image("effects_picture", [str(folder / "effects.png")])
        logger.log_metrics(
            {
                f"{effect.arm}/{effect.metric}/{effect.kind}": effect.difference.percent
                for effect in found
                if (effect.design, effect.segment) == ("twin", "all") and np.isfinite(effect.difference.percent)
            }
        )
        close_loggers(exit_code=0)
