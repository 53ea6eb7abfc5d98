"""Prepared folders are complete or absent."""

from __future__ import annotations

import errno
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from emer.data import cache
from emer.data.cache import build_once, check_space, config_hash, file_fingerprint, resume_once
from emer.errors import DataError


def test_built_once(tmp_path: Path) -> None:
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("x")

    root = tmp_path / "cache" / "made"
    assert build_once(root, ["a"], build) == root
    assert build_once(root, ["a"], build) == root
    assert len(calls) == 1 and calls[0] != root
    (root / "a").unlink()  # no longer complete
    build_once(root, ["a"], build)
    assert len(calls) == 2 and (root / "a").read_text() == "x"
    assert [p.name for p in root.parent.iterdir()] == ["made"]


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_once(tmp_path / "made", ["a"], build)
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_builders_yields(tmp_path: Path) -> None:
    root = tmp_path / "made"

    def build(folder: Path) -> None:
        (folder / "a").write_text("slow")
        root.mkdir()
        (root / "a").write_text("fast")

    assert build_once(root, ["a"], build) == root
    assert (root / "a").read_text() == "fast"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_keys(tmp_path: Path) -> None:
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1}) != config_hash({"a": 1, "b": 3})
    path = tmp_path / "x.csv"
    path.write_text("1")
    before = file_fingerprint([path])
    path.write_text("12")
    assert file_fingerprint([path]) != before


# Resumed


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    assert not root.exists() and names_in(root.parent) == [".made.unfinished"]
    assert resume_once(root, ["end"], build) == root == resume_once(root, ["end"], build)
    assert attempts == [False, True]
    assert names_in(root) == ["1", "2", "end"] and names_in(root.parent) == ["made"]
    (root / "end").unlink()  # no longer whole: made anew
    resume_once(root, ["end"], build)
    assert attempts == [False, True, False] and names_in(root) == ["3", "end"]


def test_faulty_data_leave_nothing(tmp_path: Path) -> None:
    def build(between: Path, result: Path) -> None:
        between.mkdir()
        (result / "half").write_text("")
        raise DataError("row 5 is wrong")

    with pytest.raises(DataError, match="row 5 is wrong"):
        resume_once(tmp_path / "made", ["end"], build)
    assert names_in(tmp_path) == []


def test_work_left_beside_a_whole_folder_is_removed(tmp_path: Path) -> None:
    """As if killed between the last two steps."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "end").write_text("")
    (tmp_path / ".made.unfinished" / "between").mkdir(parents=True)
    resume_once(tmp_path / "made", ["end"], lambda between, result: pytest.fail("it is there"))
    assert names_in(tmp_path) == ["made"]


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
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["end", "more"]


@pytest.mark.parametrize("attempt", range(20))
def test_one_makes_it_and_the_others_wait(attempt: int, tmp_path: Path) -> None:
    made, failed = [], []
    together = threading.Barrier(8)

    def build(between: Path, result: Path) -> None:
        made.append(threading.get_ident())
        (result / "end").write_text("")

    def ask() -> None:
        together.wait()
        try:
            resume_once(tmp_path / "made", ["end"], build)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(made) == 1 and failed == [] and names_in(tmp_path) == ["made"]


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
    assert names_in(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        resume_once(root, ["end"], build, space=1000)
    free = 399
    with pytest.raises(DataError, match="free"):
        resume_once(root, ["end"], build, space=1000)
    assert names_in(tmp_path) == [".made.unfinished"]  # what was done is kept
    free = 400
    assert names_in(resume_once(root, ["end"], build, space=1000)) == ["end"]
    free = 0
    assert resume_once(root, ["end"], build, space=1000) == root  # nothing to do, nothing to check


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    check_space(tmp_path / "a" / "b", 1)
    with pytest.raises(DataError, match=rf"^{tmp_path} has .* GB free, and this needs about 1000000\.0 GB"):
        check_space(tmp_path / "a" / "b", 10**15)
    assert names_in(tmp_path) == []


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
    assert names_in(tmp_path / ".made.unfinished") == ["between", "lock", "result"]
    full.append(False)
    assert names_in(resume_once(tmp_path / "made", ["end"], build)) == ["end"]


def test_other_errors_of_the_system_pass(tmp_path: Path) -> None:
    def build(between: Path, result: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        resume_once(tmp_path / "made", ["end"], build)
