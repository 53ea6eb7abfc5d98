"""``emer evaluate``: reload a run and evaluate it again."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.errors import EmerError
from emer.files import atomic_path
from emer.instantiation import instantiate
from emer.jobs.launch import launch, process_count
from emer.jobs.prepare import prepare_data, set_threads
from emer.jobs.train import best_checkpoint, build_datamodule, build_module, evaluation_of, quiet, readable, report
from emer.labels import run_label
from emer.processes import is_first_rank, is_rank
from emer.results import write_evaluation
from emer.run_folder import RunFolder


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a run's checkpoint on its test split into a folder of its own.

    Raises:
        EmerError: the run folder, its config or its checkpoint is missing, or the data cannot be read.
    """
    folder = RunFolder(cfg.run)
    run_cfg = config_of(cfg, folder)
    if is_rank():
        _evaluate(cfg, run_cfg, folder, Path(cfg.target))
        return
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_{run_label(run_cfg)}"
    target = Path(cfg.paths.output_dir) / "evaluate" / name
    with atomic_path(target) as temporary:
        temporary.mkdir()
        if process_count(cfg.trainer) > 1:
            prepare_data(run_cfg)
            cfg.target = str(temporary)
            launch("evaluate", cfg, temporary)
        else:
            _evaluate(cfg, run_cfg, folder, temporary)
    console = Console()
    console.print(difference_to(folder, target, cfg), highlight=False)
    console.print(str(target), soft_wrap=True, highlight=False)


def config_of(cfg: DictConfig, folder: RunFolder) -> DictConfig:
    """The run's config, with this evaluation's cache, threads and data folder."""
    run_cfg = folder.load_config()
    run_cfg.paths = cfg.paths
    if cfg.num_threads is not None:
        run_cfg.num_threads = cfg.num_threads
    if cfg.data_root is not None:
        if "root" not in run_cfg.data:
            raise EmerError(f"data_root: the run used data={run_cfg.data.name}, which has no folder to move")
        run_cfg.data.root = cfg.data_root
        source = run_cfg.data.source
        (source.adapter if "adapter" in source else source).root = cfg.data_root
    return run_cfg


def checkpoint_of(cfg: DictConfig, folder: RunFolder) -> Path:
    """The checkpoint that ``cfg.checkpoint`` names.

    Raises:
        EmerError: it does not exist.
    """
    if cfg.checkpoint == "best":
        return best_checkpoint(folder)
    path = folder.last_checkpoint if cfg.checkpoint == "last" else Path(cfg.checkpoint)
    if not path.is_file():
        raise EmerError(f"checkpoint: {path} does not exist (use best, last, or the path of a checkpoint)")
    return path


def _evaluate(cfg: DictConfig, run_cfg: DictConfig, folder: RunFolder, target: Path) -> None:
    quiet()
    set_threads(run_cfg)
    checkpoint = checkpoint_of(cfg, folder)
    # What decides the numbers is the run's; what decides where they are computed is this evaluation's.
    cfg.trainer.precision = run_cfg.trainer.precision
    cfg.trainer.limit_test_batches = run_cfg.trainer.limit_test_batches
    pl.seed_everything(int(run_cfg.seed), workers=True, verbose=False)
    datamodule = build_datamodule(run_cfg, prepare_data(run_cfg))
    module = build_module(run_cfg, datamodule)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=str(target),
    )
    with readable(checkpoint, "checkpoint"):
        trainer.test(module, datamodule=datamodule, ckpt_path=str(checkpoint), verbose=False)
    if not is_first_rank():
        return
    evaluation = evaluation_of(module, datamodule, int(run_cfg.loader.eval_batch_size))
    write_evaluation(target, evaluation)
    if not cfg.baselines:
        OmegaConf.update(run_cfg, "baselines.fusion_formula", False)
    report(run_cfg, target, evaluation, datamodule)


def difference_to(folder: RunFolder, target: Path, cfg: DictConfig) -> str:
    """One line: whether the metrics equal the run's own."""
    own = folder.path / "metrics.json"
    if cfg.checkpoint != "best" or not own.is_file():
        return "evaluated"
    before, now = _numbers(own), _numbers(target / "metrics.json")
    if before == now:
        return "metrics equal the run's own exactly"
    names = sorted(set(before) | set(now))
    far = max(names, key=lambda name: abs((before.get(name) or 0) - (now.get(name) or 0)))
    return f"largest difference to the run's own metrics: {far} was {before.get(far)}, is {now.get(far)}"


def _numbers(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
