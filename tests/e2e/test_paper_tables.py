"""The one command of a paper's table, on a log of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from emer.reports.papers.numbers import read_numbers

pytestmark = pytest.mark.e2e


def test_a_sweep_ends_with_the_readme_of_its_table(run, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    small = ["data=tiny", "seed=1,2", "loader.batch_size=32", "trainer.max_epochs=1", "hydra.launcher.n_jobs=1"]
    done = run("train", "-m", "experiment=emer_table_5", *small, f"hydra.sweep.dir={sweep}")
    assert done.status == 0, done.err[-3000:]
    assert done.out.rstrip().endswith(str(sweep / "README.md"))
    text = (sweep / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# EMER, Table 5")
    assert "6 runs, seeds 1, 2" in text
    assert "| pltr IPUT | .555 | .516 | .567 |" in text
    assert "| E5.5 |" in text
    numbers = read_numbers(sweep / "results.csv")
    for variant in ("fusion_formula", "emer-no_iput", "emer"):
        assert sorted(numbers.of_seeds("simulated", variant, "iput_gauc/pltr")) == [1, 2]
    assert numbers.find("simulated", "emer-no_iput", "iput_gauc/pltr", "emer") is not None
    assert (sweep / "picture.png").read_bytes().startswith(b"\x89PNG")
