from __future__ import annotations

from pathlib import Path

import pytest

from emer.errors import EmerError
from emer.files import write_json
from emer.run_folder import RunFolder, environment, find_unfinished


def folder(root: Path, name: str, *, status: str, identity: str = "x", checkpoint: bool = True) -> Path:
    path = root / name
    write_json(path / "status.json", {"status": status, "identity": identity})
    if checkpoint:
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / "last.ckpt").touch()
    return path


def test_the_newest_unfinished_run_with_these_settings(tmp_path) -> None:
    folder(tmp_path, "1_finished", status="finished")
    folder(tmp_path, "2_killed", status="running")
    wanted = folder(tmp_path, "3_failed", status="failed")
    folder(tmp_path, "4_other_settings", status="running", identity="y")
    folder(tmp_path, "5_without_checkpoint", status="running", checkpoint=False)
    assert find_unfinished(tmp_path, "x") == wanted
    assert find_unfinished(tmp_path, "z") is None
    assert find_unfinished(tmp_path / "nowhere", "x") is None


def test_status_survives_a_broken_file(tmp_path) -> None:
    (tmp_path / "status.json").write_text("{")
    assert RunFolder(tmp_path).status() == {}
    RunFolder(tmp_path).set_status("failed", error="x")
    assert RunFolder(tmp_path).status() == {"status": "failed", "error": "x"}


def test_what_is_no_run_folder_is_said(tmp_path) -> None:
    with pytest.raises(EmerError, match="does not exist"):
        RunFolder(tmp_path / "no").load_config()
    with pytest.raises(EmerError, match=r"no config.yaml"):
        RunFolder(tmp_path).load_config()


def test_the_environment_names_versions() -> None:
    assert environment()["packages"]["torch"].startswith("2.")
