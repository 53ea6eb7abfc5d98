"""Prepared folders: made once per configuration, complete or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emer.errors import DataError

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT)


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


def resume_once(root: Path, needed: Sequence[str], build: Callable[[Path, Path], None], space: int = 0) -> Path:
    """``root``, made by ``build`` unless all ``needed`` files are in it; what was interrupted goes on where it was.

    Several processes may ask for one folder at once: one makes it and the others wait.

    Args:
        root: the folder. It appears whole or not at all.
        needed: files of a complete folder.
        build: given a folder for what lies between, which outlives an interruption, and the folder to fill. What it
            finds there from an earlier attempt is sound, as far as it was written atomically.
        space: bytes that all of it takes, estimated.

    Raises:
        DataError: of ``build``; everything is removed then, since other input makes another folder. The disk is too
            small or full, or cannot be written to; what was done so far is kept then.
    """

    def complete() -> bool:
        return all((root / name).is_file() for name in needed)

    work = root.with_name(f".{root.name}.unfinished")
    while not complete():
        with _disk(root.parent):
            try:
                work.mkdir(parents=True, exist_ok=True)
            except FileExistsError:  # it was, and another process has just removed it
                if root.parent.is_dir():
                    continue
                raise
        with _disk(root.parent), _locked(work / "lock") as ours:
            if not ours or complete():
                continue  # another process has just ended its work on it: look again
            done = sum(p.stat().st_size for p in work.rglob("*") if p.is_file())
            try:
                check_space(work, space - done)
            except DataError:
                if not done:
                    shutil.rmtree(work, ignore_errors=True)
                raise
            result = work / "result"
            result.mkdir(exist_ok=True)
            try:
                build(work / "between", result)
            except DataError:
                shutil.rmtree(work, ignore_errors=True)
                raise
            for half in result.rglob(".*.tmp"):  # of a process that was killed
                half.unlink()
            shutil.rmtree(root, ignore_errors=True)
            result.rename(root)
    with suppress(OSError), _locked(work / "lock", wait=False) as ours:
        if ours:  # else another process makes it anew, with more files
            shutil.rmtree(work, ignore_errors=True)
    return root


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a file that one process at a time can hold; False if its folder was removed while we waited, or another
    process holds it and we do not ``wait``."""
    try:
        file = path.open("w")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            ours = path.stat().st_ino == os.fstat(file.fileno()).st_ino
        except (FileNotFoundError, BlockingIOError):
            ours = False
        yield ours


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Say what to do where a folder cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        advice = "; free some space and start again: what is done is kept" if error.errno == errno.ENOSPC else ""
        raise DataError(
            f"{folder} cannot be written to ({os.strerror(error.errno)}){advice}. Another folder can be chosen with "
            "paths.cache_dir="
        ) from error


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it is to go; need not exist yet.
        needed: bytes, estimated.

    Raises:
        DataError: fewer bytes are free.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DataError(
            f"{there} has {free / 1e9:.1f} GB free, and this needs about {needed / 1e9:.1f} GB; free some, or choose "
            "another disk with paths.cache_dir="
        )
