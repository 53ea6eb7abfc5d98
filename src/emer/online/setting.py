"""A named world with its multi-task stage: what ``conf/world`` describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from emer.errors import EmerError
from emer.online.checks import whole
from emer.world.backend import CandidateStage, candidate_stage, check_backend
from emer.world.hashing import Ints
from emer.world.parameters import WorldParameters
from emer.world.population import World, build_world
from emer.world.pxtr import ParametricStage
from emer.world.stage import MakesStage, MultiTaskStage
from emer.world.walk import Walk


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything about a simulated platform but its ranker.

    Args:
        name: of the preset.
        seed: of the world and of everything that happens in it.
        users: the world's inhabitants; experiments may take fewer.
        videos: at least twice ``candidates``.
        candidates: C per request.
        slate: E, videos shown per request as far as the session's budget reaches.
        backend: what computes candidates and pxtrs, ``numba`` or, the reference, ``numpy``.
        parameters: fields of :class:`emer.world.parameters.WorldParameters` that differ from its defaults.
        stage: makes the multi-task stage; by default the parametric one, truth with errors.

    Raises:
        EmerError: a number is out of range, there is no such backend, or ``parameters`` has an unknown field.
    """

    name: str = "default"
    seed: int = 0
    users: int = 20_000
    videos: int = 40_000
    candidates: int = 200
    slate: int = 8
    backend: str = "numba"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stage: MakesStage = field(default_factory=ParametricStage)

    def __post_init__(self) -> None:
        for name in ("users", "slate", "candidates", "videos", "seed"):
            whole(f"world.{name}", getattr(self, name), 0 if name == "seed" else 1)
        for name, least in (("candidates", self.slate), ("videos", 2 * self.candidates)):
            whole(f"world.{name}", getattr(self, name), least)
        check_backend(self.backend)
        if not isinstance(self.parameters, Mapping) or not callable(self.stage):
            raise EmerError("world.parameters and world.stage must not be null; leave them out for the usual ones")
        known = {f.name for f in fields(WorldParameters)}
        unknown = sorted(set(self.parameters) - known)
        if unknown:
            raise EmerError(f"world.parameters has no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        self.world_parameters.check()

    @property
    def known_users(self) -> int:
        """The first users whom the multi-task stage knows: all of them, but for a trained one that has seen fewer."""
        return min(self.users, getattr(self.stage, "users", self.users))

    def check_users(self, users: int) -> None:
        """Refuse an experiment with other than the first ``users``, all of whom the multi-task stage knows.

        Raises:
            EmerError: the world does not have as many, the stage does not know them, or there are none.
        """
        whole("users", users, 1)
        if users > self.users:
            raise EmerError(f"users is {users}; world={self.name} has 1 to {self.users} (world.users)")
        if users > self.known_users:
            raise EmerError(f"users is {users}; the multi-task stage knows {self.known_users} (world.stage.users)")

    @property
    def world_parameters(self) -> WorldParameters:
        """All constants."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.parameters.items()}
        return replace(WorldParameters(), **values)

    @cached_property
    def world(self) -> World:
        """The users and videos."""
        return build_world(self.seed, self.users, self.videos, self.world_parameters)

    @cached_property
    def multi_task(self) -> MultiTaskStage:
        """The multi-task stage; the parametric one is calibrated on what the fusion formula exposes."""
        return self.stage(self.world, self.candidates, self.slate)

    @cached_property
    def candidate_stage(self) -> CandidateStage:
        """The candidates of a request with the stage's predictions."""
        return candidate_stage(self.world, self.multi_task, self.candidates, self.backend)

    def walk(self, users: Ints | None = None, block: int = 64) -> Walk:
        """Users before their first day."""
        return Walk(
            self.world,
            self.multi_task,
            candidates=self.candidates,
            slate=self.slate,
            users=users,
            block=block,
            propose=self.candidate_stage,
        )
