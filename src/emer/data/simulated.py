"""The embedded data set: a request log of the simulated world, made once per configuration and kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from emer.data.cache import build_once, config_hash
from emer.data.metadata import SPLITS
from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit
from emer.world.exposure import fusion_score
from emer.world.parameters import WorldParameters
from emer.world.population import ACTIVITY_LEVELS, World, build_world
from emer.world.pxtr import PxtrStage
from emer.world.responses import FEEDBACK, INTERACTIONS, OBJECTIVES
from emer.world.visit import Asked, Served
from emer.world.walk import DAY_MS, walk_days

_VERSION = 2
"""Part of the cache key: raise it whenever the code would generate another log from the same settings."""

_EPOCH_MS = 1_735_689_600_000  # day 0 is 1 January 2025, UTC
_HOUR_MS = 3_600_000
_PLACES = 10  # requests of a session that the context tells apart
_PREDICTS = dict(zip(OBJECTIVES, ("click", None, *FEEDBACK[1:]), strict=True))


@dataclass(frozen=True, kw_only=True)
class SimulatedSource:
    """Settings of a simulated log. Equal settings give equal logs, byte for byte.

    Attributes:
        seed: of the world and of everything that happens in it.
        users: number of users; fewer users make a longer calendar.
        videos: number of videos, at least twice ``candidates``.
        candidates: videos per request, all different.
        slate: videos shown per request, best first, as far as the session's budget reaches.
        train_requests, validation_requests, test_requests: sizes of the splits, cut by time in this order.
        explore: probability that a slot shows a uniformly drawn candidate.
        eta: 1 spends the session's budget in seconds, 0 in impressions.
        gamma: seconds of budget given back per unit of satisfaction.
        pxtr_noise: factor on the errors of the multi-task stage; 0 leaves only its systematic bias.
        request_shift: standard deviation (log scale) of a request's common offset in each pxtr.
    """

    seed: int = 0
    users: int = 400
    videos: int = 40_000
    candidates: int = 64
    slate: int = 8
    train_requests: int = 5_000
    validation_requests: int = 1_000
    test_requests: int = 3_000
    explore: float = 0.0037
    eta: float = 1.0
    gamma: float = 12.0
    pxtr_noise: float = 1.0
    request_shift: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = Integral if isinstance(field.default, int) else Real
            if not isinstance(value, kind):
                raise EmerError(
                    f"simulated data: {field.name} is {value!r}, it must be "
                    f"{'a whole number' if kind is Integral else 'a number'}"
                )
        for name in ("users", "slate", "train_requests", "validation_requests", "test_requests"):
            if getattr(self, name) < 1:
                raise EmerError(f"simulated data: {name} is {getattr(self, name)}, it must be at least 1")
        for name in ("explore", "eta"):
            if not 0 <= getattr(self, name) <= 1:
                raise EmerError(f"simulated data: {name} is {getattr(self, name)}, it must lie in [0, 1]")
        for name in ("gamma", "pxtr_noise", "request_shift"):
            if not 0 <= getattr(self, name) < np.inf:
                raise EmerError(f"simulated data: {name} is {getattr(self, name)}, it must not be negative")
        if self.candidates < self.slate:
            raise EmerError(
                f"simulated data: slate is {self.slate}, more than the {self.candidates} candidates of a request"
            )
        if self.videos < 2 * self.candidates:
            raise EmerError(
                f"simulated data: videos is {self.videos}; {self.candidates} different candidates per "
                f"request need at least {2 * self.candidates}"
            )

    @property
    def parameters(self) -> WorldParameters:
        """The world's constants under these settings."""
        return replace(
            WorldParameters(),
            explore=float(self.explore),
            eta=float(self.eta),
            gamma=float(self.gamma),
            pxtr_noise=float(self.pxtr_noise),
            request_shift=float(self.request_shift),
        )

    def describe(self) -> str:
        """One line for people."""
        return (
            f"simulated log, seed {self.seed}: {self.users:,} users, {self.videos:,} videos, "
            f"{self.candidates} candidates per request, {self.train_requests:,} train + "
            f"{self.validation_requests:,} validation + {self.test_requests:,} test requests"
        )

    def prepare(self, cache_dir: Path) -> Path:
        """:func:`prepare_simulated` with these settings."""
        return prepare_simulated(self, cache_dir)


