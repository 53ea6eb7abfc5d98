"""What was interrupted goes on where it was, gives what it would have given, and leaves nothing else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emer.data import buckets, cache, long_source
from emer.data.cache import check_space, resume_once
from emer.data.long_mapping import LongMapping
from emer.errors import DataError

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
        patch.setattr(long_source, "read_part", stopped(long_source.read_part, after, calls))
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, root)
    assert part_names(calls) == [f"{n}.parquet" for n in range(after)]
    unfinished(tmp_path / "cache")
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(long_source, "read_part", stopped(long_source.read_part, 99, calls))
        folder = prepared(tmp_path, root)
    assert part_names(calls) == [f"{n}.parquet" for n in range(after, FILES)]
    assert names(tmp_path / "cache") == [folder.name]
    assert requests_in(folder) == requests_in(prepared(tmp_path / "at once", root, tmp_path / "map.yaml"))


def test_a_file_that_was_read_in_part_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of its batches were in the buckets already."""

    def half(part: Any) -> Iterator[pl.DataFrame]:
        for number, batch in enumerate(long_source_read(part, 10)):
            if part.path.name == "1.parquet" and number == 1:
                raise KeyboardInterrupt
            yield batch

    long_source_read = long_source.read_part
    with monkeypatch.context() as patch:
        patch.setattr(long_source, "read_part", half)
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
        patch.setattr(long_source, "write_bucket", stopped(long_source.write_bucket, 2, calls))
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, root)
    result = unfinished(tmp_path / "cache") / "result"
    before = {p: p.stat().st_mtime_ns for p in result.rglob("*.parquet")}
    (result / "train" / ".part-000002.parquet.0a1b2c3d.tmp").write_text("left by a kill")
    again: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(long_source, "write_bucket", stopped(long_source.write_bucket, 99, again))
        patch.setattr(LongMapping, "apply", None)  # no file is read again
        folder = prepared(tmp_path, root)
    assert [c[-1] for c in calls] == ["part-000000", "part-000001"]
    assert [c[-1] for c in again] == [f"part-{n:06}" for n in range(2, len(again) + 2)] and len(again) > 1
    for path, changed in before.items():
        assert (folder / path.relative_to(result)).stat().st_mtime_ns == changed
    assert not list(folder.rglob(".*"))
    plain = prepared(tmp_path / "at once", root, tmp_path / "map.yaml")
    assert requests_in(folder) == requests_in(plain)
    assert (folder / "source.json").read_text() == (plain / "source.json").read_text()


PROCESS = """
import os, signal, sys
from emer.data import buckets, long_source
from emer.data.long_source import LongSource
root, mapping, cache, die = sys.argv[1:]
buckets.buckets_for.__defaults__ = (50,)
def dying(function):
    def calls(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    return calls
if die:
    setattr(long_source, die, dying(getattr(long_source, die)))
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


# The folder alone


def test_resumed_with_what_lay_between(tmp_path: Path) -> None:
    attempts = []

    def build(between: Path, result: Path) -> None:
        attempts.append(between.exists())
        between.mkdir(exist_ok=True)
        (result / f"{len(attempts)}").write_text("")
        if len(attempts) == 1:
            raise KeyboardInterrupt
        (result / "end").write_text("")

    root = tmp_path / "cache" / "made"
    with pytest.raises(KeyboardInterrupt):
        resume_once(root, ["end"], build)
    assert not root.exists() and names(root.parent) == [".made.unfinished"]
    assert resume_once(root, ["end"], build) == root == resume_once(root, ["end"], build)
    assert attempts == [False, True]
    assert names(root) == ["1", "2", "end"] and names(root.parent) == ["made"]
    (root / "end").unlink()  # no longer whole: made anew
    resume_once(root, ["end"], build)
    assert attempts == [False, True, False] and names(root) == ["3", "end"]


def test_faulty_data_leave_nothing(tmp_path: Path) -> None:
    def build(between: Path, result: Path) -> None:
        between.mkdir()
        (result / "half").write_text("")
        raise DataError("row 5 is wrong")

    with pytest.raises(DataError, match="row 5 is wrong"):
        resume_once(tmp_path / "made", ["end"], build)
    assert names(tmp_path) == []


def test_work_left_beside_a_whole_folder_is_removed(tmp_path: Path) -> None:
    """As if killed between the last two steps."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "end").write_text("")
    (tmp_path / ".made.unfinished" / "between").mkdir(parents=True)
    resume_once(tmp_path / "made", ["end"], lambda between, result: pytest.fail("it is there"))
    assert names(tmp_path) == ["made"]


