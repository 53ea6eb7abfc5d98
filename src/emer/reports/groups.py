"""Runs that may be averaged, and runs that may be compared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emer.metrics.summary import IDENTITY
from emer.reports.runs import Problem, Run, differing
from emer.reports.words import setting

IPUT_FLOOR = "loader.iput_floor"
_LONGEST = 30
"""Characters of a value in a name."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone.

    Attributes:
        name: unique in its section: the label, with the settings that tell it from others of that label.
        runs: sorted by seed, each seed once.
    """

    name: str
    label: str
    identity: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs."""
        return tuple(run.seed for run in self.runs)

    def by_seed(self) -> dict[int, Run]:
        """Seed -> run."""
        return {run.seed: run for run in self.runs}


@dataclass(frozen=True)
class Section:
    """Groups that were evaluated on the same test requests in the same way, so that they can be paired.

    Attributes:
        name: unique: the log, with what tells it from others of that name.
    """

    name: str
    data: str
    requests: int
    users: int
    groups: tuple[Group, ...]

    @property
    def runs(self) -> list[Run]:
        """Of all its groups."""
        return [run for group in self.groups for run in group.runs]


@dataclass(frozen=True)
class Grouped:
    """Sections, and every run that is not or not simply in them."""

    sections: tuple[Section, ...]
    problems: tuple[Problem, ...]


def group_runs(runs: Iterable[Run], problems: Iterable[Problem] = ()) -> Grouped:
    """Sort runs into sections (log and test requests) and groups (settings but for the seed).

    Nothing is averaged in silence. Added to ``problems`` is

    - a *duplicate*, a second run of a group's seed: with the same test metrics it counts once; with others, no run of
      that seed counts, since nothing tells which is right;
    - a *missing* seed: one that another group of the section has.

    Args:
        runs: as :func:`emer.reports.runs.read_runs` gives them.
        problems: what it said of the others; a seed that failed is not also called missing where its name tells.
    """
    found = list(problems)
    by_test: dict[str, list[Run]] = {}
    for run in runs:
        by_test.setdefault(_test_key(run), []).append(run)
    named = _section_names(by_test)
    sections = []
    for key in sorted(by_test, key=lambda key: named[key]):
        members = by_test[key]
        by_group: dict[str, list[Run]] = {}
        for run in members:
            by_group.setdefault(run.group, []).append(run)
        names = _group_names(by_group)
        groups = []
        for identity, of_group in by_group.items():
            kept, doubled = _each_seed_once(of_group)
            found += doubled
            if kept:
                groups.append(Group(names[identity], kept[0].label, identity, kept))
        if not groups:
            continue
        groups.sort(key=lambda group: group.name)
        found += _missing(groups, by_group, named[key])
        tested = members[0].per_request
        users = len(set(tested["user_id"].tolist()))
        sections.append(Section(named[key], members[0].data, tested["request_id"].size, users, tuple(groups)))
    return Grouped(tuple(sections), tuple(found))


def _test_key(run: Run) -> str:
    """What two runs share that can be compared request by request.

    Simulated worlds number their requests alike, so ids alone do not tell: users, sizes, and which requests have a
    label that can be ranked do.
    """
    digest = hashlib.sha256()
    for name, values in sorted(run.per_request.items()):
        if name in IDENTITY and name != "row":
            digest.update(values.astype(np.int64).tobytes())
        elif name.startswith("label_gauc/"):
            digest.update(name.encode() + np.isnan(values).tobytes())
    return f"{run.data} {digest.hexdigest()[:12]} {run.settings.get(IPUT_FLOOR)}"


def _each_seed_once(runs: Sequence[Run]) -> tuple[tuple[Run, ...], list[Problem]]:
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    kept, problems = [], []
    for seed in sorted(by_seed):
        first, *others = by_seed[seed]
        different = [run for run in others if run.metrics != first.metrics]
        if not different:
            kept.append(first)
            why = f"a second run of {first.label} with seed {seed}, with the numbers of {first.folder}; counted once"
            problems += [Problem(run.folder, "duplicate", why) for run in others]
            continue
        folders = ", ".join(run.folder for run in by_seed[seed])
        why = f"{first.label} with seed {seed} was run {len(by_seed[seed])} times with different results ({folders}); "
        why += "none of them counts"
        problems += [Problem(run.folder, "duplicate", why) for run in by_seed[seed]]
    return tuple(kept), problems


def _missing(groups: Sequence[Group], found: Mapping[str, Sequence[Run]], section: str) -> list[Problem]:
    every = sorted({seed for group in groups for seed in group.seeds})
    problems = []
    for group in groups:
        there = {run.seed for run in found[group.identity]}  # doubled seeds have been spoken of
        lacking = [seed for seed in every if seed not in there]
        if lacking:
            which = ", ".join(map(str, lacking))
            why = f"no finished run on {section} with seed {which}, which other methods have; its mean is over "
            why += f"{len(group.runs)} of {len(every)} seeds"
            problems.append(Problem(group.name, "missing", why))
    return problems


def _group_names(by_group: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Group -> label, with the settings that tell groups of one label apart."""
    names: dict[str, str] = {}
    for label in dict.fromkeys(runs[0].label for runs in by_group.values()):
        same = {key: runs[0].settings for key, runs in by_group.items() if runs[0].label == label}
        names |= tell_apart(label, same)
    return names


def _section_names(by_test: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for data in dict.fromkeys(runs[0].data for runs in by_test.values()):
        same = {
            key: {k: v for k, v in runs[0].settings.items() if k.startswith("data.") or k == IPUT_FLOOR}
            | {"test requests": runs[0].per_request["request_id"].size}
            for key, runs in by_test.items()
            if runs[0].data == data
        }
        names |= tell_apart(data, same)
    return names


def tell_apart(name: str, settings: Mapping[str, dict[str, Any]], most: int = 2) -> dict[str, str]:
    """A name for each of several things called ``name``: the settings, up to ``most``, that differ among them.

    Keys are shortened to their last words where those tell them apart. What still has one name gets its own key.
    """
    if len(settings) == 1:
        return dict.fromkeys(settings, name)
    keys = differing(list(settings.values()))
    short = _shortened(keys)
    names = {}
    for key, one in settings.items():
        told = [f"{short[k]}={setting(one[k], _LONGEST)}" if k in one else f"no {short[k]}" for k in keys[:most]]
        if len(keys) > most:
            told.append(f"{len(keys) - most} more")
        names[key] = f"{name} ({', '.join(told)})" if told else name
    twice = Counter(names.values())
    return {key: f"{text} [{key}]" if twice[text] > 1 else text for key, text in names.items()}


def _shortened(keys: Sequence[str]) -> dict[str, str]:
    """Dotted key -> its last words, as few as no other key ends with."""
    short = {}
    for key in keys:
        words = key.split(".")
        # A seed alone would be taken for that of the training.
        for count in range(1 + (words[-1] == "seed" and len(words) > 1), len(words) + 1):
            tail = words[-count:]
            if sum(other.split(".")[-count:] == tail for other in keys) == 1:
                break
        short[key] = ".".join(tail)
    return short