def simulated_schema() -> Schema:
    """Names and kinds of a simulated log."""
    positive = {"long_view", *INTERACTIONS}
    return Schema(
        objectives=tuple(
            Objective(
                name,
                Unit.SECONDS if name == "pvtr" else Unit.PROBABILITY,
                Role.INTERACTION if label in INTERACTIONS else Role.CONSUMPTION,
                label,
            )
            for name, label in _PREDICTS.items()
        ),
        feedback=tuple(
            Feedback(name, Satisfaction.POSITIVE if name in positive else Satisfaction.IGNORED) for name in FEEDBACK
        ),
        user_categories=(Category("activity", len(ACTIVITY_LEVELS) + 1),),
        context_categories=(Category("hour", 25), Category("session_request", _PLACES + 1)),
        item_categories=(Category("category", WorldParameters().categories + 1), Category("age", 3)),
        item_numbers=("log_duration",),
    )


def simulate_requests(config: SimulatedSource, block: int = 256) -> dict[str, RequestTable]:
    """The log of a simulated platform, served by the equal-exponent fusion formula, cut by time.

    Args:
        config: the settings.
        block: users simulated together; changes memory and speed, never the result.

    Returns:
        The tables of ``train``, ``validation`` and ``test``, in time order. ``request_id`` counts on
        through the three.
    """
    world = build_world(config.seed, config.users, config.videos, config.parameters)
    stage = PxtrStage.calibrated(world, config.candidates, config.slate)
    sizes = (config.train_requests, config.validation_requests, config.test_requests)
    days = walk_days(world, stage, fusion_score, candidates=config.candidates, slate=config.slate, block=block)
    served = Served.in_time_order(_enough(days, sum(sizes)))
    edges = np.cumsum((0, *sizes))
    return {
        split: logged_requests(world, served.take(slice(start, stop)), start)
        for split, (start, stop) in zip(SPLITS, pairwise(edges.tolist()), strict=True)
    }


def prepare_simulated(config: SimulatedSource, cache_dir: Path) -> Path:
    """The folder of the log in request Parquet format, generated unless ``cache_dir`` holds it already.

    The folder is named after a hash of the settings and of this code's version and appears only when it
    is complete. Several processes may ask for the same log at once.
    """
    key = config_hash([_VERSION, asdict(config), asdict(config.parameters)])

    def build(root: Path) -> None:
        for split, table in simulate_requests(config).items():
            path = root / split / "part-0.parquet"
            path.parent.mkdir(parents=True)
            write_requests(table, path)

    needed = [f"{split}/part-0.parquet" for split in SPLITS]
    return build_once(Path(cache_dir) / f"simulated-{key}", needed, build)


def _enough(days: Iterator[list[Served]], requests: int) -> list[Served]:
    """Whole days until there are enough requests, with a progress bar on a terminal."""
    parts: list[Served] = []
    done = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Simulating requests", total=requests)
        while done < requests:
            parts += next(days)
            done = sum(map(len, parts))
            progress.update(bar, completed=min(done, requests))
    return parts


def logged_requests(world: World, served: Served, first_id: int) -> RequestTable:
    """The observable part of served requests, whose ids count on from ``first_id``."""
    return RequestTable.build(
        **_features(world, served),
        request_id=np.arange(first_id, first_id + len(served)),
        exposed=served.exposed.reshape(-1),
        explored=served.explored.reshape(-1),
        label=served.label.reshape(served.video.size, -1),
        watch_time=served.watch_time.reshape(-1),
        negative=served.dislike.reshape(-1).astype(np.float32),
        previous_score=served.score.reshape(-1),
    )


def as_requests(world: World, asked: Asked) -> RequestTable:
    """Requests that wait for an order, nothing of them exposed yet."""
    count = asked.video.size
    return RequestTable.build(
        **_features(world, asked),
        request_id=asked.request_id,
        exposed=np.zeros(count, dtype=bool),
        label=np.zeros((count, len(FEEDBACK)), dtype=bool),
        watch_time=np.zeros(count, dtype=np.float32),
        negative=np.zeros(count, dtype=np.float32),
    )


def _features(world: World, requests: Served | Asked) -> dict[str, Any]:
    """Schema, ids, features and pxtrs. Id 0 of every category means unknown."""
    R, C = requests.video.shape
    video = requests.video.reshape(-1)
    hour = requests.time_ms % DAY_MS // _HOUR_MS
    return {
        "schema": simulated_schema(),
        "offsets": np.arange(R + 1) * C,
        "user_id": requests.user,
        "time_ms": _EPOCH_MS + requests.time_ms,
        "user_categories": world.activity[requests.user][:, None] + 1,
        "context_categories": np.stack([hour, np.minimum(requests.place, _PLACES - 1)], axis=1) + 1,
        "item_id": video,
        "pxtr": requests.pxtr.reshape(R * C, -1),
        "item_categories": np.stack([world.category[video], world.cold[video]], axis=1) + 1,
        "item_numbers": np.log(world.duration[video])[:, None],
    }
