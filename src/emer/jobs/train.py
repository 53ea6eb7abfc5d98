"""``emer train``: train a method on a request log, evaluate it, leave a run folder."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from emer.data.module import RequestDataModule
from emer.data.places import Place
from emer.data.segments import request_segments
from emer.errors import EmerError
from emer.files import write_json
from emer.instantiation import instantiate
from emer.jobs.launch import launch, process_count
from emer.jobs.prepare import prepare_data, set_threads
from emer.jobs.reuse import finished_twin, take_over
from emer.labels import method_label, run_label
from emer.processes import is_first_rank, is_rank
from emer.results import Evaluation, compare, print_table, write_evaluation
from emer.run_folder import RunFolder
from emer.training.baselines import evaluate_fusion_formula
from emer.training.callbacks import MetricsCsv, RanksAgree, Throughput
from emer.training.evaluated_module import EvaluatedModule
from emer.training.loggers import define_summaries
from emer.training.pair_objective import TuningObjective

_PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")


def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Train, evaluate and report one run.

    Returns:
        The value of ``optimized_metric`` (or the values, for a list), for a hyper-parameter search.

    Raises:
        EmerError: with what went wrong and what to do.
    """
    folder = RunFolder(cfg.run.dir)
    before = folder.status()
    if cfg.ckpt_path == "auto" and before.get("status") == "finished" and before.get("identity") == cfg.run.identity:
        Console().print(f"{run_label(cfg)} is finished already", highlight=False)
    else:
        if not is_rank() and folder.is_alive():
            raise EmerError(f"another process is at work in {folder.path}; wait for it or use another folder")
        check_settings(cfg)
        if cfg.reuse and not cfg.logger and not is_rank() and (twin := finished_twin(cfg)) is not None:
            take_over(twin, folder, cfg)
            Console().print(f"{run_label(cfg)} is taken from {twin.path}", soft_wrap=True, highlight=False)
            return optimized_value(cfg, folder)
        resume_from(cfg, folder)  # refused before anything of an older run is touched
        with keep_status(folder, cfg):
            if process_count(cfg.trainer) > 1 and not is_rank():
                prepare_data(cfg)
                launch("train", cfg, folder.path)
            else:
                _train(cfg, folder)
            optimized_value(cfg, folder)  # a run that lacks it has failed
    if not is_rank():
        Console().print(str(folder.path), soft_wrap=True, highlight=False)
    return optimized_value(cfg, folder)


def check_settings(cfg: DictConfig) -> None:
    """Refuse what would fail, or mislead, only after training.

    Raises:
        EmerError: naming the setting.
    """
    if str(cfg.trainer.precision) not in _PRECISIONS:
        allowed = ", ".join(_PRECISIONS)
        raise EmerError(
            f"trainer.precision is {cfg.trainer.precision}; pxtrs need float32, so it must be one of {allowed}"
        )
    if cfg.method.get("objective_name") is not None and "default_objective" not in cfg.method:
        raise EmerError(
            f"method {cfg.method.name} learns no objective; leave out objective={cfg.method.objective_name}"
        )
    if cfg.baselines.objective not in get_args(TuningObjective):
        known = ", ".join(get_args(TuningObjective))
        raise EmerError(f"baselines.objective is {cfg.baselines.objective!r}; it must be one of {known}")
    for key in (
        "baselines.trials", "patience", "metrics.top_k", "loader.batch_size", "loader.eval_batch_size",
        "loader.buffer", "loader.sample",
    ):  # fmt: skip
        if int(OmegaConf.select(cfg, key)) < 1:
            raise EmerError(f"{key} is {OmegaConf.select(cfg, key)}; it must be at least 1")
    if cfg.num_threads is not None and int(cfg.num_threads) < 1:
        raise EmerError(f"num_threads is {cfg.num_threads}; it must be at least 1, or null")
    if not 0 <= int(cfg.seed) < 2**32:
        raise EmerError(f"seed is {cfg.seed}; it must be in 0 .. 4294967295")
    session = OmegaConf.select(cfg, "method.objective.posterior_scope") == "session"
    if session and cfg.loader.shuffle:
        raise EmerError(
            "method.objective.posterior_scope=session needs loader.shuffle=false: sessions stay together in time"
        )


@contextmanager
def keep_status(folder: RunFolder, cfg: DictConfig) -> Iterator[None]:
    """Write the run's start, and how it ended, into ``status.json``; the first rank alone does."""
    if not is_first_rank():
        yield
        return
    folder.start(cfg, keep=cfg.ckpt_path is not None)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning turns Ctrl-C and SIGTERM into SystemExit.
        folder.set_status("interrupted")
        raise KeyboardInterrupt from error
    except BaseException as error:
        folder.set_status("failed", error=f"{type(error).__name__}: {error}")
        raise
    folder.set_status("finished")


