"""CONTRIBUTING's example of a new method is two files, and then trains."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import ROOT

START = """
import sys
import emer.models
emer.models.__path__.append(sys.argv[1])
from emer.cli import main
sys.exit(main(["train", *sys.argv[2:]]))
"""


@pytest.mark.e2e
def test_a_new_method_is_two_files(tmp_path: Path, shared_cache: Path, environment: dict[str, str]) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [section] = re.findall(r"<!-- method -->(.*?)<!-- /method -->", text, re.S)
    [code] = re.findall(r"```python\n(.*?)```", section, re.S)
    [config] = re.findall(r"```yaml\n(.*?)```", section, re.S)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weighted_votes.py").write_text(code, encoding="utf-8")
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "weighted_votes.yaml").write_text(config, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, "-c", START, str(tmp_path / "models"), "method=weighted_votes", "experiment=tiny",
            f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "logger=none", "method.model.positive=false",
            f"paths.output_dir={tmp_path / 'outputs'}", f"paths.cache_dir={shared_cache}",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert "_weighted_votes-signed_" in folder.name
    assert (folder / "metrics.json").is_file()
