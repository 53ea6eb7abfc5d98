"""Prepared folders: made once per configuration, complete or absent."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def build_once(root: Path, needed: Sequence[str], build: Callable[[Path], None]) -> Path:
    """``root``, made by ``build`` (which fills a temporary folder) unless all ``needed`` files are in it.

    Several processes may ask for one folder at once: whoever is slower discards its work. If ``build``
    raises, nothing is left behind.
    """

    def complete() -> bool:
        return all((root / name).is_file() for name in needed)

    if complete():
        return root
    temporary = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir(parents=True)
    try:
        build(temporary)
        if root.exists() and not complete():
            shutil.rmtree(root)
        try:
            temporary.rename(root)
        except OSError:
            if not complete():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def config_hash(content: Any) -> str:
    """Twelve characters that stand for JSON-like ``content``."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def file_fingerprint(paths: Sequence[Path]) -> list[list[Any]]:
    """Name, size and time of change of files: enough to notice a change without reading gigabytes."""
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
