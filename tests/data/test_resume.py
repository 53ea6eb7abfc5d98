"""What was interrupted goes on where it was, gives what it would have given, and leaves nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emer.data import buckets, long_build
from emer.data.long_mapping import LongMapping

from .long_tables import log_of, prepared, requests_in, write_long, write_mapping

ROWS = log_of(60)
FILES = 3


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files, which fall into many buckets."""
    monkeypatch.setattr(buckets.buckets_for, "__defaults__", (50,))
    for number in range(FILES):
        write_long(tmp_path / "log" / f"{number}.parquet", ROWS[number::FILES])
    write_mapping(tmp_path)
    return tmp_path / "log"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def unfinished(cache_dir: Path) -> Path:
    (found,) = cache_dir.iterdir()
    assert found.name.startswith(".long-") and found.name.endswith(".unfinished")
    return found


def stopped(function: Callable[..., Any], after: int, calls: list[Any]) -> Callable[..., Any]:
    """``function`` that is interrupted at its call number ``after``; ``calls`` gets what it was called with."""

    def stops(*arguments: Any) -> Any:
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return function(*arguments)

    return stops


def part_names(calls: list[Any]) -> list[str]:
    return [part.path.name for (part,) in calls]


@pytest.mark.parametrize("after", range(FILES))
def test_reading_goes_on_with_the_file_it_was_at(
    after: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(long_build, "read_part", stopped(long_build.read_part, after, calls))
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, root)
    assert part_names(calls) == [f"{n}.parquet" for n in range(after)]
    unfinished(tmp_path / "cache")
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(long_build, "read_part", stopped(long_build.read_part, 99, calls))
        folder = prepared(tmp_path, root)
    assert part_names(calls) == [f"{n}.parquet" for n in range(after, FILES)]
    assert names(tmp_path / "cache") == [folder.name]
    assert requests_in(folder) == requests_in(prepared(tmp_path / "at once", root, tmp_path / "map.yaml"))


def test_a_file_that_was_read_in_part_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of its batches were in the buckets already."""

    def half(part: Any) -> Iterator[pl.DataFrame]:
        for number, batch in enumerate(long_build_read(part, 10)):
            if part.path.name == "1.parquet" and number == 1:
                raise KeyboardInterrupt
            yield batch

    long_build_read = long_build.read_part
    with monkeypatch.context() as patch:
        patch.setattr(long_build, "read_part", half)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, root)
    between = unfinished(tmp_path / "cache") / "between"
    assert len(list(between.glob("*/part-*/done"))) == 1 and len(list(between.glob("*/part-*/*.arrow"))) > 2
    found = requests_in(prepared(tmp_path, root))
    assert sum(len(request["item_id"]) for request in found.values()) == len(ROWS)


def test_grouping_goes_on_with_the_bucket_it_was_at(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(long_build, "write_bucket", stopped(long_build.write_bucket, 2, calls))
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, root)
    result = unfinished(tmp_path / "cache") / "result"
    before = {p: p.stat().st_mtime_ns for p in result.rglob("*.parquet")}
    (result / "train" / ".part-000002.parquet.0a1b2c3d.tmp").write_text("left by a kill")
    again: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(long_build, "write_bucket", stopped(long_build.write_bucket, 99, again))
        patch.setattr(LongMapping, "apply", None)  # no file is read again
        folder = prepared(tmp_path, root)
    assert [c[-1] for c in calls] == ["part-00000", "part-00001"]
    assert [c[-1] for c in again] == [f"part-{n:05}" for n in range(2, len(again) + 2)] and len(again) > 1
    for path, changed in before.items():
        assert (folder / path.relative_to(result)).stat().st_mtime_ns == changed
    assert not list(folder.rglob(".*"))
    plain = prepared(tmp_path / "at once", root, tmp_path / "map.yaml")
    assert requests_in(folder) == requests_in(plain)
    assert (folder / "source.json").read_text() == (plain / "source.json").read_text()


PROCESS = """
import os, signal, sys
from emer.data import buckets, long_build
from emer.data.long_source import LongSource
root, mapping, cache, die = sys.argv[1:]
buckets.buckets_for.__defaults__ = (50,)
def dying(function):
    def calls(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    return calls
if die:
    setattr(long_build, die, dying(getattr(long_build, die)))
print(LongSource(root=root, mapping=mapping).prepare(cache))
"""


def process(root: Path, cache_dir: Path, die: str = "") -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROCESS, str(root), str(root.parent / "map.yaml"), str(cache_dir), die]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_killed_processes_leave_work_that_another_ends(root: Path, tmp_path: Path) -> None:
    for die in ("bucket_of", "write_bucket", "write_json"):
        assert process(root, tmp_path / "cache", die).wait() == -signal.SIGKILL
        unfinished(tmp_path / "cache")
    folder = prepared(tmp_path, root)
    assert names(tmp_path / "cache") == [folder.name] and not list(folder.rglob(".*"))
    assert requests_in(folder) == requests_in(prepared(tmp_path / "at once", root, tmp_path / "map.yaml"))


@pytest.mark.slow
def test_processes_at_once_make_one_folder(root: Path, tmp_path: Path) -> None:
    running = [process(root, tmp_path / "cache") for _ in range(3)]
    said = {p.communicate()[0].strip() for p in running}
    assert [p.returncode for p in running] == [0, 0, 0]
    (folder,) = said
    assert names(tmp_path / "cache") == [Path(folder).name]
    assert len(requests_in(Path(folder))) == 60
