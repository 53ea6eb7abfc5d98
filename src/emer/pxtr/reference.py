"""An independent yardstick for the pxtr model: gradient-boosted trees on the same days and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

from emer.pxtr.calibration import ordering_auc
from emer.pxtr.features import Encoder
from emer.pxtr.forward_chain import Block
from emer.requests import Objective, Unit


class Reference:
    """Fits scikit-learn's HistGradientBoostingClassifier beside every model of a forward chain.

    Pass the instance as ``on_block`` to :meth:`emer.pxtr.forward_chain.ForwardChain.run`: it then learns
    from the very days, and from the very encoded matrix, that the chain's model had, with scikit-learn's
    default settings.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        targets: np.ndarray,
        objectives: Sequence[Objective],
        on_fit: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare.

        Args:
            frame: features of the log's exposures, with ``day``.
            targets: (n, K) float32.
            objectives: the K columns; the one in seconds is left out.
            on_fit: told what is about to be fitted.
        """
        self.frame = frame
        self.targets = targets
        self.objectives = objectives
        self.on_fit = on_fit
        self.predicted = np.full(targets.shape, np.nan, dtype=np.float64)

    def __call__(self, block: Block, encoder: Encoder) -> None:
        """Predict the exposures of the block's days."""
        day = self.frame["day"].to_numpy()
        past, asked = day < block.days[0], np.isin(day, block.days)
        train = encoder.transform(self.frame.filter(past)).matrix()
        query = encoder.transform(self.frame.filter(asked)).matrix()
        for k, objective in enumerate(self.objectives):
            label = self.targets[past, k]
            if objective.unit is Unit.SECONDS:
                continue
            if label.min() == label.max():
                self.predicted[asked, k] = label[0]
                continue
            self.on_fit(f"Fitting HistGradientBoosting for {objective.name}, {block}")
            model = HistGradientBoostingClassifier(random_state=0).fit(train, label)
            self.predicted[asked, k] = model.predict_proba(query)[:, 1]

    def auc(self, pxtr: np.ndarray | None = None) -> dict[str, float | None]:
        """Pooled AUC per probability objective on the predicted rows: of the trees, or of pxtr (n, K)."""
        values = self.predicted if pxtr is None else pxtr
        result = {}
        for k, objective in enumerate(self.objectives):
            rows = np.isfinite(self.predicted[:, k])
            if objective.unit is not Unit.SECONDS:
                result[objective.name] = ordering_auc(values[rows, k], self.targets[rows, k])
        return result
