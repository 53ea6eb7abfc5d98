"""The request log of a platform that serves online experiments: what its arms are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from emer.data.cache import build_once, config_hash
from emer.data.metadata import SPLITS
from emer.data.parquet import write_requests
from emer.data.simulated import logged_requests
from emer.errors import EmerError
from emer.online.arms import NamedArm
from emer.online.checks import whole
from emer.online.setting import Setting
from emer.requests import Feedback, Satisfaction, Schema
from emer.world.responses import FEEDBACK, INTERACTIONS
from emer.world.visit import Served

_VERSION = 1
"""Part of the cache key: raise it whenever the code would generate another log from the same settings."""


@dataclass(frozen=True, kw_only=True)
class WorldLog:
    """A log of the world's *last* users under one arm, cut by time; A/B tests take the first users.

    As long as a test has at most ``setting.users - users`` users, nobody of them has left a trace in the log; the jobs
    refuse more. World, list effects and everything else are those of the setting.

    Args:
        setting: the platform.
        users: who leaves the log; fewer make a longer calendar (about 5.5 requests per user and day).
        served_by: name of the arm that serves, as in :class:`emer.online.arms.NamedArm`.
        train_requests, validation_requests, test_requests: sizes of the splits, in this order of time.
        positive: feedback that counts towards satisfaction, of which EMER's posterior pairs are made.

    Raises:
        EmerError: a number is out of range, or there is no such arm.
    """

    setting: Setting
    users: int = 400
    served_by: str = "fusion_formula"
    train_requests: int = 5_000
    validation_requests: int = 1_000
    test_requests: int = 3_000
    positive: Sequence[str] = ("long_view", *INTERACTIONS)

    def __post_init__(self) -> None:
        if isinstance(self.positive, str) or not isinstance(self.positive, Sequence):
            raise EmerError(f"data.source.positive is {self.positive!r}; give a list, [like] for one")
        if unknown := sorted(set(self.positive) - set(FEEDBACK)):
            raise EmerError(f"data.source.positive has {', '.join(unknown)}; there are {', '.join(FEEDBACK)}")
        for name in ("users", "train_requests", "validation_requests", "test_requests"):
            whole(f"data.source.{name}", getattr(self, name), 1)
        if self.users > self.setting.users:
            raise EmerError(f"data.source.users is {self.users}; world={self.setting.name} has {self.setting.users}")
        if self.setting.known_users < self.setting.users:
            raise EmerError(
                f"data.source.setting: the multi-task stage knows the first {self.setting.known_users} of "
                f"{self.setting.users} users, and the log is of the last; set stage.users to all of them"
            )
        NamedArm(self.served_by)

    def describe(self) -> str:
        """One line for people."""
        return (
            f"log of world {self.setting.name}, seed {self.setting.seed}: {self.users:,} users served by "
            f"{self.served_by}, {self.setting.candidates} candidates per request, {self.train_requests:,} train + "
            f"{self.validation_requests:,} validation + {self.test_requests:,} test requests"
        )

    def prepare(self, cache_dir: Path) -> Path:
        """The folder of the log in request Parquet format, made unless ``cache_dir`` has it already."""

        def build(root: Path) -> None:
            served = Served.in_time_order(self._enough())
            edges = np.cumsum([0, *(getattr(self, f"{split}_requests") for split in SPLITS)])
            for split, (start, stop) in zip(SPLITS, pairwise(edges.tolist()), strict=True):
                path = root / split / "part-0.parquet"
                path.parent.mkdir(parents=True)
                table = logged_requests(self.setting.world, served.take(slice(start, stop)), start)
                write_requests(replace(table, schema=self._schema(table.schema)), path)

        content = asdict(self)
        # Where a stage is kept, and what computes the candidates, change nothing in the log.
        del content["setting"]["backend"]
        content["setting"]["stage"].pop("cache_dir", None)
        key = config_hash([_VERSION, type(self.setting.stage).__name__, content, asdict(self.setting.world.parameters)])
        return build_once(Path(cache_dir) / f"world-{key}", [f"{s}/part-0.parquet" for s in SPLITS], build)

    def _schema(self, schema: Schema) -> Schema:
        marks = [Satisfaction.POSITIVE if f.name in self.positive else Satisfaction.IGNORED for f in schema.feedback]
        return replace(schema, feedback=tuple(Feedback(f.name, m) for f, m in zip(schema.feedback, marks, strict=True)))

    def _enough(self) -> list[Served]:
        """Whole days until there are enough requests."""
        wanted = sum(getattr(self, f"{split}_requests") for split in SPLITS)
        console, done, parts = Console(stderr=True), 0, []
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("Simulating requests", total=wanted)
            for served in self._days():
                parts.append(served)
                done += len(served)
                progress.update(bar, completed=min(done, wanted))
                if done >= wanted:
                    break
        return parts

    def _days(self) -> Iterator[Served]:
        """All requests of day 0, of day 1, ... without end."""
        walk = self.setting.walk(np.arange(self.setting.users - self.users, self.setting.users), block=256)
        score, day = NamedArm(self.served_by).score(self.setting.world), 0
        while True:
            visits = [visit.log() for visit in walk.through_day(day, score)]
            if visits:
                yield Served.in_time_order(visits)
            day += 1
