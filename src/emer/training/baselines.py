"""The fusion formula as a baseline of every run: tuned once per log, evaluated on the run's test requests."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import torch

from emer.data.module import RequestDataModule
from emer.errors import EmerError
from emer.metrics.request_metrics import RequestMetrics
from emer.results import Evaluation
from emer.training.pair_objective import TuningObjective
from emer.training.tuning import tune_formula


@torch.no_grad()
def evaluate_fusion_formula(
    datamodule: RequestDataModule, *, objective: str, n_trials: int, seed: int, top_k: int, cache_dir: Path
) -> Evaluation:
    """Tune the formula on the training requests (or read it from the cache) and evaluate it on all test requests.

    Args:
        datamodule: the log.
        objective: ``label_gauc`` or ``pxtr_gauc``.
        n_trials: formulas that may be evaluated.
        seed: of the tuner.
        top_k: length of the list in DCG@k and the like.
        cache_dir: where tuned formulas are kept.

    Raises:
        EmerError: ``objective`` is unknown, or the log has nothing to tune it on.
    """
    if objective not in get_args(TuningObjective):
        raise EmerError(
            f"baselines.objective is {objective!r}; it must be one of {', '.join(get_args(TuningObjective))}"
        )
    formula = tune_formula(
        datamodule.splits.train,
        objective=cast(TuningObjective, objective),
        n_trials=n_trials,
        seed=seed,
        cache_dir=cache_dir,
    ).formula()
    metrics = RequestMetrics(datamodule.schema, k=top_k)
    for batch in datamodule.test_dataloader():
        metrics.update(formula(batch), batch)
    return Evaluation(*metrics.compute())
