"""``emer ab-worlds``: one A/B test in every world of a sweep, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from emer.errors import EmerError
from emer.files import atomic_path, write_text
from emer.instantiation import instantiate
from emer.jobs.ab_test import plan_of
from emer.jobs.run_arms import RunArm, arms_of, check_apart
from emer.jobs.simulation import as_list, new_folder, result_folder, show
from emer.labels import method_label
from emer.online.ab_test import Plan, run_test
from emer.online.outcome_folder import write_outcome
from emer.online.setting import Setting
from emer.online.simulate import LoadArm
from emer.online.worlds import arms_by_world, as_csv, as_markdown, draw, read_worlds
from emer.progress import counting
from emer.run_folder import RunFolder


def ab_worlds(cfg: DictConfig) -> None:
    """Test every world's runs in it, skip what ``folder`` already has, and write ``worlds.{md,csv,png}``.

    Raises:
        EmerError: ``runs`` has no runs, their worlds do not match, or a number is out of range.
    """
    plan = plan_of(cfg)
    if folders := [name for name in map(str, as_list(cfg, "arms")) if Path(name).is_dir()]:
        raise EmerError(
            f"arms: {', '.join(folders)} is a run of one world; here arms are names, and runs come from runs="
        )
    fixed = arms_of(list(cfg.arms), least=1)
    if not isinstance(cfg.runs, str):
        raise EmerError("runs is not set; name the folder of a sweep, runs=outputs/multirun/...")
    base = next(iter(fixed))
    folder = result_folder(cfg, "ab_worlds")
    status = sorted(Path(cfg.runs).glob("*/status.json"))
    if not status:
        raise EmerError(f"runs: {cfg.runs} has no run folders below it; name the folder of a sweep")
    by_world, settings = runs_by_world([path.parent for path in status], plan.users)
    tests = WorldTests(by_world, settings, fixed)
    tests.check()
    _claim(folder, cfg, by_world)
    table = read_worlds(tests.run(plan, folder), base)
    write_text(folder / "worlds.md", as_markdown(table))
    write_text(folder / "worlds.csv", as_csv(table))
    draw(table, folder / "worlds.png")
    show(as_markdown(table), folder)


@dataclass(frozen=True)
class WorldTests:
    """An A/B test in each of several worlds.

    Attributes:
        by_world: seed of the world -> label -> run that was trained on its log.
        settings: seed -> the platform.
        fixed: arms by name, in every world before the runs; the first of all arms is the base.
        base: label of the run that is the base instead.
    """

    by_world: Mapping[int, Mapping[str, Path]]
    settings: Mapping[int, Setting]
    fixed: Mapping[str, LoadArm]
    base: str | None = None

    def check(self) -> None:
        """Refuse now what cannot serve later.

        Raises:
            EmerError: an arm is also the label of a run, a checkpoint cannot be read, or the base is no run.
        """
        labels = set(next(iter(self.by_world.values())))
        if both := sorted(set(self.fixed) & labels):
            raise EmerError(f"arms: {', '.join(both)} is also the label of a run; leave one of the two out")
        if self.base is not None and self.base not in labels:
            raise EmerError(f"the base {self.base} is none of the runs, which are {', '.join(sorted(labels))}")
        for runs in self.by_world.values():
            for path in runs.values():
                RunArm(path).check()

    def arms(self, seed: int) -> dict[str, LoadArm]:
        """Arms of a world, the base first."""
        arms: dict[str, LoadArm] = dict(self.fixed)
        arms |= {label: RunArm(path) for label, path in self.by_world[seed].items()}
        return arms if self.base is None else {self.base: arms[self.base], **arms}

    def run(self, plan: Plan, folder: Path) -> dict[int, Path]:
        """Seed -> ``folder/world_<seed>`` with the test's outcome; tests that are there already are not made again."""
        count = {seed: len(self.arms(seed)) for seed in self.by_world}
        total = sum(plan.users * (plan.before + plan.days * arms) for arms in count.values())
        with counting("Simulated user-days", total) as progress:
            for seed in self.by_world:
                target = folder / f"world_{seed}"
                if target.is_dir():
                    progress(plan.users * (plan.before + plan.days * count[seed]))
                    continue
                outcome = run_test(self.settings[seed], self.arms(seed), plan, progress)
                with atomic_path(target) as temporary:
                    temporary.mkdir(parents=True)
                    write_outcome(temporary, outcome)
        return {seed: folder / f"world_{seed}" for seed in self.by_world}


def runs_by_world(runs: Sequence[Path], users: int) -> tuple[dict[int, dict[str, Path]], dict[int, Setting]]:
    """World seed -> label -> run, and the platform of each world, whose first ``users`` are tested.

    Raises:
        EmerError: a run is not finished or was not trained on ``data=world``, or their worlds do not match.
    """
    found, settings = {}, {}
    for path in runs:
        run = RunFolder(path)
        cfg = run.load_config()
        node = OmegaConf.select(cfg, "data.source.setting")
        if node is None:
            raise EmerError(f"runs: {run.path} was not trained on data=world, so that no world is its own")
        if (state := run.status().get("status")) != "finished":
            raise EmerError(f"runs: {run.path} is {state or 'without a status'}; finish it, or move it away")
        rest = OmegaConf.to_container(node, resolve=True)
        assert isinstance(rest, dict)
        seed = int(rest.pop("seed"))
        found[run.path] = (seed, method_label(cfg.method), rest)
        settings[seed] = instantiate(node)
        check_apart(users, settings[seed], int(cfg.data.source.users), run.path)
    return arms_by_world(found), settings


def _claim(folder: Path, cfg: DictConfig, by_world: Mapping[int, Mapping[str, Path]]) -> None:
    """Make the folder this table's, or check that it is.

    Raises:
        EmerError: it holds something else, or tests with other settings.
    """
    own = {k: v for k, v in OmegaConf.to_container(cfg, resolve=True).items() if k in _SAME}  # type: ignore[union-attr]
    # What was tested, not where it lay: a run that was trained anew is another one.
    own["runs"] = {
        f"world_{seed}": {
            label: f"{path.name} {RunFolder(path).status().get('identity')}" for label, path in runs.items()
        }
        for seed, runs in by_world.items()
    }
    path = folder / "config.yaml"
    if path.is_file():
        if OmegaConf.to_container(OmegaConf.load(path)) != own:
            raise EmerError(
                f"folder: {folder} holds tests with other settings or of other runs (its config.yaml); choose another"
            )
        return
    if folder.exists():
        new_folder(cfg, "ab_worlds")
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(own)))


_SAME = ("arms", "users", "days", "before", "name", "segments", "offline_requests")
"""Settings that the tests of one folder share."""
