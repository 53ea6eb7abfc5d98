"""A trained MMoE as the multi-task stage of the simulated platform, made as a real log's pxtrs are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from emer.data.cache import build_once, config_hash
from emer.errors import EmerError
from emer.files import write_json
from emer.pxtr.forward_chain import ChainSettings
from emer.pxtr.platform_log import collect
from emer.pxtr.platform_model import TrainedMMoE, train
from emer.world.population import World

_VERSION = 2
"""Part of the cache key: raise it whenever the code would make another stage from the same settings."""

NEEDED = ("stage.pt", "quality.json")
"""Files of a complete folder."""


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """Makes the trained stage of a world: once per world and settings, then from the cache.

    The MMoE learns from days that the fusion formula served on the parametric stage's pxtrs, with a share of explored
    slots. It is tested on the day after, and then stays as it is.

    Args:
        cache_dir: where stages are kept, in folders ``pxtr-stage-<hash>``: ``stage.pt``, and ``quality.json`` with AUC
            and calibration on the exposures of the day after.
        exposures: to train on, at least; whole days are simulated until there are as many.
        users: whose days they are, the first of the world; all of it, where it has fewer. Others are unknown users to
            the model, so take no fewer than an experiment.
        explore: chance that a slot shows a uniformly drawn candidate meanwhile.
        smoothing: see :class:`emer.pxtr.history.History`.
        seed: of the model.
        model: its size and training; it is trained once, so the chain's days play no part.

    Raises:
        EmerError: a number is out of range.
    """

    cache_dir: str
    exposures: int = 300_000
    users: int = 3_000
    explore: float = 0.2
    smoothing: float = 100.0
    seed: int = 0
    model: ChainSettings = field(default_factory=ChainSettings)

    def __post_init__(self) -> None:
        for name, least in (("exposures", 1), ("users", 1), ("seed", 0)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise EmerError(
                    f"world.stage.{name} is {getattr(self, name)}; it must be a whole number of at least {least}"
                )
        if not 0 <= self.explore <= 1:
            raise EmerError(f"world.stage.explore is {self.explore}; it must be between 0 and 1")
        if not 0 < self.smoothing < float("inf"):
            raise EmerError(f"world.stage.smoothing is {self.smoothing}; it must be above 0")

    def __call__(self, world: World, candidates: int, slate: int) -> TrainedMMoE:
        """The stage of ``world``, trained unless ``cache_dir`` has it."""
        path = self.folder(world, candidates, slate) / "stage.pt"
        try:
            return TrainedMMoE.load(path)
        except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
            raise EmerError(f"{path} is damaged; delete {path.parent}, and the stage is trained anew") from error

    def folder(self, world: World, candidates: int, slate: int) -> Path:
        """The folder of the stage, made unless it is there. Several processes may ask for it at once."""
        own = {name: value for name, value in asdict(self).items() if name != "cache_dir"}
        place = [world.seed, world.users, world.videos, asdict(world.parameters), candidates, slate]

        def build(folder: Path) -> None:
            with _bars() as show, _one_thread():
                log = collect(
                    world, candidates, slate,
                    users=self.users, exposures=self.exposures, explore=self.explore,
                    progress=show("Collecting exposures for the multi-task stage", self.exposures),
                )  # fmt: skip
                step = show("Training the multi-task stage", 1)
                content, quality = train(log, self.smoothing, self.model, self.seed, step)
            torch.save(content, folder / "stage.pt")
            write_json(folder / "quality.json", {"settings": own, "world_seed": world.seed, **quality})

        return build_once(Path(self.cache_dir) / f"pxtr-stage-{config_hash([_VERSION, own, place])}", NEEDED, build)


@contextmanager
def _bars() -> Iterator[Callable[[str, float], Callable[[float], None]]]:
    """Bars on a terminal: yields what opens one of a total, and returns what moves it on."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def show(text: str, total: float) -> Callable[[float], None]:
            task = bar.add_task(text, total=total)
            return lambda done: bar.advance(task, done)

        yield show


@contextmanager
def _one_thread() -> Iterator[None]:
    """Another number of threads would sum in another order, and train another model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
