"""``emer ab-worlds``: one A/B test in every world of a sweep, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from emer.errors import EmerError
from emer.files import atomic_path, write_text
from emer.instantiation import instantiate
from emer.jobs.ab_test import plan_of
from emer.jobs.run_arms import RunArm, arms_of, check_apart
from emer.jobs.simulation import as_list, new_folder, result_folder, show
from emer.labels import method_label
from emer.online.ab_test import run_test
from emer.online.outcome_folder import write_outcome
from emer.online.setting import Setting
from emer.online.simulate import LoadArm
from emer.online.worlds import arms_by_world, as_csv, as_markdown, draw, read_worlds
from emer.progress import counting
from emer.run_folder import RunFolder


def ab_worlds(cfg: DictConfig) -> None:
    """Test every world's runs in it, skip what ``folder`` already has, and write ``worlds.{md,csv,png}``.

    Raises:
        EmerError: ``runs`` has no runs of ``data=world``, their worlds do not match, or a number is out of range.
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
    by_world, settings = _runs(Path(cfg.runs), plan.users)
    if both := sorted(set(fixed) & set(next(iter(by_world.values())))):
        raise EmerError(f"arms: {', '.join(both)} is also the label of a run; leave one of the two out")
    arms_in: dict[int, dict[str, LoadArm]] = {
        seed: {**fixed, **{label: RunArm(path) for label, path in runs.items()}} for seed, runs in by_world.items()
    }
    for runs in by_world.values():
        for path in runs.values():
            RunArm(path).check()
    folder = result_folder(cfg, "ab_worlds")
    _claim(folder, cfg, by_world)
    total = len(by_world) * plan.users * (plan.before + plan.days * (len(fixed) + len(next(iter(by_world.values())))))
    with counting("Simulated user-days", total) as progress:
        for seed, arms in arms_in.items():
            target = folder / f"world_{seed}"
            if target.is_dir():
                progress(plan.users * (plan.before + plan.days * len(arms)))
                continue
            outcome = run_test(settings[seed], arms, plan, progress)
            with atomic_path(target) as temporary:
                temporary.mkdir(parents=True)
                write_outcome(temporary, outcome)
    table = read_worlds({seed: folder / f"world_{seed}" for seed in by_world}, base)
    write_text(folder / "worlds.md", as_markdown(table))
    write_text(folder / "worlds.csv", as_csv(table))
    draw(table, folder / "worlds.png")
    show(as_markdown(table), folder)


def _runs(folder: Path, users: int) -> tuple[dict[int, dict[str, Path]], dict[int, Setting]]:
    """World seed -> label -> run, and the platform of each world, whose first ``users`` are tested."""
    found, settings = {}, {}
    for status in sorted(folder.glob("*/status.json")):
        run = RunFolder(status.parent)
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
    if not found:
        raise EmerError(f"runs: {folder} has no run folders below it; name the folder of a sweep")
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
