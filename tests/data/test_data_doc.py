"""docs/data.md is true: its example is prepared and compared with what it says, its table has every key and option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from emer.config_files import config_dir
from emer.data.long_columns import SECONDS, TIME_UNITS
from emer.data.long_mapping import CATEGORIES, IDS, OPTIONAL, LongMapping
from emer.data.long_source import LongSource
from emer.data.validation import validate_folder
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.requests import Role, Satisfaction

from .long_tables import requests_in, text_id

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def block_of(language: str, document: str = DOC) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", document, flags=re.DOTALL)
    return found


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The requests that the command of the document makes."""
    monkeypatch.chdir(tmp_path)
    return made_by(DOC)


def made_by(document: str) -> Path:
    """The requests that a document's command makes of its table and mapping, in this folder."""
    Path("log.csv").write_text(block_of("csv", document))
    Path("map.yaml").write_text(block_of("yaml", document))
    (command,) = re.findall(r"^emer prepare (data=long [^#\n]*)", document, re.M)
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        source = instantiate(compose("prepare", command.split()).data.source)
    assert isinstance(source, LongSource)
    return source.prepare(Path("cache"))


def test_the_long_example_comes_out_as_it_says(example: Path) -> None:
    assert len(block_of("csv").splitlines()) == 10
    assert validate_folder(example).ok
    found = requests_in(example)
    assert {k: (r["split"], len(r["item_id"])) for k, r in found.items()} == {
        7: ("train", 3), 8: ("validation", 2), 9: ("test", 4)
    }  # fmt: skip
    request = found[8]
    assert request["user_id"] == text_id("bob")
    assert request["time_ms"] == 1_714_613_400_000  # 2024-05-02 01:30 UTC
    at = request["item_id"].index(text_id("v2"))
    other = request["item_id"].index(text_id("v4"))
    assert [request[c][at] for c in ("exposed", "label_click", "watch_time")] == [True, True, 40]
    assert [request[c][other] for c in ("exposed", "label_click", "watch_time")] == [False, False, 0]
    assert [request[c][at] for c in ("pxtr_pctr", "pxtr_pvtr")] == pytest.approx([0.18, 25])
    assert request["item_topic"][other] == 0 and 1 <= request["item_topic"][at] <= 1000


def test_the_readmes_ten_lines_become_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(block_of("csv", document).splitlines()) == 10
    folder = made_by(document)
    assert validate_folder(folder).ok
    found = requests_in(folder)
    assert {k: (r["split"], len(r["item_id"])) for k, r in found.items()} == {
        7: ("train", 3), 8: ("validation", 2), 9: ("test", 4)
    }  # fmt: skip
    assert sum(map(sum, (r["label_click"] for r in found.values()))) == 3


def test_the_table_has_every_key_and_option() -> None:
    rows = re.findall(r"^\| (.*?) \| (yes|no) \| (.*) \|$", DOC, re.M)
    must = {key: needed for cell, needed, _ in rows for key in re.findall(r"`(\w+)`", cell)}
    wanted = dict.fromkeys((*IDS, "time_ms", "objectives"), "yes")
    wanted |= dict.fromkeys((*OPTIONAL, "feedback", *CATEGORIES, "item_numbers"), "no")
    assert must == wanted
    said = {key: text for cell, _, text in rows for key in re.findall(r"`(\w+)`", cell)}
    for key, words in {
        "user_id": ["text: true"], "time_ms": [*TIME_UNITS, "unit: iso"], "item_categories": ["size", "buckets"],
        "objectives": [*SECONDS, *(f"role: {r}" for r in Role if r != "consumption"), "feedback", "noisy: true"],
        "feedback": [*(f"satisfaction: {s}" for s in Satisfaction if s != "ignored"), "ignored"],
    }.items():  # fmt: skip
        assert [word for word in words if f"`{word}`" not in said[key]] == [], key


def test_the_defaults_it_names_are_the_codes() -> None:
    assert "`[0.7, 0.1, 0.2]`" in DOC and list(LongSource(root=None, mapping=None).fractions) == [0.7, 0.1, 0.2]
    assert LongSource(root=None, mapping=None).engine == "polars"
    least = {"request_id": "r", "user_id": "u", "item_id": "i", "time_ms": "t", "objectives": {"p": "p"}}
    columns = LongMapping.parse(least).columns
    assert next(c for c in columns if c.is_time).unit == "ms"
