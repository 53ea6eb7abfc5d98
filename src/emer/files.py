"""Outputs appear whole or not at all: written to a temporary name, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FULL = 4096
"""Free bytes below which a disk is full."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it to ``target`` if the block succeeds.

    Works for a file or a folder, whichever the block creates. If the block raises, the temporary is
    removed and an older ``target`` stays as it was.

    Raises:
        OSError: ENOSPC, whatever the block raised, if the disk is full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            shutil.rmtree(target)
        temporary.replace(target)
    except Exception as error:
        # Libraries that write the file in other ways than Python's own call a full disk by many names.
        if shutil.disk_usage(target.parent).free < _FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write ``content`` as JSON with sorted keys, atomically.

    Raises:
        ValueError: ``content`` holds NaN or infinity, which JSON cannot express. Use ``None``.
    """
    write_text(target, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")
