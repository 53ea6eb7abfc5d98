"""An independent yardstick for the pxtr model: gradient-boosted trees on the same days and features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from emer.pxtr.calibration import ordering_auc
from emer.pxtr.day_rows import DayRows, Piece
from emer.pxtr.features import Encoder
from emer.pxtr.forward_chain import Block
from emer.requests import Objective, Unit


class Reference:
    """Fits scikit-learn's HistGradientBoostingClassifier beside every model of a forward chain.

    It learns from the very days, and from the very encoded matrix, that the chain's model had, with scikit-learn's
    default settings. It holds all of these rows in memory.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        """Nothing fitted yet.

        Args:
            objectives: the K targets; the one in seconds is left out.
        """
        self.objectives = tuple(objectives)
        self.predicted: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def add(self, block: Block, encoder: Encoder, rows: DayRows) -> None:
        """Fit for a block, and predict the exposures of its days.

        Args:
            block: the chain's.
            encoder: as the chain's model had it.
            rows: the log, up to the end of the block.
        """
        train, label = _matrix(rows.pieces(None, block.days[0]), encoder)
        pieces = [piece for day in block.days for piece in rows.pieces(day, day + 1)]
        if not pieces:
            return
        query, actual = _matrix(pieces, encoder)
        found = np.full(actual.shape, np.nan)
        for k, objective in enumerate(self.objectives):
            if objective.unit is Unit.SECONDS:
                continue
            if label[:, k].min() == label[:, k].max():
                found[:, k] = label[0, k]
                continue
            model = HistGradientBoostingClassifier(random_state=0).fit(train, label[:, k])
            found[:, k] = model.predict_proba(query)[:, 1]
        self.predicted.append(found)
        self.targets.append(actual)

    def auc(self) -> dict[str, float | None]:
        """Pooled AUC per probability objective on the predicted rows."""
        predicted, targets = np.concatenate(self.predicted), np.concatenate(self.targets)
        return {
            o.name: ordering_auc(predicted[:, k], targets[:, k])
            for k, o in enumerate(self.objectives)
            if o.unit is not Unit.SECONDS
        }


def _matrix(pieces: Sequence[Piece], encoder: Encoder) -> tuple[np.ndarray, np.ndarray]:
    loaded = [piece.load() for piece in pieces]
    return np.concatenate([encoder.transform(f).matrix() for f, _ in loaded]), np.concatenate([t for _, t in loaded])
