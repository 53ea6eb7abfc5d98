"""Arms of simulated tests by name: trained runs by their folder, formulas by theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from emer.data.simulated import simulated_schema
from emer.errors import EmerError
from emer.instantiation import instantiate
from emer.jobs.train import best_checkpoint, readable
from emer.labels import method_label
from emer.online.arms import NamedArm, network_score
from emer.online.setting import Setting
from emer.online.simulate import LoadArm
from emer.run_folder import RunFolder
from emer.training.evaluated_module import EvaluatedModule
from emer.world.population import World
from emer.world.walk import Score


@dataclass(frozen=True)
class RunArm:
    """A trained run that serves with its best checkpoint.

    Args:
        path: its folder.
    """

    path: Path

    def check(self) -> None:
        """Refuse now what cannot serve later.

        Raises:
            EmerError: the folder is no run, or has no checkpoint that can be read.
        """
        checkpoint = best_checkpoint(RunFolder(self.path))
        with readable(checkpoint, "arms"):
            torch.load(checkpoint, map_location="cpu", weights_only=False)

    def __call__(self, world: World) -> Score:
        """The run's ranker in a world.

        Raises:
            EmerError: the folder is no run, has no checkpoint, or was trained on another kind of log.
        """
        folder = RunFolder(self.path)
        cfg = folder.load_config()
        checkpoint = best_checkpoint(folder)
        module: EvaluatedModule = instantiate(
            cfg.method.module, schema=simulated_schema(), top_k=int(cfg.metrics.top_k)
        )
        with readable(checkpoint, "arms"):
            module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
        return network_score(world, module.eval())


def check_apart(users: int, setting: Setting, logged: int, run: Path) -> None:
    """Raises:
    EmerError: the first ``users`` of the world reach into the last ``logged``, whose log a run has learnt from.
    """
    if users + logged > setting.users:
        raise EmerError(
            f"users is {users}; {run} has learnt from the last {logged} of the world's {setting.users} users, so that "
            f"at most {setting.users - logged} can be tested"
        )


def arms_of(names: list[str], least: int = 2) -> dict[str, LoadArm]:
    """Label -> loader, in the order given; ``least`` of them must be there.

    Raises:
        EmerError: an arm is unknown, two are the same, or there are fewer than ``least``.
    """
    arms: dict[str, LoadArm] = {}
    for name in map(str, names):
        path = Path(name)
        if path.is_dir():
            label = method_label(RunFolder(path).load_config().method)
            label = label if label not in arms else path.name
            arm: LoadArm = RunArm(path)
        else:
            label, arm = name, NamedArm(name).score
        if label in arms:
            raise EmerError(f"arms: {name} is given twice")
        arms[label] = arm
    if len(arms) < least:
        raise EmerError(
            f"arms is [{', '.join(arms)}]; a test needs a base" + (" and at least one more arm" if least > 1 else "")
        )
    return arms