def optimized_value(cfg: DictConfig, folder: RunFolder) -> float | tuple[float, ...] | None:
    """The run's ``optimized_metric``, from what it wrote."""
    names = cfg.optimized_metric
    if names is None or not is_first_rank():
        return None
    values = folder.read("validation.json")
    wanted = [names] if isinstance(names, str) else list(names)
    missing = [name for name in wanted if name not in values]
    if missing:
        raise EmerError(
            f"optimized_metric names {', '.join(missing)}, which this run did not log; "
            f"it logged {', '.join(sorted(values))}"
        )
    found = tuple(float(values[name]) for name in wanted)
    return found[0] if isinstance(names, str) else found


def _train(cfg: DictConfig, folder: RunFolder) -> None:
    started = time.perf_counter()
    quiet()
    set_threads(cfg)
    pl.seed_everything(int(cfg.seed), workers=True, verbose=False)
    datamodule = build_datamodule(cfg, prepare_data(cfg))
    module = build_module(cfg, datamodule)
    prepared = time.perf_counter()
    exit_code = 1
    try:
        trainer = build_trainer(cfg, folder)
        fit(cfg, folder, trainer, module, datamodule)
        fitted = time.perf_counter()
        trainer.test(module, datamodule=datamodule, ckpt_path=str(best_checkpoint(folder)), verbose=False)
        if trainer.is_global_zero:
            evaluation = evaluation_of(module, datamodule, int(cfg.loader.eval_batch_size))
            write_evaluation(folder.path, evaluation)
            report(cfg, folder.path, evaluation, datamodule)
            log_evaluation(trainer, evaluation)
            ended = time.perf_counter()
            write_json(
                folder.path / "timing.json",
                {
                    "prepare_seconds": prepared - started,
                    "fit_seconds": fitted - prepared,
                    "evaluate_seconds": ended - fitted,
                    "optimiser_steps": trainer.global_step,
                    "parameters": module.parameter_count,
                    "train_rows_per_second": _throughput(trainer),
                },
            )
        exit_code = 0
    finally:
        close_loggers(exit_code)


def evaluation_of(module: EvaluatedModule, datamodule: RequestDataModule, batch_size: int) -> Evaluation:
    """What the test left, and the segment of each request."""
    per_request = module.test_per_request
    segments = request_segments(datamodule.batches("test", batch_size, per_request["row"]))
    return Evaluation(module.test_summary, {**per_request, **segments})


def _throughput(trainer: pl.Trainer) -> float | None:
    """Candidates per second and process in training steps."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c.rows_per_second for c in callbacks if isinstance(c, Throughput)), None)


def fit(
    cfg: DictConfig,
    folder: RunFolder,
    trainer: pl.Trainer,
    module: EvaluatedModule,
    datamodule: RequestDataModule,
) -> None:
    """Train, from a checkpoint if one is asked for; write the best epoch's numbers to ``validation.json``."""
    checkpoint = resume_from(cfg, folder)
    if trainer.is_global_zero:
        if checkpoint is None:
            # A stale last.ckpt must never be resumed by a later `auto`.
            for stale in folder.checkpoints.glob("*.ckpt"):
                stale.unlink()
        write_json(folder.checkpoints / "identity.json", {"identity": cfg.run.identity})
    define_summaries(trainer.loggers, cfg.monitor, cfg.monitor_mode)
    with readable(checkpoint, "ckpt_path"):
        trainer.fit(module, datamodule=datamodule, ckpt_path=None if checkpoint is None else str(checkpoint))
    if trainer.is_global_zero:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        rows = next((c.rows for c in callbacks if isinstance(c, MetricsCsv)), [])
        epoch = torch.load(best_checkpoint(folder), map_location="cpu", weights_only=False)["epoch"]
        best = next((row for row in rows if row["epoch"] == epoch), {})
        write_json(folder.path / "validation.json", best)


def resume_from(cfg: DictConfig, folder: RunFolder) -> Path | None:
    """The checkpoint to go on from.

    Raises:
        EmerError: ``ckpt_path`` names a file that does not exist, or the folder's checkpoint is of other settings.
    """
    if cfg.ckpt_path is None:
        return None
    if cfg.ckpt_path == "auto":
        if not folder.last_checkpoint.is_file():
            return None
        made_with = folder.read("checkpoints/identity.json").get("identity")
        if made_with != cfg.run.identity:
            raise EmerError(
                f"ckpt_path=auto: the checkpoint in {folder.path} was made with other settings; "
                "leave ckpt_path out, or use another folder"
            )
        return folder.last_checkpoint
    path = Path(cfg.ckpt_path)
    if not path.is_file():
        raise EmerError(f"ckpt_path: the checkpoint {path} does not exist")
    return path


