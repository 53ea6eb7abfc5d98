"""The table that ends a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests.reports.hand_made import made_run

from emer.files import write_text
from emer.jobs.sweep_table import SweepTable


def end_of(sweep: Path) -> None:
    SweepTable("emer").on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}}))


def test_a_job_that_left_nothing_but_hydras_files_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(tmp_path, "emer")
    write_text(tmp_path / "multirun.yaml", "")
    write_text(tmp_path / "1_urem" / ".hydra" / "config.yaml", "")
    end_of(tmp_path)
    text = (tmp_path / "methods.md").read_text(encoding="utf-8")
    assert "| emer | 1 |" in text and "- 1_urem: no status.json" in text
    assert text in capsys.readouterr().out


def test_a_sweep_without_a_finished_run_has_no_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_run(tmp_path, "emer", status="failed")
    end_of(tmp_path)
    assert not (tmp_path / "methods.md").exists()
    assert "no table of methods: there is no finished run" in caplog.text
