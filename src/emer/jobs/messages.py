"""What the command line says when it cannot go on: one short message with what was wrong and what to do."""

from __future__ import annotations

import difflib
import re
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from emer.config_files import config_dir, read_config
from emer.errors import EmerError


def explain(error: BaseException, arguments: Sequence[str]) -> str:
    """One short message: what was wrong and what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EmerError):
            return str(cause)
        cause = cause.__cause__
    refused = _refused_ablation(arguments)
    if refused is not None:
        return refused
    text = str(error)
    if error.__cause__ is not None and str(error.__cause__) not in text:
        text += f"\n{error.__cause__}"
    unresolved = re.match(r"EmerError raised while resolving interpolation: (.*)", text)
    if unresolved:
        return unresolved.group(1)
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} is not set; give it on the command line as {missing.group(1)}=..."
    no_choice = re.search(
        r"Could not find '([^']+)/([^'/]+)'\s+Available options in '[^']+':\s+(.*?)Config search path",
        text,
        re.S,
    )
    if no_choice:
        group, name, listed = no_choice.groups()
        return f"there is no {group}={name}; choose one of {', '.join(listed.split())}"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        if "/" not in key and (config_dir() / key).is_dir():
            return f"{key} is added, not replaced: write +{key}=..."
        entry = re.search(r"Key '([^']+)' is not in struct", text)
        if entry and key in known_keys():
            return f"{key} has no entry {entry.group(1)} yet: write +{key}.{entry.group(1)}=..."
        close = [name for name in difflib.get_close_matches(key, known_keys(), n=3) if name != key]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"the config has no key {key}{hint} (what there is: emer train --cfg job)"
    wrong_type = re.search(
        r"Value '([^']*)' (?:of type '\w+' )?(could not be converted to \w+|is not[^\n]*?)(?: \(type \w+\))?\s+"
        r"full_key: (\S+)",
        text,
    )
    if wrong_type:
        value, why, key = wrong_type.groups()
        return f"{key}={value}: the value {why}"
    twice = re.search(r"Multiple values for (\S+)\. To override a value use", text)
    if twice:
        return f"{twice.group(1)} has a value already and is replaced, not added: write {twice.group(1)}=..., without +"
    ambiguous = re.match(r"Ambiguous value for argument '([^'=]+)=([^']*)'", text)
    if ambiguous:
        key, values = ambiguous.groups()
        return (
            f"{key}={values} has several values: write '{key}=[{values}]' for all in one run, or add -m for a run each"
        )
    return text


def unexpected(error: Exception, show_all: bool) -> str:
    """The message for an error that nobody foresaw; the traceback goes to a file, or to stderr where asked for."""
    first = (str(error).strip().splitlines() or [""])[0]
    if first.startswith("Only one of --run, --multirun, --cfg"):
        return "-m and --cfg do not go together: leave one out (--cfg shows the config of a single run)"
    if show_all:
        traceback.print_exception(error)
        return f"{type(error).__name__}: {first}"
    with tempfile.NamedTemporaryFile("w", prefix="emer-traceback-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {first}\nThe traceback is in {file.name}"


def known_keys() -> list[str]:
    """Every dotted key that a file in the config folder sets, for suggestions."""
    keys: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                keys.add(f"{prefix}{name}")
                walk(value, f"{prefix}{name}.")

    root = config_dir()
    for path in root.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        package = re.match(r"# @package (\S+)", text)
        place = package.group(1) if package else path.parent.relative_to(root).as_posix().removesuffix("/shared")
        walk(yaml.safe_load(text), "" if place in (".", "_global_") else f"{place}.")
    return sorted(keys)


def _choices(arguments: Sequence[str], group: str) -> list[str]:
    """Every value that the command line gives to a config group, sweeps and lists included."""
    found: list[str] = []
    for override in OverridesParser.create().parse_overrides([a for a in arguments if "=" in a]):
        if override.key_or_group == group:
            values = re.sub(r"^\w+\((.*)\)$", r"\1", str(override.get_value_string()))  # choice(a,b)
            found += re.findall(r"[\w/]+", values)
    return found


def ablations_of(method: str, objective: str | None = None) -> list[str]:
    """``full`` and those switches of a method and its objective that have a file in conf/ablation.

    Args:
        method: a file of conf/method.
        objective: a file of conf/objective; None is the method's own.
    """
    content = read_config("method", method)
    switches = {**(content.get("switches") or {})}
    objective = objective or content.get("default_objective")
    if objective and (config_dir() / "objective" / f"{objective}.yaml").is_file():
        switches |= _objective_switches(objective)
    files = {p.stem for p in (config_dir() / "ablation").glob("*.yaml")}
    return ["full", *(name for name, what in switches.items() if what and name in files)]


def _objective_switches(name: str) -> dict[str, str | None]:
    """Those of the objectives that a file of conf/objective is built on, and its own."""
    content = read_config("objective", name)
    switches: dict[str, str | None] = {}
    for base in content["defaults"]:
        if not base.startswith(("/", "_")):
            switches |= _objective_switches(base)
    return switches | (content.get("objective_switches") or {})


def _refused_ablation(arguments: Sequence[str]) -> str | None:
    """The message for an ablation that the chosen method or objective lacks, or None if that is not what happened."""
    try:
        asked = _choices(arguments, "ablation")
        methods = _choices(arguments, "method") or ["emer"]
        objectives = _choices(arguments, "objective")
    except HydraException:
        return None
    for method in methods:
        if not (config_dir() / "method" / f"{method}.yaml").is_file():
            continue
        for objective in objectives or [""]:
            has = ablations_of(method, objective)
            lacking = [name for name in asked if name not in has]
            if lacking:
                listed = ", ".join(has)
                with_objective = f" with objective {objective}" if objective else ""
                return f"method {method}{with_objective} has no ablation {', '.join(lacking)}; it has: {listed}"
    return None
