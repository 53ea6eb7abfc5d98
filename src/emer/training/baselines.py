"""The fusion formula as a baseline of every run: tuned once per log, evaluated on the run's test requests."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from emer.data.module import RequestDataModule
from emer.errors import EmerError
from emer.metrics.request_metrics import RequestMetrics
from emer.results import Evaluation
from emer.training.pair_objective import TuningObjective
from emer.training.tuning import tune_formula

log = logging.getLogger(__name__)


@torch.no_grad()
def evaluate_fusion_formula(
    datamodule: RequestDataModule,
    rows: np.ndarray,
    *,
    objective: TuningObjective,
    n_trials: int,
    seed: int,
    top_k: int,
    batch_size: int,
    cache_dir: Path,
) -> Evaluation | None:
    """Tune the formula on the training requests (or read it from the cache) and evaluate it on test requests.

    Runs in one process, whatever the trainer does.

    Args:
        datamodule: the log.
        rows: (R,) the test requests, those that the method was evaluated on.
        objective: ``label_gauc`` or ``pxtr_gauc``. A log without usable feedback is tuned for the latter.
        n_trials: formulas that may be evaluated.
        seed: of the tuner.
        top_k: length of the list in DCG@k and the like.
        batch_size: requests that are scored at a time.
        cache_dir: where tuned formulas are kept.

    Returns:
        None where there is nothing to tune on: every pxtr is the same for all candidates of a request.
    """
    table = datamodule.training_sample()
    tuned = None
    for goal in dict.fromkeys((objective, "pxtr_gauc")):
        try:
            tuned = tune_formula(table, objective=goal, n_trials=n_trials, seed=seed, cache_dir=cache_dir)
            break
        except EmerError as error:
            log.warning("%s", error)
    if tuned is None:
        return None
    formula = tuned.formula()
    # One process alone computes this, so the metric must not wait for others.
    metrics = RequestMetrics(datamodule.schema, k=top_k, sync_on_compute=False)
    for batch in datamodule.batches("test", batch_size, rows):
        metrics.update(formula(batch), batch)
    return Evaluation(*metrics.compute())
