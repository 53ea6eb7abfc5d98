"""Training on a stream: a model that learns every new hour of requests once, as in production (EMER, Fig. 3)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from torch import Tensor, nn

from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import RequestBatch
from emer.training.ranker_module import STATISTICS_REQUESTS, RankerModule


class IncrementalTrainer:
    """One pass over each new part of the log, in the order of time, by a module's own objective and optimiser.

    The learning rate stays constant: a stream has no last step to anneal towards.

    Args:
        module: what learns. Its objective's previous scores are those that the log carries, the serving model's.
        batch_size: requests per step.
        clip: largest norm of a step's gradient; None for none.

    Raises:
        EmerError: the method does not learn from single batches alone.
    """

    def __init__(self, module: RankerModule, *, batch_size: int = 64, clip: float | None = 1.0) -> None:
        if type(module) is not RankerModule:
            raise EmerError(
                f"online training takes methods that learn from one batch after the other; {type(module).__name__} "
                "does not (a formula has a tuner, Pantheon's IPPO needs rounds): take method=emer, say"
            )
        if batch_size < 1:
            raise EmerError(f"batch_size is {batch_size}; it must be at least 1")
        self.module, self.batch_size, self.clip = module, batch_size, clip
        self.optimizer = module.optimizer_factory(module.parameter_groups())
        self.steps = 0

    def fit_statistics(self, table: RequestTable) -> None:
        """Take the inputs' mean and deviation from the first part of the log."""
        fit = getattr(getattr(self.module.model, "features", None), "fit", None)
        if fit is not None:
            rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), STATISTICS_REQUESTS)).astype(np.int64))
            fit(table.batch(rows))

    def learn(self, table: RequestTable) -> dict[str, float]:
        """One pass over ``table``.

        Returns:
            ``loss``, and ``weight/<objective>`` where the objective weighs its terms: means over the steps.

        Raises:
            EmerError: the loss is no number any more.
        """
        self.module.train()
        order, found = np.argsort(table.time_ms, kind="stable"), []
        for first in range(0, order.size, self.batch_size):
            found.append(self._step(table.batch(order[first : first + self.batch_size])))
        self.module.eval()
        return {name: float(np.mean([numbers[name] for numbers in found])) for name in found[0]} if found else {}

    def _step(self, batch: RequestBatch) -> dict[str, float]:
        module = self.module
        if module.trains_on_exposed:
            batch = batch.exposed_only()
        previous = module.previous(batch) if module.previous is not None else None
        _, output = module.evaluate_objective(batch, previous)
        if not bool(output.loss.isfinite()):
            raise EmerError("online training has diverged: the loss is no number; lower method.optimizer.lr")
        self.optimizer.zero_grad()
        output.loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.clip)
        self.optimizer.step()
        self.steps += 1
        if module.previous is not None:
            module.previous.after_step(module.model, self.steps)
        numbers = {"loss": float(output.loss.detach())}
        if output.weights is not None:
            means: Tensor = output.weights.mean(dim=0)
            numbers |= {f"weight/{n}": float(w) for n, w in zip(output.weight_names, means, strict=True)}
        return numbers

    def snapshot(self) -> nn.Module:
        """A frozen copy of the model, ready to serve."""
        return copy.deepcopy(self.module.model).requires_grad_(False).eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that learning changes."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.module.eval()