def test_a_complete_folder_leaves_alone_who_makes_it_anew_with_more_files(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "end").write_text("")

    def build(between: Path, result: Path) -> None:
        between.mkdir()
        assert resume_once(tmp_path / "made", ["end"], lambda *_: pytest.fail("it is there")) == tmp_path / "made"
        assert between.is_dir()
        for name in ("end", "more"):
            (result / name).write_text("")

    resume_once(tmp_path / "made", ["end", "more"], build)
    assert names(tmp_path) == ["made"] and names(tmp_path / "made") == ["end", "more"]


def test_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    made = []
    together = threading.Barrier(8)

    def build(between: Path, result: Path) -> None:
        made.append(threading.get_ident())
        (result / "end").write_text("")

    def ask() -> None:
        together.wait()
        resume_once(tmp_path / "made", ["end"], build)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and names(tmp_path) == ["made"]


def test_space_is_checked_before_and_what_is_done_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1000
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: cache.shutil._ntuple_diskusage(0, 0, free))

    def build(between: Path, result: Path) -> None:
        if not between.exists():
            between.mkdir()
            (between / "bytes").write_bytes(bytes(600))
            raise KeyboardInterrupt
        (result / "end").write_text("")

    root = tmp_path / "made"
    with pytest.raises(DataError, match=r"has 0\.0 GB free, and this needs about 0\.0 GB; .* paths\.cache_dir="):
        resume_once(root, ["end"], build, space=1001)
    assert names(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        resume_once(root, ["end"], build, space=1000)
    free = 399
    with pytest.raises(DataError, match="free"):
        resume_once(root, ["end"], build, space=1000)
    assert names(tmp_path) == [".made.unfinished"]  # what was done is kept
    free = 400
    assert names(resume_once(root, ["end"], build, space=1000)) == ["end"]
    free = 0
    assert resume_once(root, ["end"], build, space=1000) == root  # nothing to do, nothing to check


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    check_space(tmp_path / "a" / "b", 1)
    with pytest.raises(DataError, match=rf"^{tmp_path} has .* GB free, and this needs about 1000000\.0 GB"):
        check_space(tmp_path / "a" / "b", 10**15)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(between: Path, result: Path) -> None:
        pytest.fail("there is no place for it")

    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"cannot be written to .*\. Another folder .* paths\.cache_dir="):
            resume_once(place / "made", ["end"], never)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"/cache cannot be written to \(Read-only file system\)"):
        resume_once(tmp_path / "cache" / "made", ["end"], never)


def test_a_full_disk_keeps_what_was_done(tmp_path: Path) -> None:
    full = [True]

    def build(between: Path, result: Path) -> None:
        between.mkdir(exist_ok=True)
        if full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        (result / "end").write_text("")

    with pytest.raises(DataError, match=r"\(No space left on device\); free some space and start again: what is done"):
        resume_once(tmp_path / "made", ["end"], build)
    assert names(tmp_path / ".made.unfinished") == ["between", "lock", "result"]
    full.append(False)
    assert names(resume_once(tmp_path / "made", ["end"], build)) == ["end"]


def test_other_errors_of_the_system_pass(tmp_path: Path) -> None:
    def build(between: Path, result: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        resume_once(tmp_path / "made", ["end"], build)
