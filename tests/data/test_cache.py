"""Prepared folders are complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from emer.data.cache import build_once, config_hash, file_fingerprint


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
