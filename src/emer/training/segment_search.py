"""Tuning with parameters of their own for the segments of users (docs/rivals.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from emer.errors import EmerError
from emer.models.formula_space import FormulaSpace, SegmentedFormula, segment_column
from emer.training.pair_objective import PairObjective
from emer.training.search import Search, check_budget

_ALGORITHM = "tpe"


class SegmentSearch:
    """TPE for all users with half of the budget, then TPE from its best point for each segment with the other half.

    Requests of different segments share nothing, so one evaluation of every segment's candidate, each on its own
    requests, is one pass over the tuning requests, and the budget counts passes as in every other search. A segment
    with fewer than ``least`` requests that have a pair to order keeps the parameters of all.

    Args:
        objective: on the tuning requests.
        category: user category whose ids are the segments.
        least: requests that a segment needs.
        budget: passes over the tuning requests, the hand-set formula's included.
        seed: of the searches.

    Raises:
        EmerError: the budget or ``least`` is below 1, the log has no such category, or no segment is large enough.
    """

    def __init__(self, objective: PairObjective, *, category: str, least: int, budget: int, seed: int) -> None:
        check_budget(budget)
        if least < 1:
            raise EmerError(f"method.tuner.segment_requests is {least}; it must be 1 or more")
        self.category, self.budget, self._seed = category, budget, seed
        space, table = objective.space, objective.table
        column = segment_column(space.schema, category)
        segment = table.user_categories[:, column]
        size = space.schema.user_categories[column].size
        count = np.bincount(segment[np.unique(objective.request)], minlength=size)
        self._objectives = {int(s): objective.restricted(segment == s) for s in np.flatnonzero(count >= least)}
        if not self._objectives:
            raise EmerError(
                f"no segment of {category} has method.tuner.segment_requests = {least} training requests to tune on; "
                f"the largest has {count.max()}"
            )
        self.shared = Search(_ALGORITHM, objective, start=space.centre.numpy(), budget=budget - budget // 2, seed=seed)
        self.own: dict[int, Search] = {}

    @property
    def spent(self) -> int:
        """Passes over the tuning requests so far."""
        return self.shared.spent + max((search.spent for search in self.own.values()), default=0)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.spent >= self.budget

    @property
    def best_value(self) -> float:
        """Value with every segment's best parameters."""
        return self.shared.best.value + sum(s.best.value - s.trials[0].value for s in self.own.values() if s.trials)

    @property
    def last_value(self) -> float:
        """Value with the parameters that every segment tried last."""
        if not any(search.trials for search in self.own.values()):
            return self.shared.last_value
        return self.shared.best.value + sum(s.last_value - s.trials[0].value for s in self.own.values())

    def step(self) -> None:
        """Evaluate one candidate for all users, or one for each segment."""
        if not self.shared.finished:
            self.shared.step()
            return
        self._begin()
        for search in self.own.values():
            search.step(1)

    def state(self) -> dict[str, Any]:
        """Plain content for a checkpoint."""
        return {"shared": self.shared.state(), "own": {str(s): search.state() for s, search in self.own.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Forget what was tried and go on from what :meth:`state` gave.

        Raises:
            EmerError: this search would not have tried that.
        """
        self.shared.load(state["shared"])
        self.own = {}
        if state["own"]:
            self._begin()
        if set(state["own"]) != {str(s) for s in self.own}:
            raise EmerError("the checkpoint's user segments are not those of this search; start anew")
        for s, trials in state["own"].items():
            self.own[int(s)].load(trials)

    def formula(self, space: FormulaSpace) -> nn.Module:
        """The formula with every segment's best parameters."""
        model = SegmentedFormula(space, category=self.category)
        model.points[:] = torch.tensor(self.shared.best.point, dtype=torch.float64)
        for s, search in self.own.items():
            if search.trials:
                model.points[s] = torch.tensor(search.best.point, dtype=torch.float64)
        return model

    def _begin(self) -> None:
        """Searches of the segments, from the best point for all; the start is the first trial of each."""
        if self.own:
            return
        start = np.array(self.shared.best.point)
        for s, objective in self._objectives.items():
            seed = int(np.random.SeedSequence([self._seed, s]).generate_state(1)[0])
            budget = self.budget - self.shared.budget
            self.own[s] = Search(_ALGORITHM, objective, start=start, budget=budget, seed=seed)