@contextmanager
def readable(checkpoint: Path | None, key: str) -> Iterator[None]:
    """Say what is wrong with a checkpoint that cannot be loaded.

    Raises:
        EmerError: the file is damaged, or is of another model or log.
    """
    if checkpoint is not None:
        try:
            content = torch.load(checkpoint, map_location="cpu", weights_only=False)
            sound = isinstance(content, dict) and "state_dict" in content
        except Exception as error:  # a damaged pickle can raise anything
            raise EmerError(f"{key}: {checkpoint} is damaged or no checkpoint ({type(error).__name__})") from error
        if not sound:
            raise EmerError(f"{key}: {checkpoint} is no checkpoint of this project")
    try:
        yield
    except (RuntimeError, KeyError) as error:
        if checkpoint is None or "state_dict" not in str(error):
            raise
        first = str(error).strip().splitlines()[0]
        raise EmerError(f"{key}: {checkpoint} does not fit this model and log ({first})") from error


def best_checkpoint(folder: RunFolder) -> Path:
    """The best checkpoint, or the last where nothing was monitored.

    Raises:
        EmerError: the run has neither.
    """
    for path in (folder.best_checkpoint, folder.last_checkpoint):
        if path.is_file():
            return path
    raise EmerError(f"{folder.checkpoints} holds neither best.ckpt nor last.ckpt: no epoch was completed")


def report(cfg: DictConfig, target: Path, evaluation: Evaluation, datamodule: RequestDataModule) -> None:
    """Compare with the baselines, write ``comparison.json``, print the table."""
    baselines = {}
    if cfg.baselines.fusion_formula:
        formula = evaluate_fusion_formula(
            datamodule,
            evaluation.per_request["row"],
            objective=cfg.baselines.objective,
            n_trials=int(cfg.baselines.trials),
            seed=int(cfg.seed),
            top_k=int(cfg.metrics.top_k),
            batch_size=int(cfg.loader.eval_batch_size),
            cache_dir=Path(cfg.paths.cache_dir),
        )
        if formula is not None:
            baselines["fusion_formula"] = formula
    comparison = compare(evaluation, baselines)
    write_json(target / "comparison.json", comparison)
    requests = len(evaluation.per_request["row"])
    title = f"{cfg.data.name}: {requests} test requests, seed {cfg.seed}"
    print_table(title, method_label(cfg.method), comparison, list(baselines), datamodule.schema, Console())


def build_datamodule(cfg: DictConfig, root: Place) -> RequestDataModule:
    """The data module over prepared request Parquet."""
    loader = cfg.loader
    datamodule = RequestDataModule(
        root=root,
        batch_size=int(loader.batch_size),
        eval_batch_size=int(loader.eval_batch_size),
        seed=int(cfg.seed),
        shuffle=bool(loader.shuffle),
        num_workers=int(loader.num_workers),
        pin_memory=bool(loader.pin_memory),
        iput_floor=float(loader.iput_floor),
        fractions=tuple(loader.fractions),
        **{key: loader[key] for key in ("stream", "buffer", "sample") if key in loader},  # older runs have none
        keep_positives=dict(loader.get("keep_positives") or {}),
    )
    datamodule.setup("fit")
    return datamodule


def build_module(cfg: DictConfig, datamodule: RequestDataModule) -> EvaluatedModule:
    """The method's LightningModule."""
    return instantiate(cfg.method.module, schema=datamodule.schema, top_k=int(cfg.metrics.top_k))


def build_trainer(cfg: DictConfig, folder: RunFolder) -> pl.Trainer:
    """The Lightning Trainer with this run's callbacks and loggers."""
    callbacks = [instantiate(node) for node in (cfg.callbacks or {}).values() if node is not None]
    callbacks = [callback for callback in callbacks if callback is not None]
    callbacks.append(Throughput())
    callbacks.append(RanksAgree(f"{cfg.run.identity} in {cfg.run.dir}"))
    shown = any(isinstance(callback, pl.callbacks.ProgressBar) for callback in callbacks)
    return instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=build_loggers(cfg, folder) or False,
        default_root_dir=str(folder.path),
        enable_progress_bar=shown,
    )


def build_loggers(cfg: DictConfig, folder: RunFolder) -> list[Any]:
    """The configured loggers; W&B is told the run's name, sweep, tags and config."""
    loggers = []
    for name, node in (cfg.logger or {}).items():
        if node is None:
            continue
        more: dict[str, Any] = {}
        if name == "wandb":
            config: Any = OmegaConf.to_container(cfg)
            more = {
                "run_dir": str(folder.path),
                "name": run_label(cfg),
                "group": cfg.run.group,
                "tags": [*cfg.tags, method_label(cfg.method), str(cfg.data.name)],
                "config": {**config, "label": method_label(cfg.method)},  # reports group by it
            }
        loggers.append(instantiate(node, **more))
    return loggers


def log_evaluation(trainer: pl.Trainer, evaluation: Evaluation) -> None:
    """The test metrics, to every logger."""
    numbers = {f"test/{name}": value for name, value in evaluation.summary.items() if value is not None}
    for logger in trainer.loggers:
        logger.log_metrics(numbers, trainer.global_step)


def close_loggers(exit_code: int) -> None:
    """End the W&B run, if there is one, so that the next job of a sweep starts its own."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def quiet() -> None:
    """Leave out Lightning's notices about hardware and its advice on data loading: the log is in memory."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # The previous model is in eval mode on purpose.
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
