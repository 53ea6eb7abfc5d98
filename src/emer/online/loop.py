"""The closed loop (EMER, Fig. 3): serve an hour, log it with the serving scores, train on it, publish, repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emer.data.parquet import read_requests, write_requests
from emer.data.simulated import logged_requests
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.files import atomic_path
from emer.models.fusion import FusionFormula
from emer.online.arms import NamedArm, network_score
from emer.online.bucketing import user_hash
from emer.online.gate import judge
from emer.online.incremental import IncrementalTrainer
from emer.online.setting import Setting
from emer.online.totals import TOTALS, Totals, add_visit
from emer.world.visit import Served
from emer.world.walk import DAY_MS, Walk

HOUR_MS = 3_600_000

FORMULA = "fusion_formula"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Args:
        hours: of simulated time.
        users: of the world, from the first on.
        warmup_hours: hours that the formula serves, and is logged, before the first model is published.
        held_out: share of the requests that no model learns from, for the gate.
        gate_hours: hours whose held-out requests the gate looks at.
        tolerance: by how much a new model's label GAUC may fall short of the serving one's.

    Raises:
        EmerError: a number is out of range.
    """

    hours: int = 48
    users: int = 1500
    warmup_hours: int = 6
    held_out: float = 0.1
    gate_hours: int = 6
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        for name, least in (("hours", 1), ("users", 1), ("warmup_hours", 1), ("gate_hours", 1), ("tolerance", 0)):
            if getattr(self, name) < least:
                raise EmerError(f"loop.{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 < self.held_out < 1:
            raise EmerError(f"loop.held_out is {self.held_out}; it must be between 0 and 1")


@dataclass
class Side:
    """One arm on its way: the walk of its users, and what they did on each day."""

    walk: Walk
    values: dict[str, np.ndarray]

    def state(self) -> dict[str, Any]:
        return {"walk": self.walk.state(), "values": {name: value.copy() for name, value in self.values.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.walk.restore(state["walk"])
        self.values = {name: value.copy() for name, value in state["values"].items()}


@dataclass
class ClosedLoop:
    """The same users twice: once served by a model that learns from its own log, once by the fusion formula.

    Version 0 is the formula; version n serves from the hour after its training until the next one is published.

    Args:
        setting: the platform.
        trainer: the model that learns.
        settings: of the loop.
        folder: ``logs/hour=<t>/part-0.parquet`` holds the request log, ``versions/<n>.pt`` every published model,
            ``state.pt`` what the next hour goes on from. All are written whole or not at all.
    """

    setting: Setting
    trainer: IncrementalTrainer
    settings: LoopSettings
    folder: Path
    hour: int = 0
    version: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        users, days = np.arange(self.settings.users), -(-self.settings.hours // 24)
        if self.settings.users > self.setting.users:
            raise EmerError(f"loop.users is {self.settings.users}; the world has {self.setting.users} (world.users)")
        self.sides = {
            name: Side(self.setting.walk(users, block=256), {n: np.zeros((users.size, days)) for n in TOTALS})
            for name in ("model", FORMULA)
        }
        self.serving: nn.Module = FusionFormula.hand_set(self.trainer.module.schema).eval()
        self.held_out: list[RequestTable] = []

    def run(self, progress: Callable[[int], None] = lambda hours: None) -> None:
        """All hours that are left. What an interruption leaves is taken up where its last whole hour ended."""
        if (self.folder / "state.pt").is_file():
            self._restore()
            progress(self.hour)
        while self.hour < self.settings.hours:
            self._one_hour()
            self.hour += 1
            self._save()
            progress(1)

    def totals(self) -> dict[str, Totals]:
        """What the users did on each day, by arm, the formula first."""
        users = np.arange(self.settings.users)
        return {name: Totals(users, self.sides[name].values) for name in (FORMULA, "model")}

    def _one_hour(self) -> None:
        row: dict[str, float] = {"hour": self.hour, "version": self.version}
        formula = NamedArm(FORMULA).score(self.setting.world)
        score = formula if self.version == 0 else network_score(self.setting.world, self.serving)
        served: list[Served] = []
        for name, side in self.sides.items():
            before = {key: side.values[key].sum() for key in ("stay_time", "video_views", "like", "requests")}
            for visit in side.walk.until((self.hour + 1) * HOUR_MS, score if name == "model" else formula):
                day = np.minimum(visit.asked.time_ms // DAY_MS, next(iter(side.values.values())).shape[1] - 1)
                add_visit(side.values, visit.asked.user, day, visit)
                if name == "model":
                    served.append(visit.log())
            row |= {f"{name}/{key}": float(side.values[key].sum() - before[key]) for key in before}
        if served:
            row |= self._learn(Served.in_time_order(served))
        self.rows.append(row)

    def _learn(self, served: Served) -> dict[str, float]:
        """Log the hour, learn from it, and publish what has learnt if the gate lets it."""
        first_id = sum(int(row["model/requests"]) for row in self.rows)
        table = logged_requests(self.setting.world, served, first_id)
        target = self.folder / "logs" / f"hour={self.hour:04d}" / "part-0.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            write_requests(table, temporary)
        apart = user_hash(table.request_id, "gate") < np.uint64(self.settings.held_out * 2.0**64)
        self.held_out = [*self.held_out, table.select(np.flatnonzero(apart))][-self.settings.gate_hours :]
        if self.trainer.steps == 0:
            self.trainer.fit_statistics(table)
        numbers = self.trainer.learn(table.select(np.flatnonzero(~apart)))
        row = {f"train/{name}": value for name, value in numbers.items()}
        if self.hour + 1 < self.settings.warmup_hours:
            return row
        candidate = self.trainer.snapshot()
        verdict = judge(candidate, self.serving, RequestTable.concat(self.held_out), self.settings.tolerance)
        row |= {"gate/candidate": verdict.candidate, "gate/serving": verdict.serving, "published": verdict.passed}
        if verdict.passed:
            self.version += 1
            self.serving = candidate
            _write(self.folder / "versions" / f"{self.version:04d}.pt", {"model": candidate.state_dict()})
        return row

    def _save(self) -> None:
        state = {
            "hour": self.hour,
            "version": self.version,
            "rows": self.rows,
            "sides": {name: side.state() for name, side in self.sides.items()},
            "trainer": self.trainer.state_dict(),
            "held_out_hours": len(self.held_out),
        }
        _write(self.folder / "state.pt", state)

    def _restore(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location="cpu", weights_only=False)
        self.hour, self.version, self.rows = state["hour"], state["version"], state["rows"]
        for name, side in self.sides.items():
            side.restore(state["sides"][name])
        self.trainer.load_state_dict(state["trainer"])
        if self.version:
            self.serving = self.trainer.snapshot()
            path = self.folder / "versions" / f"{self.version:04d}.pt"
            self.serving.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
        self.held_out = self._held_out(state["held_out_hours"])

    def _held_out(self, count: int) -> list[RequestTable]:
        """The held-out requests of the last ``count`` hours that have a log, read back."""
        logs = sorted((self.folder / "logs").glob("hour=*"))
        logs = [path for path in logs if int(path.name.removeprefix("hour=")) < self.hour][-count:] if count else []
        tables = [read_requests(path) for path in logs]
        bar = np.uint64(self.settings.held_out * 2.0**64)
        return [table.select(np.flatnonzero(user_hash(table.request_id, "gate") < bar)) for table in tables]


def _write(target: Path, content: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        torch.save(content, temporary)
