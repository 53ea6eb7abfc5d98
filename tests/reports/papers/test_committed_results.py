"""What is committed below experiments was made by the code that is committed, from the results that are committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emer.reports.papers.definitions import experiment, experiments
from emer.reports.papers.ledger import ledger, results_folders
from emer.reports.papers.numbers import read_numbers
from emer.reports.papers.readme import readme

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@pytest.mark.parametrize("name", experiments())
def test_a_readme_is_that_of_its_results(name: str) -> None:
    folder = EXPERIMENTS / name
    about = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text == readme(experiment(name), read_numbers(folder / "results.csv"), about)
    assert (folder / "picture.png").is_file()


def test_the_ledger_is_that_of_all_results() -> None:
    folders = results_folders(EXPERIMENTS)
    assert {folder.name for folder in folders} == set(experiments())
    found = {folder.name: (experiment(folder.name), read_numbers(folder / "results.csv")) for folder in folders}
    text = (EXPERIMENTS / "CLAIMS.md").read_text(encoding="utf-8")
    assert text == ledger(found)
