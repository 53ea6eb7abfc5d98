"""How a model's objectives go together, against how their labels do: a file and a picture in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from emer.files import atomic_path, write_json
from emer.models.objective_relations import GivesAttention, ObjectiveRelations, objective_relations
from emer.requests import Schema

log = logging.getLogger(__name__)

READ_REQUESTS = 256
"""Test requests that are read at a time."""


class ObjectiveRelationsReport(Callback):
    """Writes ``relations.json`` and ``relations.png`` to ``folder`` after a test (HarmonRank's analysis, eq. 22-23).

    Both hold two matrices over the exposed candidates of all test requests: the rank correlation of the feedback
    labels, and the mean attention of one objective to another. One process computes them. A model that gives no
    attention between objectives, and a log that shows nothing, have neither file.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        model = getattr(module, "model", None)
        if not trainer.is_global_zero or not isinstance(model, GivesAttention) or not model.has_attention:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not any(batch.exposed.any() for batch in data.batches("test", READ_REQUESTS)):
            log.warning("no relations.json: no candidate of the test requests was shown")
            return
        batches = (batch.to(module.device) for batch in data.batches("test", READ_REQUESTS))
        relations = objective_relations(model, batches)
        write_json(self.folder / "relations.json", content(relations, data.schema))
        with atomic_path(self.folder / "relations.png") as temporary:
            draw(relations, temporary)


def content(relations: ObjectiveRelations, schema: Schema) -> dict[str, Any]:
    """What ``relations.json`` holds; null where a label never varies.

    Returns:
        ``rows``, the number of exposed candidates; ``label_correlation`` and ``attention``, each with ``names`` and
        ``matrix`` (a list of rows; attention is that of the row's objective to the column's); ``predicts``, objective
        -> feedback label, where the log names one.
    """
    correlation = [[None if x != x else x for x in row] for row in relations.label.tolist()]
    return {
        "rows": relations.rows,
        "label_correlation": {"names": list(relations.feedback_names), "matrix": correlation},
        "attention": {"names": list(relations.objective_names), "matrix": relations.attention.tolist()},
        "predicts": {o.name: o.feedback for o in schema.objectives if o.feedback is not None},
    }


def draw(relations: ObjectiveRelations, path: Path) -> None:
    """Both matrices as heat maps side by side, as PNG. Cells of labels that never vary stay grey.

    White is no correlation, and attention 1 / K to each of K objectives.
    """
    K = len(relations.objective_names)
    inches = 2.0 + 0.6 * max(K, len(relations.feedback_names))
    figure = Figure(figsize=(2 * inches + 1, inches), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _heat_map(left, relations.label, relations.feedback_names, middle=0.0, spread=1.0)
    left.set_title("Spearman correlation of the labels")
    # Attention that is even but for noise must not look like structure.
    spread = max(float((relations.attention - 1 / K).abs().max()), 0.1 / K)
    _heat_map(right, relations.attention, relations.objective_names, middle=1 / K, spread=spread)
    right.set_title(f"Mean attention between objectives (even: {1 / K:.3f})")
    right.set_xlabel("attended to")
    right.set_ylabel("attending")
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _heat_map(axes: Axes, matrix: Tensor, names: Sequence[str], *, middle: float, spread: float) -> None:
    values = np.ma.masked_invalid(matrix.cpu().numpy())
    colours = colormaps["RdBu_r"].with_extremes(bad="0.85")
    image = axes.imshow(values, vmin=middle - spread, vmax=middle + spread, cmap=colours)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(values.filled(np.nan)):
        if not np.isnan(value):
            dark = abs(value - middle) > 0.6 * spread
            digits = f"{value:.3f}" if middle else f"{value:.2f}"
            axes.text(column, row, digits, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
